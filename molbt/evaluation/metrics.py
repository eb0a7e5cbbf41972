"""Metrics of predictions: NaN where a metric is not defined, never a number in its place.

A name may end in the name of a group of test rows: ``rmse_cliff`` is ``rmse`` on the rows of the group ``cliff``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn import metrics as sklearn_metrics

from molbt.errors import ConfigError, ShapeError, suggestion


@dataclass(frozen=True)
class Metric:
    """A function of (labels, predictions), and how to read it."""

    function: Callable[[np.ndarray, np.ndarray], float]
    larger_is_better: bool
    task_type: str


def rmse(y: np.ndarray, predictions: np.ndarray) -> float:
    """Return the root of the mean squared error, in the unit of ``y``; NaN without rows."""
    y, predictions = _pair(y, predictions)
    return float(np.sqrt(np.mean((y - predictions) ** 2))) if len(y) else np.nan


def mae(y: np.ndarray, predictions: np.ndarray) -> float:
    """Return the mean absolute error, in the unit of ``y``; NaN without rows."""
    y, predictions = _pair(y, predictions)
    return float(np.mean(np.abs(y - predictions))) if len(y) else np.nan


def r2(y: np.ndarray, predictions: np.ndarray) -> float:
    """Return 1 − (sum of squared errors) / (sum of squares about the mean of ``y``); NaN when all ``y`` are equal or there are no rows."""
    y, predictions = _pair(y, predictions)
    return float(sklearn_metrics.r2_score(y, predictions)) if _varies(y) else np.nan


def pearson(y: np.ndarray, predictions: np.ndarray) -> float:
    """Return the correlation of labels and predictions; NaN when either is constant or there are fewer than two rows."""
    y, predictions = _pair(y, predictions)
    return float(np.corrcoef(y, predictions)[0, 1]) if _varies(y) and _varies(predictions) else np.nan


def roc_auc(y: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve (a tie counts one half); NaN unless both classes are present."""
    y, scores = _pair(y, scores)
    return float(sklearn_metrics.roc_auc_score(y, scores)) if _varies(y) else np.nan


def average_precision(y: np.ndarray, scores: np.ndarray) -> float:
    """Return the average precision of class 1; NaN without a row of class 1."""
    y, scores = _pair(y, scores)
    return float(sklearn_metrics.average_precision_score(y, scores)) if (y == 1).any() else np.nan


def delta_auprc(y: np.ndarray, scores: np.ndarray) -> float:
    """Return average precision − fraction of class 1, the few-shot metric of FS-Mol; NaN unless both classes are present.

    References
    ----------
    Stanley et al., "FS-Mol: A Few-Shot Learning Dataset of Molecules", NeurIPS Datasets and Benchmarks 2021, section 4.
    """
    y, scores = _pair(y, scores)
    return average_precision(y, scores) - float(np.mean(y)) if _varies(y) else np.nan


METRICS = {
    "rmse": Metric(rmse, larger_is_better=False, task_type="regression"),
    "mae": Metric(mae, larger_is_better=False, task_type="regression"),
    "r2": Metric(r2, larger_is_better=True, task_type="regression"),
    "pearson": Metric(pearson, larger_is_better=True, task_type="regression"),
    "roc_auc": Metric(roc_auc, larger_is_better=True, task_type="classification"),
    "average_precision": Metric(average_precision, larger_is_better=True, task_type="classification"),
    "delta_auprc": Metric(delta_auprc, larger_is_better=True, task_type="classification"),
}


def find_metric(name: str) -> tuple[Metric, str | None]:
    """Return the metric that a name stands for, and the group of test rows it ends in (None for all rows).

    >>> find_metric("rmse_cliff")[1]
    'cliff'

    Raises
    ------
    ConfigError
        If the name does not begin with a metric.
    """
    for known in sorted(METRICS, key=len, reverse=True):
        if name == known:
            return METRICS[known], None
        if name.startswith(f"{known}_"):
            return METRICS[known], name[len(known) + 1 :]
    raise ConfigError(f"unknown metric {name!r}{suggestion(name, METRICS)} (or one of these, an underscore and the name of a group)")


def _pair(y: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, predictions = np.asarray(y, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    if y.ndim != 1 or y.shape != predictions.shape:
        raise ShapeError(f"a metric needs two arrays of shape (n,), got labels {y.shape} and predictions {predictions.shape}")
    if not (np.isfinite(y).all() and np.isfinite(predictions).all()):
        raise ShapeError("a metric needs finite labels and predictions; leave out unlabelled and refused rows first")
    return y, predictions


def _varies(values: np.ndarray) -> bool:
    return len(values) > 1 and bool((values != values[0]).any())
