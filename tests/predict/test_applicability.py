"""The nearest training molecule: against RDKit's own Tanimoto similarity and percentiles counted by hand."""

import json

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from scipy import sparse

from molbt.errors import CheckpointError, ConfigError, DataError, ShapeError
from molbt.predict import applicability
from molbt.predict.applicability import COLUMNS, Applicability
from molbt.predict.features import COUNT_WIDTH, FeatureSet, feature_builders

TRAINING = ["CCO", "CC(=O)Oc1ccccc1C(=O)O", "not a molecule", "CCCCO", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "OCC", "c1ccccc1O", "CCN(CC)CC"]
NEW = ["CCCO", "CC(=O)Nc1ccc(O)cc1", "", "CCO", "FC(F)(F)S(=O)(=O)c1nnc[nH]1"]


@pytest.fixture(scope="module")
def counts():
    return feature_builders(["counts"])["counts"]


@pytest.fixture(scope="module")
def fitted(counts):
    return Applicability.fit(counts(TRAINING), TRAINING)


def similarities(smiles_a, smiles_b):
    """The mean of RDKit's count Tanimoto over ECFP4 and atom pairs, of width 65,536."""
    generators = (
        rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=COUNT_WIDTH),
        rdFingerprintGenerator.GetAtomPairGenerator(fpSize=COUNT_WIDTH),
    )
    found = np.zeros((len(smiles_a), len(smiles_b)))
    for generator in generators:
        a, b = ([generator.GetCountFingerprint(Chem.MolFromSmiles(s)) for s in smiles] for smiles in (smiles_a, smiles_b))
        found += [DataStructs.BulkTanimotoSimilarity(fingerprint, b) for fingerprint in a]
    return found / 2


def test_the_nearest_training_molecule_is_that_of_rdkit_and_keeps_its_row_in_the_table(fitted, counts):
    usable = [0, 1, 3, 4, 5, 6, 7]
    readable = [0, 1, 3, 4]
    expected = similarities([NEW[i] for i in readable], [TRAINING[i] for i in usable])
    found = fitted.describe(counts(NEW))
    assert tuple(found.columns) == COLUMNS
    assert len(found) == len(NEW)
    nearest = [usable[i] for i in expected.argmax(axis=1)]
    assert found.loc[readable, "nearest_training_row"].tolist() == nearest
    assert found.loc[readable, "nearest_training_smiles"].tolist() == [TRAINING[i] for i in nearest]
    np.testing.assert_allclose(found.loc[readable, "nearest_similarity"], expected.max(axis=1), rtol=1e-12)
    assert found.loc[2].isna().all()


def test_the_percentile_counts_training_molecules_that_are_nearer_to_their_nearest(fitted, counts):
    usable = [smiles for smiles in TRAINING if smiles != "not a molecule"]
    among = similarities(usable, usable)
    np.fill_diagonal(among, -1)
    own = 1 - among.max(axis=1)
    np.testing.assert_allclose(fitted.distances, np.sort(own), atol=1e-12)
    assert (own == 0).sum() == 2  # CCO and OCC are one molecule
    found = fitted.describe(counts(NEW))
    distance = 1 - similarities(["CCCO", "CC(=O)Nc1ccc(O)cc1"], usable).max(axis=1)
    expected = [100 * np.mean(own < d - 1e-12) for d in distance]
    np.testing.assert_allclose(found["distance_percentile"][:2], expected)
    assert found["distance_percentile"][3] == 0.0
    assert found["nearest_training_row"][3] == 0  # the first of two equal ones
    assert found["distance_percentile"][4] == 100.0


