import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from scipy import sparse

from molbt.errors import ShapeError
from molbt.predict.tanimoto import mean_tanimoto_kernel, tanimoto_kernel

SMILES = ["CCO", "CC(=O)Oc1ccccc1C(=O)O", "c1ccccc1", "CCCCCCCCCCCC", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "[Na+]", "OCC"]


def counts_of(rows: list[list[int]]) -> sparse.csr_array:
    return sparse.csr_array(np.array(rows, dtype=np.float32))


def test_tanimoto_kernel_equals_rdkit_on_count_fingerprints() -> None:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=4096)
    fingerprints = [generator.GetCountFingerprint(Chem.MolFromSmiles(smiles)) for smiles in SMILES]
    dense = np.zeros((len(SMILES), 4096), dtype=np.float32)
    for row, fingerprint in zip(dense, fingerprints, strict=True):
        for column, count in fingerprint.GetNonzeroElements().items():
            row[column] = count
    expected = np.array([[DataStructs.TanimotoSimilarity(a, b) for b in fingerprints] for a in fingerprints])
    np.testing.assert_allclose(tanimoto_kernel(sparse.csr_array(dense), sparse.csr_array(dense)), expected, rtol=1e-12)


def test_tanimoto_kernel_equals_minima_over_maxima_whatever_the_share_of_dense_columns() -> None:
    rng = np.random.default_rng(0)
    # Columns from nearly always present to nearly never, so both kinds of product take part.
    rows_a, rows_b = (rng.poisson(np.geomspace(5, 0.01, 200), size=(n, 200)).astype(np.float32) for n in (31, 17))
    expected = [[np.minimum(a, b).sum(dtype=float) / np.maximum(a, b).sum(dtype=float) for b in rows_b] for a in rows_a]
    kernel = tanimoto_kernel(sparse.csr_array(rows_a), sparse.csr_array(rows_b))
    assert kernel.shape == (31, 17)
    assert kernel.dtype == np.float64
    np.testing.assert_allclose(kernel, expected, rtol=1e-14)


def test_tanimoto_kernel_of_rows_without_features_is_one_between_them_and_zero_to_others() -> None:
    kernel = tanimoto_kernel(counts_of([[0, 0], [2, 1]]), counts_of([[0, 0], [1, 0]]))
    np.testing.assert_array_equal(kernel, [[1.0, 0.0], [0.0, 1 / 3]])


def test_tanimoto_kernel_of_no_rows_or_of_only_empty_rows_is_defined() -> None:
    assert tanimoto_kernel(counts_of([[1, 2]])[:0], counts_of([[1, 2]])).shape == (0, 1)
    np.testing.assert_array_equal(tanimoto_kernel(counts_of([[0, 0]]), counts_of([[0, 0]])), [[1.0]])


def test_tanimoto_kernel_is_positive_semidefinite() -> None:
    rows = sparse.csr_array(np.random.default_rng(1).poisson(0.5, size=(60, 40)).astype(np.float32))
    assert np.linalg.eigvalsh(tanimoto_kernel(rows, rows)).min() > -1e-10


@pytest.mark.parametrize("value", [0.5, -1.0, np.nan, np.inf])
def test_tanimoto_kernel_refuses_what_is_not_a_count(value: float) -> None:
    odd = sparse.csr_array(np.array([[1.0, value]], dtype=np.float32))
    with pytest.raises(ShapeError, match="rows_b"):
        tanimoto_kernel(counts_of([[1, 1]]), odd)


def test_tanimoto_kernel_refuses_different_widths() -> None:
    with pytest.raises(ShapeError, match="2 and 3 columns"):
        tanimoto_kernel(counts_of([[1, 1]]), counts_of([[1, 1, 1]]))


def test_mean_tanimoto_kernel_weighs_blocks_equally() -> None:
    first, second = counts_of([[1, 0], [1, 1]]), counts_of([[3, 0, 0], [0, 0, 9]])
    np.testing.assert_allclose(mean_tanimoto_kernel([first, second], [first, second]), [[1.0, 0.25], [0.25, 1.0]])


def test_mean_tanimoto_kernel_refuses_unequal_or_missing_blocks() -> None:
    block = counts_of([[1]])
    with pytest.raises(ShapeError, match="got 1 and 2"):
        mean_tanimoto_kernel([block], [block, block])
    with pytest.raises(ShapeError, match="at least one"):
        mean_tanimoto_kernel([], [])
