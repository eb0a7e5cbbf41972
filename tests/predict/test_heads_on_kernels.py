"""Heads on blended kernels, against scikit-learn's estimators on kernels computed here."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from molbt.errors import ConfigError
from molbt.predict.block_kernels import BlockKernels
from molbt.predict.cross_validation import inner_folds
from molbt.predict.features import FeatureSet
from molbt.predict.heads import HEADS, build_head
from molbt.predict.kernel_head import KernelHead

N = 70
TRAIN, TEST = np.arange(50), np.arange(50, N)
RNG = np.random.default_rng(5)
COUNTS = RNG.poisson(0.8, size=(N, 20)).astype(np.float32)
DENSE = (RNG.normal(size=(N, 6)) * [1, 10, 0.1, 1, 5, 1] + 3).astype(np.float32)
Y = COUNTS[:, 0] - COUNTS[:, 1] + DENSE[:, 0] + 0.2 * RNG.normal(size=N)
LABELS = (np.median(Y) < Y).astype(float)
BOTH = FeatureSet("both", {"counts": sparse.csr_array(COUNTS), "dense": DENSE}, np.ones(N, bool))
ONLY_COUNTS = FeatureSet("counts", {"counts": BOTH.blocks["counts"]}, BOTH.valid)
ONLY_DENSE = FeatureSet("dense", {"dense": DENSE}, BOTH.valid)
KERNEL_CASES = [(name, task) for name, head in HEADS.items() if issubclass(head, KernelHead) and name != "svm" for task in head.task_types]


def tanimoto(rows_a: np.ndarray, rows_b: np.ndarray) -> np.ndarray:
    return np.array([[np.minimum(a, b).sum() / np.maximum(a, b).sum() for b in rows_b] for a in rows_a], dtype=float)


def radial(rows_a: np.ndarray, rows_b: np.ndarray) -> np.ndarray:
    """exp(−distance / median distance of training rows) of z-scores."""
    scaler = StandardScaler().fit(DENSE[TRAIN].astype(float))
    train = scaler.transform(DENSE[TRAIN].astype(float))
    width = np.median(euclidean_distances(train)[np.triu_indices(len(train), 1)])
    return np.exp(-euclidean_distances(scaler.transform(rows_a.astype(float)), scaler.transform(rows_b.astype(float))) / width)


def blend(rows: np.ndarray, share: float) -> np.ndarray:
    return (1 - share) * tanimoto(COUNTS[rows], COUNTS[TRAIN]) + share * radial(DENSE[rows], DENSE[TRAIN])


def fitted(name: str, features: FeatureSet = BOTH, task_type: str = "regression", **parameters) -> KernelHead:
    return build_head(name, task_type, **parameters).fit(features.rows(TRAIN), (Y if task_type == "regression" else LABELS)[TRAIN])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_kernels_are_blended_by_the_share_of_the_dense_blocks(share: float) -> None:
    kernels = BlockKernels().fit(BOTH.rows(TRAIN))
    for rows, grams in ((TRAIN, kernels.between()), (TEST, kernels.between(BOTH.rows(TEST)))):
        np.testing.assert_allclose(grams.blend(share), blend(rows, share), atol=1e-6)


def test_two_dense_blocks_weigh_equally() -> None:
    grams = BlockKernels().fit(FeatureSet("two", {"a": DENSE[:, :3], "b": DENSE[:, 3:]}, BOTH.valid)).between()
    parts = [BlockKernels().fit(FeatureSet("one", {"a": part}, BOTH.valid)).between().blend(1.0) for part in (DENSE[:, :3], DENSE[:, 3:])]
    assert grams.counts is None
    np.testing.assert_allclose(grams.dense, (parts[0] + parts[1]) / 2, atol=1e-6)


def test_equal_rows_have_a_kernel_of_exactly_one_and_equal_training_rows_do_not_divide_by_zero() -> None:
    rows = np.array([[1.0, 2.0], [1.0, 2.0], [4.0, 8.0]], np.float32)
    grams = BlockKernels().fit(FeatureSet("rows", {"dense": rows}, np.ones(3, bool))).between()
    np.testing.assert_array_equal(grams.dense[:2, :2], np.ones((2, 2)))
    all_equal = BlockKernels().fit(FeatureSet("rows", {"dense": rows[:2]}, np.ones(2, bool))).between()
    np.testing.assert_array_equal(all_equal.dense, np.ones((2, 2)))


def test_gaussian_kernel_equals_scikit_learns() -> None:
    grams = BlockKernels(power=2).fit(ONLY_DENSE).between()
    scaled = StandardScaler().fit_transform(DENSE.astype(float))
    width = np.median(euclidean_distances(scaled)[np.triu_indices(N, 1)])
    np.testing.assert_allclose(grams.dense, rbf_kernel(scaled, gamma=width**-2), atol=1e-6)


@pytest.mark.parametrize(("useful", "expected"), [("counts", (0.0, 0.3)), ("dense", (0.9,))])
@pytest.mark.parametrize(("name", "task_type"), KERNEL_CASES)
def test_share_is_chosen_by_what_predicts_held_out_rows(name: str, task_type: str, useful: str, expected: tuple[float, ...]) -> None:
    rng = np.random.default_rng(1)
    counts, dense = rng.poisson(2.0, size=(150, 5)).astype(np.float32), rng.normal(size=(150, 5)).astype(np.float32)
    y = {"counts": counts[:, 0] + counts[:, 1], "dense": dense[:, 0] + dense[:, 1]}[useful].astype(float)
    y = y if task_type == "regression" else (y > np.median(y)).astype(float)
    features = FeatureSet("both", {"counts": sparse.csr_array(counts), "dense": dense}, np.ones(150, bool))
    head = build_head(name, task_type, dense_shares=[0.0, 0.3, 0.9]).fit(features, y)
    assert isinstance(head, KernelHead)
    assert head.dense_share_ in expected
    assert min(head.losses_, key=head.losses_.get) == (head.dense_share_, head.setting_)


def test_share_is_fixed_where_there_is_one_kind_of_block() -> None:
    assert fitted("gp", ONLY_COUNTS).dense_share_ == 0.0
    assert fitted("gp", ONLY_DENSE).dense_share_ == 1.0


def test_tanimoto_svm_equals_scikit_learn_on_the_blended_kernel() -> None:
    head = fitted("tanimoto_svm", dense_shares=[0.3], costs=[2.0])
    centre, spread = Y[TRAIN].mean(), Y[TRAIN].std()
    machine = SVR(kernel="precomputed", C=2.0, epsilon=0.05).fit(blend(TRAIN, 0.3), (Y[TRAIN] - centre) / spread)
    np.testing.assert_allclose(head.predict(BOTH.rows(TEST)), machine.predict(blend(TEST, 0.3)) * spread + centre, atol=2e-3)


@pytest.mark.parametrize("k", [1, 4, 500])
def test_neighbours_equal_scikit_learns_on_the_same_similarities(k: int) -> None:
    def weights(distances: np.ndarray) -> np.ndarray:
        return (1 - distances) ** 6.0

    distances, new = 1 - blend(TRAIN, 0.3), 1 - blend(TEST, 0.3)
    settings = {"n_neighbors": min(k, len(TRAIN)), "metric": "precomputed", "weights": weights}
    expected = KNeighborsRegressor(**settings).fit(distances, Y[TRAIN]).predict(new)
    head = fitted("knn", dense_shares=[0.3], neighbours=[k])
    np.testing.assert_allclose(head.predict(BOTH.rows(TEST)), expected, rtol=1e-5)
    expected = KNeighborsClassifier(**settings).fit(distances, LABELS[TRAIN]).predict_proba(new)[:, 1]
    decisions = fitted("knn", task_type="classification", dense_shares=[0.3], neighbours=[k], folds=1).predict(BOTH.rows(TEST))
    # Without folds the mean of −1 and +1 goes through the logistic function.
    np.testing.assert_allclose(decisions, 1 / (1 + np.exp(1 - 2 * expected)), rtol=1e-5)


def test_neighbours_of_no_similarity_weigh_equally() -> None:
    rows = FeatureSet("rows", {"counts": sparse.csr_array(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32))}, np.ones(3, bool))
    head = build_head("knn", neighbours=[2]).fit(rows.rows(np.array([0, 1])), np.array([1.0, 4.0]))
    np.testing.assert_allclose(head.predict(rows), [1.0, 4.0, 2.5])


def test_tanimoto_logistic_equals_scikit_learn_on_features_whose_products_are_the_kernel() -> None:
    head = fitted("tanimoto_logistic", task_type="classification", dense_shares=[0.3], costs=[2.0], folds=1)
    labels = LABELS.copy()
    values, vectors = np.linalg.eigh(blend(TRAIN, 0.3))
    rows = vectors * np.sqrt(values)
    model = LogisticRegression(C=2.0, class_weight="balanced", tol=1e-8, max_iter=10_000).fit(rows, labels[TRAIN])
    decisions = blend(TEST, 0.3) @ (vectors / np.sqrt(values)) @ model.coef_[0] + model.intercept_
    np.testing.assert_allclose(head.predict(BOTH.rows(TEST)), 1 / (1 + np.exp(-decisions)), atol=1e-4)


def test_gaussian_process_equals_scikit_learns() -> None:
    head = fitted("gp", ONLY_DENSE)
    scaler = StandardScaler().fit(DENSE[TRAIN].astype(float))
    train, test = scaler.transform(DENSE[TRAIN].astype(float)), scaler.transform(DENSE[TEST].astype(float))
    centre, spread = Y[TRAIN].mean(), Y[TRAIN].std()
    width = np.median(euclidean_distances(train)[np.triu_indices(len(train), 1)])
    kernel = ConstantKernel(1.0) * Matern(length_scale=width, length_scale_bounds="fixed", nu=0.5) + WhiteKernel(0.1)
    process = GaussianProcessRegressor(kernel, alpha=0, n_restarts_optimizer=2, random_state=0).fit(train, (Y[TRAIN] - centre) / spread)
    mean, deviation = process.predict(test, return_std=True)
    np.testing.assert_allclose(head.predict(ONLY_DENSE.rows(TEST)), mean * spread + centre, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(head.predict_std(ONLY_DENSE.rows(TEST)), deviation * spread, rtol=1e-3)
    np.testing.assert_allclose(head.noise_, process.kernel_.k2.noise_level * spread**2, rtol=1e-2)
    np.testing.assert_allclose(head.signal_, process.kernel_.k1.k1.constant_value * spread**2, rtol=1e-2)


def test_gaussian_process_predicts_held_out_rows_as_kernel_ridge_fitted_without_them() -> None:
    head = build_head("gp", dense_shares=[0.3])
    y = Y[TRAIN]
    folds = inner_folds(y, "regression", 5, 0)
    held_out = head.fit_with_held_out(BOTH.rows(TRAIN), y, folds)
    kernel, ridge = blend(TRAIN, 0.3), KernelRidge(alpha=head.noise_ / head.signal_, kernel="precomputed")
    for train, rest in folds:
        centre = y[train].mean()
        expected = ridge.fit(kernel[np.ix_(train, train)], y[train] - centre).predict(kernel[np.ix_(rest, train)]) + centre
        np.testing.assert_allclose(held_out[rest], expected, atol=1e-4)


def test_gaussian_process_is_less_sure_far_from_its_rows_and_keeps_the_place_of_refused_ones() -> None:
    head = fitted("gp", ONLY_DENSE)
    far = FeatureSet("dense", {"dense": np.vstack([DENSE[:1], DENSE[:1] + 1000, DENSE[:1]])}, np.array([True, True, False]))
    near_std, far_std, refused = head.predict_std(far)
    assert far_std > near_std > 0
    assert far_std == pytest.approx(np.sqrt(head.noise_ + head.signal_), rel=1e-2)
    assert np.isnan(refused)
    constant = build_head("gp").fit(ONLY_DENSE, np.ones(N))
    assert np.isnan(constant.predict_std(ONLY_DENSE)).all()
    with pytest.raises(ConfigError, match="deviations for regression"):
        fitted("gp", task_type="classification").predict_std(BOTH)


# Not the Gaussian process, whose variances come from all rows: see the test with kernel ridge.
def test_a_process_finds_that_labels_without_noise_have_none():
    kernel = tanimoto(COUNTS, COUNTS)
    labels = kernel @ np.random.default_rng(0).normal(size=N)
    head = build_head("gp").fit(ONLY_COUNTS, labels)
    assert head.noise_ < 1e-4 * head.signal_
    np.testing.assert_allclose(head.predict(ONLY_COUNTS), labels, atol=1e-3 * labels.std())


@pytest.mark.parametrize(("name", "task_type"), [case for case in KERNEL_CASES if case[0] != "gp"])
def test_held_out_predictions_are_those_of_heads_fitted_without_the_fold(name: str, task_type: str) -> None:
    y = (Y if task_type == "regression" else LABELS)[TRAIN]
    features = ONLY_COUNTS.rows(TRAIN)
    single = {"neighbours": [5]} if name == "knn" else {"costs": [1.0]}
    folds = inner_folds(y, task_type, 4, 0)
    held_out = build_head(name, task_type, **single).fit_with_held_out(features, y, folds)
    for train, rest in folds:
        again = build_head(name, task_type, folds=1, **single).fit(features.rows(train), y[train]).predict(features.rows(rest))
        if task_type == "regression":  # standardised by all rows here and by the fold there, so C and ε differ a little
            np.testing.assert_allclose(held_out[rest], again, atol=0.15)
        else:  # the sigmoid differs, not the order
            assert roc_auc_score(y[rest], held_out[rest]) == pytest.approx(roc_auc_score(y[rest], again))


def test_probabilities_keep_the_order_of_the_machine_where_held_out_decisions_are_worse_than_chance() -> None:
    # Pairs of opposite labels that are nearest to each other: held-out rows are predicted wrong, so the fitted sigmoid would fall.
    rows = np.repeat(np.eye(8, dtype=np.float32), 2, axis=0)
    rows = np.hstack([rows * 5, np.tile([[1.0, 0.0], [0.0, 1.0]], (8, 1)).astype(np.float32)])
    features = FeatureSet("pairs", {"counts": sparse.csr_array(rows)}, np.ones(16, bool))
    y = np.tile([0.0, 1.0], 8)
    y[1::4], y[0::4] = 0.0, 1.0
    head = build_head("tanimoto_svm", "classification", costs=[10.0]).fit(features, y)
    assert roc_auc_score(y, head.predict(features)) == 1.0


def test_chosen_parameters_give_the_same_model_without_a_search() -> None:
    for name, task_type in KERNEL_CASES:
        y = (Y if task_type == "regression" else LABELS)[TRAIN]
        head = build_head(name, task_type).fit(BOTH.rows(TRAIN), y)
        again = build_head(name, task_type, **head.chosen_parameters()).fit(BOTH.rows(TRAIN), y)
        assert len(again.losses_) == 1
        np.testing.assert_array_equal(again.predict(BOTH), head.predict(BOTH))


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("tanimoto_svm", {"dense_shares": [0.0, 2.0]}, r"dense_shares .* from 0 to 1, received \[0.0, 2.0\]"),
        ("knn", {"neighbours": [0]}, "one neighbour or more"),
        ("knn", {"power": -1.0}, "received .* power -1"),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, parameters: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fitted(name, **parameters)
