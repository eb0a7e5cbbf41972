"""Numbers and names as a reader sees them: sensible digits, signs, and metrics by their usual names."""

import math
from collections.abc import Sequence

import numpy as np

from molbt.evaluation.metrics import find_metric

NONE = "–"
"""Shown where a value is not defined."""

_METRIC_NAMES = {
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "pearson": "Pearson correlation",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "delta_auprc": "ΔAUPRC",
    "delta_auprc_support": "ΔAUPRC, against the share of actives in the support set",
}
IN_LABEL_UNITS = ("rmse", "mae")
"""Metrics that are in the unit of the labels."""


def metric_name(metric: str, label_unit: str = "") -> str:
    """Return a metric's usual name, its group of test rows, and the unit where it has the label's.

    >>> metric_name("rmse_cliff", "pKi")
    'RMSE on cliff (pKi)'
    """
    if metric in _METRIC_NAMES and metric not in IN_LABEL_UNITS:
        return _METRIC_NAMES[metric]
    _, group = find_metric(metric)
    base = metric.removesuffix(f"_{group}") if group else metric
    name = _METRIC_NAMES.get(base, base) + (f" on {group}" if group else "")
    return f"{name} ({label_unit})" if label_unit and base in IN_LABEL_UNITS else name


def decimals_for(half_widths: Sequence[float], standard_errors: Sequence[float], means: Sequence[float]) -> int:
    """Return how many decimals numbers deserve: two significant digits of the typical half-width of their intervals.

    Without an interval, of the typical standard error; without one, of a tenth of the typical mean; between 0 and 5.
    """
    for widths in (np.asarray(half_widths), np.asarray(standard_errors), np.abs(means) / 10):
        defined = widths[np.isfinite(widths) & (widths > 0)]
        if len(defined):
            return int(np.clip(1 - math.floor(math.log10(float(np.median(defined)))), 0, 5))
    return 3


def number(value: float, decimals: int, *, sign: bool = False) -> str:
    """Return a number with that many decimals, or ``–`` where it is undefined."""
    if not math.isfinite(value):
        return NONE
    rounded = round(float(value), decimals) + 0.0  # no "−0.00"
    return f"{rounded:{'+' if sign and rounded else ''}.{decimals}f}".replace("-", "−")


def interval(low: float, high: float, decimals: int) -> str:
    """Return ``+0.01 to +0.03``, or ``–`` where there is no interval."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return NONE
    return f"{number(low, decimals, sign=True)} to {number(high, decimals, sign=True)}"


def cell_name(features: str, head: str) -> str:
    """Return ``features × head``."""
    return f"{features} × {head}"
