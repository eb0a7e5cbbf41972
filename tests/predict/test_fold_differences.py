"""Differences over folds of one data set: their interval against scipy's and the formula, and what is claimed from it."""

import math

import numpy as np
import pytest
from scipy import stats

from molbt.predict.fold_differences import corrected_interval, fold_difference

DIFFERENCES = np.array([0.02, -0.01, 0.03, 0.015, 0.005])


def test_the_interval_is_students_t_where_training_shares_nothing():
    mean, low, high = corrected_interval(DIFFERENCES, 0.0)
    expected = stats.ttest_1samp(DIFFERENCES, 0.0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((DIFFERENCES.mean(), expected.low, expected.high))


@pytest.mark.parametrize(("test_share", "ratio"), [(0.2, 0.25), (0.1, 1 / 9), (0.5, 1.0)])
def test_the_interval_is_widened_by_the_ratio_of_test_to_training_rows(test_share, ratio):
    _, low, high = corrected_interval(DIFFERENCES, test_share)
    _, narrow_low, narrow_high = corrected_interval(DIFFERENCES, 0.0)
    assert (high - low) / (narrow_high - narrow_low) == pytest.approx(math.sqrt(1 + 5 * ratio))


@pytest.mark.parametrize(
    ("differences", "task_type", "claim"),
    [
        ([0.1, 0.11, 0.09, 0.1, 0.12], "classification", "better"),
        ([0.1, 0.11, 0.09, 0.1, 0.12], "regression", "worse"),
        ([-0.1, -0.11, -0.09, -0.1, -0.12], "regression", "better"),
        ([-0.1, -0.11, -0.09, -0.1, -0.12], "classification", "worse"),
        # Student's t excludes zero here; with the rows that folds share taken into account the interval does not.
        ([0.02, 0.006, 0.03, 0.015, 0.005], "classification", "no difference shown"),
        ([0.0] * 5, "regression", "no difference shown"),
        ([0.1, 0.1, 0.1, 0.1, math.nan], "classification", "too few folds to tell"),
        ([math.nan] * 5, "classification", "too few folds to tell"),
    ],
)
def test_a_claim_needs_five_folds_and_an_interval_without_zero(differences, task_type, claim):
    assert fold_difference(0.5 + np.array(differences), np.full(5, 0.5), task_type, test_share=0.2).claim == claim


def test_the_example_of_the_correction_is_significant_without_it():
    assert stats.ttest_1samp([0.02, 0.006, 0.03, 0.015, 0.005], 0.0).confidence_interval(0.95).low > 0


def test_only_folds_where_both_are_defined_count():
    found = fold_difference(np.array([1.0, math.nan, 3.0]), np.array([0.5, 1.0, math.nan]), "regression", test_share=1 / 3)
    assert found.mean == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)
