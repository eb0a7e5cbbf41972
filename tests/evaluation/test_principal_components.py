"""Principal components of an encoder's inputs, against scikit-learn and NumPy, and as they are kept."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from molbt.errors import ConfigError, DataError
from molbt.evaluation.principal_components import PrincipalComponents
from molbt.modalities.base import Modality
from molbt.modalities.descriptors import Descriptors
from molbt.modalities.fingerprint import Fingerprint

SMILES = ["C" * n + end for n in range(1, 11) for end in ("O", "N", "c1ccccc1")]


def test_components_of_descriptors_span_those_of_scikit_learn() -> None:
    modality = Descriptors(names=("MolWt", "TPSA", "MolLogP", "NumRotatableBonds", "FractionCSP3"))
    components = PrincipalComponents(modality, 3).fit(SMILES)
    raw = modality.dense(modality.prepare(SMILES, components.policy).columns, np.arange(len(SMILES))).astype(float)
    expected = PCA(3).fit_transform((raw - raw.mean(axis=0)) / raw.std(axis=0))
    ours = components(SMILES)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(np.abs((ours * expected).sum(axis=0)), (expected**2).sum(axis=0), rtol=1e-4)


def test_components_of_counts_keep_as_much_as_the_singular_vectors_of_numpy() -> None:
    modality = Fingerprint(kinds=("ecfp4",), width=256)
    components = PrincipalComponents(modality, 5).fit(SMILES)
    raw = np.log1p(modality.dense(modality.prepare(SMILES, components.policy).columns, np.arange(len(SMILES))).toarray())
    singular_values = np.linalg.svd(raw, compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(components(SMILES), axis=0), singular_values[:5], rtol=1e-3)


def test_keep_refused_rows_as_nan() -> None:
    components = PrincipalComponents(Fingerprint(kinds=("ecfp4",), width=256), 4).fit([*SMILES, "not a molecule"])
    values = components(["CCO", "not a molecule", "CCN"])
    assert values.shape == (3, 4)
    assert np.isnan(values).all(axis=1).tolist() == [False, True, False]
    assert np.isnan(components(["not a molecule"])).all()


def test_are_no_more_than_there_are_molecules() -> None:
    assert PrincipalComponents(Fingerprint(kinds=("ecfp4",), width=256), 512).fit(SMILES[:6])(SMILES).shape == (30, 6)


def test_are_the_same_again() -> None:
    first, again = (PrincipalComponents(Fingerprint(kinds=("ecfp4",), width=256), 4, random_state=1).fit(SMILES)(SMILES) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_refuse_nothing_to_learn_from() -> None:
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        PrincipalComponents(Descriptors(), 0)
    with pytest.raises(DataError, match="got 1 of 2"):
        PrincipalComponents(Fingerprint(), 4).fit(["CCO", "not a molecule"])


@pytest.mark.parametrize("modality", [Descriptors(names=("MolWt", "TPSA", "MolLogP")), Fingerprint(kinds=("ecfp4",), width=256)])
def test_kept_components_give_the_same_bits(modality: Modality, tmp_path: Path) -> None:
    fitted = PrincipalComponents(modality, 3).fit(SMILES)
    fitted.save(tmp_path)
    kept = PrincipalComponents(modality, 3).load(tmp_path)
    unseen = ["CCOC(=O)c1ccncc1", "not a molecule", *SMILES]
    np.testing.assert_array_equal(kept(unseen), fitted(unseen))


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    modality = Fingerprint(kinds=("ecfp4",), width=256)
    PrincipalComponents(modality, 3).fit(SMILES).save(tmp_path)
    path = tmp_path / "components.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match="fitted anew"):
        PrincipalComponents(modality, 3).load(tmp_path)
