"""The head against a kernel blended by hand."""

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit

from molbt.errors import ConfigError
from molbt.evaluation.few_shot.blended_logistic import ZERO_SHOT, BlendedLogistic
from molbt.evaluation.few_shot.offset_regression import fit_around
from molbt.predict.features import FeatureSet
from molbt.predict.shared_kernel import share_kernel

rng = np.random.default_rng(0)
COUNTS = rng.poisson(0.4, size=(50, 80)).astype(np.float32)
DENSE = {name: rng.normal(size=(50, 12)).astype(np.float32) for name in ("one", "two")}
SCORES = rng.normal(size=50).astype(np.float32)
Y = (DENSE["one"][:, 0] + COUNTS[:, 0] > 0.5).astype(float)
TRAIN, NEW = np.arange(30), np.arange(30, 50)


def features(*names: str) -> FeatureSet:
    blocks = {"counts": sparse.csr_array(COUNTS), **DENSE, ZERO_SHOT: SCORES[:, None]}
    return FeatureSet("made", {name: blocks[name] for name in names}, np.ones(50, dtype=bool))


def fitted(made: FeatureSet, **parameters: float) -> np.ndarray:
    head = BlendedLogistic(task_type="classification", **parameters).fit(made.rows(TRAIN), Y[TRAIN])
    return head.predict(made.rows(NEW))


def by_hand(kernel: np.ndarray, offset: np.ndarray, cost: float = 3.0) -> np.ndarray:
    weights, intercept = fit_around(kernel[np.ix_(TRAIN, TRAIN)], Y[TRAIN], offset[TRAIN], cost)
    return expit(kernel[np.ix_(NEW, TRAIN)] @ weights + intercept + offset[NEW])


def tanimoto() -> np.ndarray:
    return np.array([[np.minimum(a, b).sum() / np.maximum(a, b).sum() for b in COUNTS] for a in COUNTS])


def cosine(name: str) -> np.ndarray:
    unit = DENSE[name] / np.linalg.norm(DENSE[name], axis=1, keepdims=True)
    return unit.astype(float) @ unit.T.astype(float)


def test_kernel_offset_and_cost_are_those_stated() -> None:
    kernel = 0.5 * tanimoto() + 0.5 * (cosine("one") + cosine("two")) / 2
    found = fitted(features("counts", "one", "two", ZERO_SHOT))
    np.testing.assert_allclose(found, by_hand(kernel, 0.1 * SCORES.astype(float)), atol=1e-5)
    other = fitted(features("counts", "one", "two", ZERO_SHOT), cost=0.3, dense_share=0.2, score_weight=2.0)
    kernel = 0.8 * tanimoto() + 0.2 * (cosine("one") + cosine("two")) / 2
    np.testing.assert_allclose(other, by_hand(kernel, 2.0 * SCORES.astype(float), 0.3), atol=1e-5)
    assert np.abs(found - other).max() > 0.05


def test_one_kind_of_block_has_the_whole_kernel() -> None:
    none = np.zeros(50)
    np.testing.assert_allclose(fitted(features("counts")), by_hand(tanimoto(), none), atol=1e-5)
    np.testing.assert_allclose(fitted(features("one")), by_hand(cosine("one"), none), atol=1e-5)


def test_a_shared_kernel_changes_nothing() -> None:
    made = features("counts", "one", ZERO_SHOT)
    np.testing.assert_allclose(fitted(share_kernel(made)), fitted(made), atol=1e-9)


def test_a_missing_score_is_no_offset() -> None:
    made = features("counts", ZERO_SHOT)
    made.blocks[ZERO_SHOT] = np.full((50, 1), np.nan, dtype=np.float32)
    np.testing.assert_allclose(fitted(made), fitted(features("counts")), atol=1e-9)


def test_a_score_alone_and_settings_out_of_range_are_refused() -> None:
    assert not BlendedLogistic(task_type="classification").supports(features(ZERO_SHOT))
    for wrong in ({"dense_share": 1.1}, {"cost": 0.0}):
        with pytest.raises(ConfigError, match="from 0 to 1 and a cost above 0"):
            fitted(features("counts"), **wrong)
