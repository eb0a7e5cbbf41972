"""Prototype heads, against the formulas of their papers on dense matrices, with scikit-learn's nearest centroid as a second witness."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.neighbors import NearestCentroid

from molbt.errors import ConfigError
from molbt.predict.features import FeatureSet
from molbt.predict.heads import build_head

N, SUPPORT = 60, np.arange(16)
RNG = np.random.default_rng(3)
COUNTS = RNG.poisson(0.7, size=(N, 40)).astype(np.float32)
DENSE = (RNG.normal(size=(N, 5)) * [1, 10, 0.1, 1, 5] + 3).astype(np.float32)
Y = np.tile([0.0, 1.0, 1.0], N // 3)
DENSE[Y == 1, 0] += 1.5
VALID = np.ones(N, bool)
BOTH = FeatureSet("both", {"counts": sparse.csr_array(COUNTS), "dense": DENSE}, VALID)
ONLY_COUNTS = FeatureSet("counts", {"counts": BOTH.blocks["counts"]}, VALID)
ONLY_DENSE = FeatureSet("dense", {"dense": DENSE}, VALID)


def scaled(name: str) -> np.ndarray:
    """What the heads measure distances in, written down anew: each block with a summed variance of 1 over the support rows."""
    blocks = []
    if name in ("counts", "both"):
        blocks.append(np.log1p(COUNTS[:, COUNTS[SUPPORT].sum(axis=0) > 0]).astype(float))
    if name in ("dense", "both"):
        blocks.append((DENSE - DENSE[SUPPORT].mean(axis=0)) / DENSE[SUPPORT].std(axis=0))
    return np.hstack([block / np.sqrt(block[SUPPORT].var(axis=0).sum()) for block in blocks])


def logistic(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


@pytest.mark.parametrize("features", [BOTH, ONLY_COUNTS, ONLY_DENSE], ids=lambda features: features.name)
def test_euclidean_prototypes_are_class_means(features: FeatureSet) -> None:
    x = scaled(features.name)
    means = [x[SUPPORT][Y[SUPPORT] == label].mean(axis=0) for label in (0, 1)]
    distances = [((x - mean) ** 2).sum(axis=1) for mean in means]
    head = build_head("prototypes", "classification").fit(features.rows(SUPPORT), Y[SUPPORT])
    probabilities = head.predict(features)
    np.testing.assert_allclose(probabilities, logistic(distances[0] - distances[1]), atol=1e-5)
    nearest = NearestCentroid().fit(x[SUPPORT], Y[SUPPORT]).predict(x)
    np.testing.assert_array_equal(probabilities > 0.5, nearest == 1)


@pytest.mark.parametrize("features", [BOTH, ONLY_COUNTS, ONLY_DENSE], ids=lambda features: features.name)
@pytest.mark.parametrize("ridge", [0.1, 2.0])
def test_mahalanobis_prototypes_use_the_published_covariance_in_all_directions(features: FeatureSet, ridge: float) -> None:
    x, y = scaled(features.name), Y[SUPPORT]
    distances = []
    for label in (0, 1):
        members = x[SUPPORT][y == label]
        own = min(len(members) / (len(members) + 1), 0.1)
        covariance = own * np.cov(members.T) + (1 - own) * np.cov(x[SUPPORT].T) + ridge * np.eye(x.shape[1])
        apart = x - members.mean(axis=0)
        distances.append((apart @ np.linalg.inv(covariance) * apart).sum(axis=1))
    head = build_head("prototypes_mahalanobis", "classification", ridge=ridge).fit(features.rows(SUPPORT), y)
    np.testing.assert_allclose(head.predict(features), logistic(distances[0] - distances[1]), atol=1e-4)


def test_a_class_of_one_row_has_a_prototype() -> None:
    y = np.zeros(16)
    y[3] = 1
    for name in ("prototypes", "prototypes_mahalanobis"):
        probabilities = build_head(name, "classification").fit(BOTH.rows(SUPPORT), y).predict(BOTH.rows(SUPPORT))
        assert np.isfinite(probabilities).all()
        assert probabilities.argmax() == 3


def test_equal_rows_of_both_classes_are_undecided() -> None:
    same = FeatureSet("same", {"dense": np.ones((4, 3), np.float32)}, np.ones(4, bool))
    for name in ("prototypes", "prototypes_mahalanobis"):
        head = build_head(name, "classification").fit(same, np.array([0.0, 1.0, 0.0, 1.0]))
        np.testing.assert_allclose(head.predict(same), 0.5)


def test_many_directions_are_cut_to_the_widest(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = build_head("prototypes_mahalanobis", "classification").fit(BOTH.rows(np.arange(50)), Y[:50]).predict(BOTH)
    monkeypatch.setattr("molbt.predict.prototypes._MOST_DIRECTIONS", 30)
    cut = build_head("prototypes_mahalanobis", "classification").fit(BOTH.rows(np.arange(50)), Y[:50])
    assert cut._directions.shape[1] == 30
    assert np.corrcoef(cut.predict(BOTH), exact)[0, 1] > 0.9


def test_a_ridge_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="ridge"):
        build_head("prototypes_mahalanobis", "classification", ridge=0.0).fit(BOTH, Y)
