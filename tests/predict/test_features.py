from collections.abc import Sequence

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors, rdFingerprintGenerator
from scipy import sparse

from molbt.errors import ConfigError, ShapeError
from molbt.predict.features import FeatureSet, feature_builders, parse_feature_name
from molbt.predict.scaling import BlockScaler

SMILES = ["CCO", "not a molecule", "c1ccccc1O", "CCO", None, "CC(C)(C)CC(=O)NC1CCCCC1"]
VALID = [True, False, True, True, False, True]


class CountingEmbedder:
    """Two numbers per SMILES, and a record of what was asked for."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, smiles: Sequence[str]) -> np.ndarray:
        self.calls.append(list(smiles))
        rows = [[len(text), text.count("C")] if text and " " not in text else [np.nan, np.nan] for text in smiles]
        return np.array(rows, dtype=np.float32)


def test_counts_hold_the_counts_of_rdkit() -> None:
    features = feature_builders(["counts"])["counts"](SMILES)
    molecule = Chem.MolFromSmiles(SMILES[5])
    generators = {
        "ecfp4": rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=65_536),
        "atom_pair": rdFingerprintGenerator.GetAtomPairGenerator(fpSize=65_536),
    }
    for kind, generator in generators.items():
        row = features.blocks[kind][[5]]
        stored = dict(zip(row.indices.tolist(), row.data.astype(int).tolist(), strict=True))
        assert stored == generator.GetCountFingerprint(molecule).GetNonzeroElements()
    assert features.valid.tolist() == VALID
    assert features.blocks["ecfp4"][[1]].nnz == 0


def test_descriptors_hold_the_values_of_rdkit_and_nan_for_a_refused_row() -> None:
    features = feature_builders(["descriptors"])["descriptors"](SMILES)
    block = features.blocks["descriptors"]
    assert block.dtype == np.float32
    weight = np.float32(Descriptors.MolWt(Chem.MolFromSmiles("c1ccccc1O")))
    assert weight in block[2]
    assert np.isnan(block[1]).all()
    assert features.valid.tolist() == VALID


def test_builders_compute_each_part_once_per_unique_smiles() -> None:
    embedder = CountingEmbedder()
    builders = feature_builders(["embedding", "counts+embedding"], learned={"embedding": embedder})
    alone, joined = builders["embedding"](SMILES), builders["counts+embedding"](SMILES)
    assert embedder.calls == [["CCO", "not a molecule", "c1ccccc1O", "", "CC(C)(C)CC(=O)NC1CCCCC1"]]
    assert list(joined.blocks) == ["ecfp4", "atom_pair", "embedding"]
    assert joined.name == "counts+embedding"
    np.testing.assert_array_equal(alone.blocks["embedding"][[0, 3]], [[3, 2], [3, 2]])
    builders["embedding"](SMILES[:2])
    assert len(embedder.calls) == 2


def test_features_do_not_depend_on_the_number_of_processes() -> None:
    smiles = [text for text, valid in zip(SMILES, VALID, strict=True) if valid] + ["C" * n for n in range(1, 9)]
    one, two = (feature_builders(["counts+descriptors"], n_jobs=n)["counts+descriptors"](smiles) for n in (1, 2))
    for name in ("ecfp4", "atom_pair"):
        assert (one.blocks[name] != two.blocks[name]).nnz == 0
    np.testing.assert_array_equal(one.blocks["descriptors"], two.blocks["descriptors"])


def test_builders_give_empty_sets_for_no_smiles() -> None:
    features = feature_builders(["counts+descriptors"])["counts+descriptors"]([])
    assert features.n_rows == 0
    assert features.matrix().shape[0] == 0


def test_rows_keeps_the_order_of_the_index_and_accepts_a_mask() -> None:
    features = feature_builders(["descriptors"])["descriptors"](SMILES)
    taken = features.rows(np.array([5, 0]))
    np.testing.assert_array_equal(taken.blocks["descriptors"], features.blocks["descriptors"][[5, 0]])
    assert features.rows(features.valid).n_rows == 4


def test_matrix_stays_sparse_with_a_sparse_block_and_keeps_missing_numbers() -> None:
    blocks = {"counts": sparse.csr_array(np.eye(2, dtype=np.float32)), "dense": np.array([[np.nan, 2], [0, 3]], dtype=np.float32)}
    matrix = FeatureSet("both", blocks, np.ones(2, bool)).matrix()
    assert sparse.issparse(matrix)
    np.testing.assert_array_equal(matrix.toarray(), [[1, 0, np.nan, 2], [0, 1, 0, 3]])
    assert isinstance(FeatureSet("dense", {"dense": blocks["dense"]}, np.ones(2, bool)).matrix(), np.ndarray)


def test_feature_set_refuses_blocks_of_other_lengths() -> None:
    with pytest.raises(ShapeError, match=r"\(3, width\), got \(2, 1\)"):
        FeatureSet("odd", {"dense": np.zeros((2, 1), np.float32)}, np.ones(3, bool))
    with pytest.raises(ShapeError, match="at least one block"):
        FeatureSet("none", {}, np.ones(3, bool))


def test_feature_names_are_parsed_in_order() -> None:
    assert parse_feature_name("counts+embedding") == ("counts", "embedding")
    assert parse_feature_name("counts + mine", extra=["mine"]) == ("counts", "mine")


@pytest.mark.parametrize(
    ("name", "message"),
    [("count", "did you mean 'counts'"), ("counts+", "unknown features ''"), ("counts+counts", "more than once")],
)
def test_feature_names_that_cannot_be_used_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_feature_name(name)


def test_builders_refuse_a_learned_part_without_a_callable_and_one_of_the_wrong_shape() -> None:
    with pytest.raises(ConfigError, match="'embedding' need a callable"):
        feature_builders(["counts+embedding"])
    short = feature_builders(["embedding"], learned={"embedding": lambda smiles: np.zeros((1, 2))})["embedding"]
    with pytest.raises(ShapeError, match="one row per SMILES"):
        short(["C", "CC"])


def test_block_scaler_standardises_dense_blocks_and_takes_the_logarithm_of_counts() -> None:
    dense = np.array([[1, 5, 7, 0], [3, 5, np.nan, 0], [5, 5, 9, np.inf]], dtype=np.float32)
    counts = sparse.csr_array(np.array([[0, 3, 0], [0, 0, 0], [0, 1, 0]], dtype=np.float32))
    features = FeatureSet("both", {"dense": dense, "counts": counts}, np.ones(3, bool))
    scaled = BlockScaler().fit(features).transform(features)
    spread = np.sqrt(8 / 3)
    np.testing.assert_allclose(scaled.blocks["dense"][:, 0], [-2 / spread, 0, 2 / spread], rtol=1e-6)
    np.testing.assert_array_equal(scaled.blocks["dense"][:, 1], 0)
    np.testing.assert_allclose(scaled.blocks["dense"][:, 2], [-np.sqrt(1.5), 0, np.sqrt(1.5)], rtol=1e-6)
    np.testing.assert_array_equal(scaled.blocks["dense"][:, 3], 0)
    np.testing.assert_allclose(scaled.blocks["counts"].toarray(), np.log([[4], [1], [2]]), rtol=1e-6)


def test_block_scaler_clips_what_lies_far_outside_the_training_rows() -> None:
    train = FeatureSet("dense", {"dense": np.array([[0.0], [1.0]], np.float32)}, np.ones(2, bool))
    far = FeatureSet("dense", {"dense": np.array([[1e30], [-1e30]], np.float32)}, np.ones(2, bool))
    np.testing.assert_array_equal(BlockScaler().fit(train).transform(far).blocks["dense"], [[10.0], [-10.0]])
