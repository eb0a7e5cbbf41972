import numpy as np
import pytest
from scipy import sparse

from molbt.errors import ShapeError
from molbt.predict.features import FeatureSet
from molbt.predict.heads import build_head
from molbt.predict.shared_kernel import SharedKernelFeatures, count_kernel, share_kernel

RNG = np.random.default_rng(7)
COUNTS = {name: RNG.poisson(0.8, size=(30, 25)).astype(np.float32) for name in ("first", "second")}
DENSE = RNG.normal(size=(30, 4)).astype(np.float32)
Y = (COUNTS["first"][:, 0] > 0).astype(float)
VALID = np.ones(30, bool)
VALID[4] = False
FEATURES = FeatureSet("both", {**{name: sparse.csr_array(block) for name, block in COUNTS.items()}, "dense": DENSE}, VALID)


def min_max(rows_a: np.ndarray, rows_b: np.ndarray) -> np.ndarray:
    kernels = [
        [[np.minimum(block[a], block[b]).sum() / np.maximum(block[a], block[b]).sum() for b in rows_b] for a in rows_a]
        for block in COUNTS.values()
    ]
    return np.mean(kernels, axis=0)


def test_subsets_of_subsets_look_their_kernel_up() -> None:
    shared = share_kernel(FEATURES)
    support, query = np.array([3, 20, 7]), np.arange(29, 5, -1)
    chosen, others = shared.rows(support), shared.rows(query).rows(np.arange(24) % 3 == 0)
    np.testing.assert_allclose(count_kernel(others, chosen), min_max(query[::3], support))
    np.testing.assert_array_equal(others.rows(np.array([], int)).places, [])


def test_the_kernel_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = share_kernel(FEATURES)
    monkeypatch.setattr("molbt.predict.shared_kernel.mean_tanimoto_kernel", None)  # a second computation would fail
    for seed in range(3):
        support = np.random.default_rng(seed).permutation(30)[:12]
        build_head("tanimoto_logistic", "classification").fit(shared.rows(support), Y[support]).predict(shared)


@pytest.mark.parametrize("head", ["tanimoto_logistic", "tanimoto_svm", "gp", "knn", "lightgbm", "prototypes"])
def test_heads_predict_the_same_with_a_shared_kernel(head: str) -> None:
    support = np.arange(0, 30, 2)
    own, shared = (
        build_head(head, "classification").fit(features.rows(support), Y[support]).predict(features)
        for features in (FEATURES, share_kernel(FEATURES))
    )
    np.testing.assert_allclose(shared, own, rtol=1e-9)
    assert np.isnan(shared[4])


def test_rows_of_different_kernels_are_compared_by_their_counts() -> None:
    rows = np.arange(5)
    np.testing.assert_allclose(
        count_kernel(share_kernel(FEATURES).rows(rows), share_kernel(FEATURES).rows(rows + 9)), min_max(rows, rows + 9)
    )


def test_features_without_counts_are_returned_as_they_are() -> None:
    dense = FeatureSet("dense", {"dense": DENSE}, VALID)
    assert share_kernel(dense) is dense


def test_a_kernel_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match="share_kernel"):
        SharedKernelFeatures("both", FEATURES.blocks, VALID, kernel=np.ones((30, 30)), places=np.arange(29))