def test_the_size_of_the_tiles_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    block = sparse.csr_array(rng.poisson(0.3, size=(90, 40)).astype(np.float32))
    features = FeatureSet("counts", {"ecfp4": block, "atom_pair": block[:, :17]}, rng.uniform(size=90) < 0.9)
    smiles = [f"molecule {i}" for i in range(90)]
    whole = Applicability.fit(features, smiles)
    expected = whole.describe(features.rows(np.arange(60)[::-1]))
    monkeypatch.setattr(applicability, "_TILE", 13)
    tiled = Applicability.fit(features, smiles)
    np.testing.assert_array_equal(tiled.distances, whole.distances)
    assert tiled.describe(features.rows(np.arange(60)[::-1])).equals(expected)


def test_the_percentiles_of_a_large_table_come_from_molecules_spread_over_it(monkeypatch, counts):
    monkeypatch.setattr(applicability, "N_COMPARED", 3)
    usable = [smiles for smiles in TRAINING if smiles != "not a molecule"]
    among = similarities(usable, usable)
    np.fill_diagonal(among, -1)
    own = 1 - among.max(axis=1)
    found = Applicability.fit(counts(TRAINING), TRAINING)
    np.testing.assert_allclose(found.distances, np.sort(own[[0, 3, 6]]), atol=1e-12)  # first, middle and last of seven


def test_a_single_training_molecule_has_no_percentile_and_no_rows_give_no_lines(counts):
    found = Applicability.fit(counts(["CCO"]), ["CCO"]).describe(counts(["CCO", "CCC"]))
    assert found["nearest_similarity"][0] == 1.0
    assert found["distance_percentile"].isna().all()
    assert len(Applicability.fit(counts(["CCO", "CC"]), ["CCO", "CC"]).describe(counts([]))) == 0


def test_dense_blocks_beside_counts_are_not_looked_at(fitted, counts):
    built = counts(NEW)
    with_dense = FeatureSet("both", {**built.blocks, "descriptors": np.ones((len(NEW), 3), np.float32)}, built.valid)
    assert fitted.describe(with_dense).equals(fitted.describe(built))


def test_training_molecules_are_the_same_after_a_stay_on_disk(fitted, counts, tmp_path):
    description = json.loads(json.dumps(fitted.save(tmp_path)))
    again = Applicability.load(description, tmp_path)
    assert again.describe(counts(NEW)).equals(fitted.describe(counts(NEW)))
    assert sorted(description["sha256"]) == sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.parametrize("name", ["applicability.smiles.json", "applicability.distances.npy", "applicability.block.ecfp4.indices.npy"])
def test_a_changed_or_missing_file_is_refused(fitted, tmp_path, name):
    description = fitted.save(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="damaged"):
        Applicability.load(description, tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match="no file"):
        Applicability.load(description, tmp_path)


def test_a_description_or_files_that_do_not_fit_are_refused(fitted, tmp_path):
    description = fitted.save(tmp_path)
    with pytest.raises(CheckpointError, match="description of the training molecules"):
        Applicability.load(description | {"extra": 1}, tmp_path)
    with pytest.raises(CheckpointError, match="description of the training molecules"):
        Applicability.load(description | {"sha256": {"../predictor.json": "0" * 64}}, tmp_path)
    shorter = Applicability(fitted.blocks, fitted.smiles[:-1], fitted.rows, fitted.distances)
    with pytest.raises(CheckpointError, match="do not fit each other"):
        Applicability.load(shorter.save(tmp_path), tmp_path)


def test_fitting_and_describing_refuse_what_they_cannot_compare(fitted, counts):
    dense = FeatureSet("embedding", {"embedding": np.ones((1, 3), np.float32)}, np.ones(1, bool))
    with pytest.raises(ConfigError, match="similarity is measured on counts"):
        Applicability.fit(dense, ["CCO"])
    with pytest.raises(DataError, match="1 rows, none usable"):
        Applicability.fit(counts(["not a molecule"]), ["not a molecule"])
    with pytest.raises(ShapeError, match="one SMILES for each of 1 rows, received 2"):
        Applicability.fit(counts(["CCO"]), ["CCO", "CC"])
    with pytest.raises(ShapeError, match="build the same features"):
        fitted.describe(dense)
