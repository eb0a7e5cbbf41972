"""Conformal intervals and sets: against hand-computed ranks, and the promise itself over many draws."""

import json
import logging
import math

import numpy as np
import pytest
from crepes import WrapClassifier
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from molbt.errors import CheckpointError, ConfigError, DataError, ShapeError
from molbt.predict.conformal import Conformal, rows_needed
from molbt.predict.coverage import interval_coverage, set_coverage
from molbt.predict.features import FeatureSet
from molbt.predict.heads import build_head
from molbt.predict.out_of_fold import out_of_fold_predictions


def order_statistic(errors: np.ndarray, confidence: float) -> float:
    """The ⌈(n + 1) · confidence⌉-th smallest error, in whole numbers: ``confidence`` is given in hundredths."""
    rank = -(-(len(errors) + 1) * round(confidence * 100) // 100)
    return float(np.sort(errors)[rank - 1])


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("n", [19, 20, 39, 99, 100, 199, 257])
def test_half_the_width_of_an_interval_is_an_order_statistic_of_the_errors(n, confidence):
    rng = np.random.default_rng(n)
    predictions, labels = rng.normal(size=(2, n))
    expected = order_statistic(np.abs(labels - predictions), confidence)
    intervals = Conformal.fit(predictions, labels, "regression").intervals(np.array([0.0, 10.0]), confidence)
    np.testing.assert_allclose(intervals, [[-expected, expected], [10 - expected, 10 + expected]], rtol=1e-12)


def test_intervals_are_proportional_to_the_difficulty():
    rng = np.random.default_rng(0)
    predictions, labels = rng.normal(size=(2, 99))
    difficulty = rng.uniform(0.5, 2, size=99)
    expected = order_statistic(np.abs(labels - predictions) / difficulty, 0.9)
    conformal = Conformal.fit(predictions, labels, "regression", difficulty=difficulty)
    intervals = conformal.intervals(np.zeros(2), 0.9, difficulty=np.array([0.5, 3.0]))
    np.testing.assert_allclose(np.diff(intervals).ravel(), 2 * expected * np.array([0.5, 3.0]), rtol=1e-12)


def test_each_group_has_its_own_intervals_and_a_group_without_calibration_rows_has_no_ends(caplog):
    rng = np.random.default_rng(1)
    errors = rng.normal(size=200) * np.repeat([1.0, 10.0], 100)
    groups = np.repeat([0, 4], 100)
    conformal = Conformal.fit(np.zeros(200), errors, "regression", groups=groups)
    with caplog.at_level(logging.WARNING):
        intervals = conformal.intervals(np.zeros(3), 0.8, groups=np.array([4, 0, 7]))
    expected = [order_statistic(np.abs(errors[groups == group]), 0.8) for group in (4, 0)] + [math.inf]
    np.testing.assert_allclose(intervals[:, 1], expected, rtol=1e-12)
    np.testing.assert_allclose(intervals[:, 0], [-end for end in expected], rtol=1e-12)
    assert "0.8 needs 4 calibration rows in group 7, received 0" in caplog.text


@pytest.mark.parametrize(("confidence", "needed"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.7, 3)])
def test_intervals_have_ends_from_the_smallest_number_of_rows_that_allows_it(confidence, needed, caplog):
    assert rows_needed(confidence) == needed
    errors = np.arange(1.0, needed + 1)
    enough = Conformal.fit(np.zeros(needed), errors, "regression").intervals(np.zeros(1), confidence)
    np.testing.assert_array_equal(enough, [[-needed, needed]])
    assert not caplog.text
    if needed > 1:
        too_few = Conformal.fit(np.zeros(needed - 1), errors[1:], "regression").intervals(np.zeros(1), confidence)
        np.testing.assert_array_equal(too_few, [[-np.inf, np.inf]])
        assert f"needs {needed} calibration rows, received {needed - 1}" in caplog.text


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
def test_intervals_cover_as_often_as_they_promise_over_many_draws(confidence):
    rng = np.random.default_rng(3)
    n_draws, n_calibration, n_new = 400, 100, 50
    covered = []
    for _ in range(n_draws):
        x = rng.uniform(0, 3, size=n_calibration + n_new)
        y = x + rng.standard_t(3, size=len(x)) * (0.2 + x)  # heavy tails, unequal noise
        predictions = 0.8 * x  # and a head that is biased
        conformal = Conformal.fit(predictions[:n_calibration], y[:n_calibration], "regression", difficulty=0.2 + x[:n_calibration])
        intervals = conformal.intervals(predictions[n_calibration:], confidence, difficulty=0.2 + x[n_calibration:])
        covered.append(interval_coverage(y[n_calibration:], intervals).covered)
    # Coverage given the calibration rows varies by √(c (1 − c) / 101), so the mean of 400 draws is within ± .006 of the promise.
    expected = math.ceil(confidence * (n_calibration + 1) - 1e-9) / (n_calibration + 1)
    assert abs(np.mean(covered) - expected) < 0.008
    assert abs(np.mean(covered) - confidence) < 0.02


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
def test_sets_cover_each_class_as_often_as_they_promise_over_many_draws(confidence):
    rng = np.random.default_rng(4)
    n_draws, n = 200, 240
    covered = []
    for _ in range(n_draws):
        y = (rng.uniform(size=n) < 0.25).astype(float)
        probabilities = 1 / (1 + np.exp(-3 * (y - 0.7) - rng.normal(size=n)))  # overconfident and biased to class 0
        conformal = Conformal.fit(probabilities[: n // 2], y[: n // 2], "classification")
        p_values = conformal.p_values(probabilities[n // 2 :])
        found = set_coverage(y[n // 2 :], p_values, conformal.sets(probabilities[n // 2 :], confidence))
        covered.append([found.by_class[0].covered, found.by_class[1].covered])
    # About 90 and 30 calibration rows: not smoothed, the coverage lies between the promise and 1 / (rows + 1) above it.
    mean = np.mean(covered, axis=0)
    assert (mean > confidence - 0.01).all()
    assert (mean < confidence + np.array([1 / 90, 1 / 30]) + 0.01).all()


def test_p_values_equal_those_of_the_class_conditional_wrapper_of_crepes_and_a_count_by_hand():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(300, 3))
    y = (X[:, 0] + rng.normal(size=300) > 0.8).astype(int)
    model = LogisticRegression().fit(X[:100], y[:100])
    wrapped = WrapClassifier(model)
    wrapped.calibrate(X[100:200], y[100:200], class_cond=True)
    expected = wrapped.predict_p(X[200:], smoothing=False)
    probability = model.predict_proba(X)[:, 1]
    p_values = Conformal.fit(probability[100:200], y[100:200], "classification").p_values(probability[200:])
    np.testing.assert_allclose(p_values, expected, rtol=1e-9)
    ones = probability[100:200][y[100:200] == 1]
    by_hand = ((ones <= probability[200]).sum() + 1) / (len(ones) + 1)
    assert p_values[0, 1] == pytest.approx(by_hand)


def test_a_set_leaves_out_the_classes_whose_p_value_does_not_exceed_the_error_rate():
    # Nine rows of class 1, so that the smallest p-value is exactly 0.1; class 0 has four rows, too few to rule it out at 0.9.
    probabilities = np.concatenate([np.linspace(0.1, 0.4, 4), np.linspace(0.55, 0.95, 9)])
    conformal = Conformal.fit(probabilities, np.repeat([0.0, 1.0], [4, 9]), "classification")
    new = np.array([0.01, 0.99, np.nan])
    np.testing.assert_allclose(conformal.p_values(new), [[1.0, 0.1], [0.2, 1.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(conformal.sets(new, 0.9), [[True, False], [True, True], [False, False]])
    np.testing.assert_array_equal(conformal.sets(new, 0.8), [[True, False], [False, True], [False, False]])


def test_groups_of_classes_are_calibrated_apart():
    probabilities = np.array([0.1, 0.2, 0.8, 0.9, 0.4, 0.6])
    labels = np.array([0, 0, 1, 1, 0, 1])
    conformal = Conformal.fit(probabilities, labels, "classification", groups=np.array([0, 0, 0, 0, 1, 1]))
    p_values = conformal.p_values(np.array([0.5, 0.5, 0.5]), groups=np.array([0, 1, 2]))
    np.testing.assert_allclose(p_values, [[1 / 3, 1 / 3], [1 / 2, 1 / 2], [1.0, 1.0]])


def test_rows_without_prediction_or_label_take_no_part_and_have_no_interval():
    predictions, labels = np.array([0.0, np.nan, 0.0, 0.0]), np.array([1.0, 5.0, np.nan, -2.0])
    difficulty = np.array([1.0, np.nan, 1.0, 1.0])
    conformal = Conformal.fit(predictions, labels, "regression", difficulty=difficulty)
    np.testing.assert_array_equal(conformal.scores, [1.0, 2.0])
    intervals = conformal.intervals(np.array([np.nan, 3.0]), 0.5, difficulty=np.array([np.nan, 1.0]))
    np.testing.assert_array_equal(intervals, [[np.nan, np.nan], [1.0, 5.0]])


def test_no_rows_have_no_intervals_and_no_sets():
    assert Conformal.fit(np.zeros(9), np.ones(9), "regression").intervals(np.zeros(0), 0.9).shape == (0, 2)
    assert Conformal.fit(np.zeros(9), np.ones(9), "classification").sets(np.full(2, np.nan), 0.9).tolist() == [[False, False]] * 2


@pytest.mark.parametrize("task_type", ["regression", "classification"])
def test_a_calibration_is_the_same_after_json(task_type):
    rng = np.random.default_rng(6)
    probabilities, groups = rng.uniform(size=80), rng.integers(3, size=80)
    labels = (rng.uniform(size=80) < probabilities).astype(float)
    conformal = Conformal.fit(probabilities, labels, task_type, groups=groups)
    again = Conformal.from_dict(json.loads(json.dumps(conformal.to_dict(), allow_nan=False)))
    method = "intervals" if task_type == "regression" else "sets"
    expected = getattr(conformal, method)(probabilities, 0.8, groups=groups)
    np.testing.assert_array_equal(getattr(again, method)(probabilities, 0.8, groups=groups), expected)


@pytest.mark.parametrize(
    "change",
    [{"scores": []}, {"scores": [-1.0, 1.0]}, {"scores": [math.inf, 1.0]}, {"categories": [0]}, {"task_type": "ranking"}, {"extra": 1}],
)
def test_a_changed_description_is_refused(change):
    content = Conformal.fit(np.zeros(2), np.ones(2), "regression").to_dict()
    with pytest.raises(CheckpointError, match="calibration of a predictor"):
        Conformal.from_dict(content | change)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"task_type": "ranking"}, ConfigError, "unknown task type 'ranking'"),
        ({"labels": np.zeros(3)}, ShapeError, r"shapes \(3,\) and \(4,\)"),
        ({"labels": np.full(4, np.nan)}, DataError, "got none among 4"),
        ({"difficulty": np.array([1.0, 0.0, 1.0, 1.0])}, DataError, "positive and finite"),
        ({"difficulty": np.ones(3)}, ShapeError, "one difficulty for each of 4"),
        ({"groups": np.array([0, -1, 0, 0])}, DataError, "whole numbers from 0"),
        ({"groups": np.array([0.0, 1.0, 0.5, 0.0])}, DataError, "whole numbers from 0"),
        ({"task_type": "classification", "difficulty": np.ones(4)}, ConfigError, "got one for classification"),
        ({"task_type": "classification", "labels": np.array([0, 1, 2, 0])}, DataError, "got 2"),
        ({"task_type": "classification", "predictions": np.array([0, 1, 1.5, 0])}, DataError, "received 1.5"),
    ],
)
def test_calibration_refuses_what_it_cannot_use(arguments, error, message):
    usable = {"predictions": np.zeros(4), "labels": np.zeros(4), "task_type": "regression"}
    with pytest.raises(error, match=message):
        Conformal.fit(**(usable | arguments))


def test_predicting_refuses_another_task_type_confidence_or_calibration():
    regression = Conformal.fit(np.zeros(9), np.ones(9), "regression")
    classification = Conformal.fit(np.zeros(9), np.ones(9), "classification")
    with pytest.raises(ConfigError, match="this one is for classification; use sets"):
        classification.intervals(np.zeros(1), 0.9)
    with pytest.raises(ConfigError, match="this one is for regression; use intervals"):
        regression.sets(np.zeros(1), 0.9)
    for confidence in (0.0, 1.0, 90):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            regression.intervals(np.zeros(1), confidence)
    with pytest.raises(ConfigError, match="without difficulty, received some"):
        regression.intervals(np.zeros(1), 0.9, difficulty=np.ones(1))
    with pytest.raises(ConfigError, match="with groups, received none"):
        Conformal.fit(np.zeros(9), np.ones(9), "regression", groups=np.zeros(9, int)).intervals(np.zeros(1), 0.9)


def test_out_of_fold_predictions_are_those_of_heads_fitted_on_the_other_folds():
    rng = np.random.default_rng(7)
    values = rng.normal(size=(40, 3)).astype(np.float32)
    y = values[:, 0] + 0.1 * rng.normal(size=40)
    y[3] = np.nan
    features = FeatureSet("dense", {"dense": values}, np.arange(40) != 5)
    head = build_head("lightgbm", random_state=2, n_trees=5)
    smiles = ["C" * (n + 1) for n in range(40)]
    found, fold = out_of_fold_predictions(head, features, y, smiles, n_splits=4)
    usable = np.flatnonzero(features.valid & np.isfinite(y))
    for number, (train, held_out) in enumerate(KFold(4, shuffle=True, random_state=2).split(usable)):
        expected = clone(head).fit(features.rows(usable[train]), y[usable[train]]).predict(features.rows(usable[held_out]))
        np.testing.assert_array_equal(found[usable[held_out]], expected)
        assert set(fold[usable[held_out]]) == {number}
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found)), [3, 5])
    np.testing.assert_array_equal(np.flatnonzero(fold < 0), [3, 5])
    assert not hasattr(head, "n_train_")
    constant = out_of_fold_predictions(head, features, np.full(40, 2.5), smiles).predictions
    np.testing.assert_array_equal(constant, np.where(features.valid, 2.5, np.nan))


def test_replicates_are_held_out_together():
    features = FeatureSet("dense", {"dense": np.arange(40, dtype=np.float32)[:, None]}, np.ones(40, dtype=bool))
    smiles = ["C" * (n // 2 + 1) for n in range(40)]
    fold = out_of_fold_predictions(build_head("lightgbm", n_trees=2), features, np.arange(40.0), smiles).fold
    np.testing.assert_array_equal(fold[::2], fold[1::2])
    assert set(fold) == {0, 1, 2, 3, 4}


def test_coverage_of_intervals_counts_both_ends_and_leaves_out_missing_rows():
    intervals = np.array([[0.0, 1.0], [0.0, 1.0], [2.0, 5.0], [np.nan, np.nan], [0.0, 1.0]])
    found = interval_coverage(np.array([0.0, 1.0, 6.0, 0.5, np.nan]), intervals)
    assert (found.n, found.mean_width, found.median_width) == (3, pytest.approx(5 / 3), 1.0)
    assert found.covered == pytest.approx(2 / 3)
    # Clopper and Pearson 1934 for 2 of 3, as tabulated: 9.43 % to 99.16 %.
    assert (round(found.low, 4), round(found.high, 4)) == (0.0943, 0.9916)
    assert math.isnan(interval_coverage(np.array([np.nan]), intervals[:1]).covered)


def test_coverage_of_sets_tells_an_empty_set_from_a_missing_prediction():
    p_values = np.array([[0.5, 0.01], [0.5, 0.5], [0.01, 0.01], [np.nan, np.nan], [0.01, 0.5]])
    found = set_coverage(np.array([0.0, 1.0, 1.0, 1.0, 0.0]), p_values, p_values > 0.1)
    assert (found.n, found.covered, found.empty, found.single, found.both) == (4, 0.5, 0.25, 0.5, 0.25)
    assert [(part.n, part.covered) for part in found.by_class] == [(2, 0.5), (2, 0.5)]
    with pytest.raises(DataError, match="labels 0 and 1"):
        set_coverage(np.array([2.0]), p_values[:1], p_values[:1] > 0.1)
    with pytest.raises(ShapeError, match=r"shape \(1, 2\)"):
        set_coverage(np.array([1.0]), p_values, p_values > 0.1)
