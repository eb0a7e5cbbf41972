"""Whether one way of predicting did better than another in the same folds of one data set."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
FEWEST_FOLDS = 5
"""With fewer folds nothing is claimed: an interval over two or three stands on the assumption that they are normally distributed."""


@dataclass(frozen=True)
class FoldDifference:
    """The mean paired difference of two scores over folds.

    Attributes
    ----------
    mean, low, high : float
        In the metric's own direction, with the ends of the 95 % interval; NaN where there are too few folds.
    claim : {"better", "worse", "no difference shown", "too few folds to tell"}
        Whether the interval excludes zero, and on which side.
    """

    mean: float
    low: float
    high: float
    claim: str


def fold_difference(scores: np.ndarray, others: np.ndarray, task_type: str, *, test_share: float) -> FoldDifference:
    """Return ``scores − others`` over the folds where both are defined.

    Parameters
    ----------
    scores, others : ndarray of shape (folds,), float64
        RMSE for regression, ROC AUC for classification; NaN where a fold has none.
    task_type : {"regression", "classification"}
    test_share : float
        As in ``corrected_interval``.
    """
    differences = (scores - others)[np.isfinite(scores) & np.isfinite(others)]
    mean, low, high = corrected_interval(differences, test_share)
    if len(differences) < FEWEST_FOLDS:
        claim = "too few folds to tell"
    elif not (low > 0 or high < 0):
        claim = "no difference shown"
    else:
        claim = "better" if (high < 0) == (task_type == "regression") else "worse"
    return FoldDifference(mean, low, high, claim)


def corrected_interval(differences: np.ndarray, test_share: float) -> tuple[float, float, float]:
    """Return the mean of differences over folds of one data set, and the ends of its 95 % interval.

    The folds share most of their training rows, so a plain t-interval is too narrow. The variance of the mean is taken as that of the
    differences times (1/k + n_test/n_train) in the place of 1/k.

    Parameters
    ----------
    differences : ndarray of shape (k,), float64
        Without NaN. Fewer than two have no interval, and none has no mean: NaN.
    test_share : float
        The share of a fold's rows that are tested on, between 0 and 1: 0.2 in five folds.

    References
    ----------
    Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 52 (2003) 239–281, corrected resampled t-test,
    https://doi.org/10.1023/A:1024068626366
    """
    k = len(differences)
    mean = float(differences.mean()) if k else math.nan
    if k < 2:
        return mean, math.nan, math.nan
    error = math.sqrt(float(differences.var(ddof=1)) * (1 / k + test_share / (1 - test_share)))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, k - 1)) * error
    return mean, mean - half, mean + half
