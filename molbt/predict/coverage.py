"""How often intervals and prediction sets hold the truth on rows that took no part in fitting or calibration."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from molbt.errors import DataError, ShapeError
from molbt.predict.assay_intervals import mean_interval


@dataclass(frozen=True)
class Coverage:
    """A share of rows whose label was covered.

    Parameters
    ----------
    n : int
        Rows with a label and an interval or p-values.
    covered : float
        NaN when there is no row. Where assays are the units, the mean over assays.
    low, high : float
        Clopper–Pearson 95 % interval of ``covered`` for this number of rows; where assays are the units, Student's t over assays, cut off
        at 0 and 1. It says nothing of the calibration rows, which are a draw too: with m of them a single calibration's coverage varies
        by about √(c(1 − c) / m).
    """

    n: int
    covered: float
    low: float
    high: float


@dataclass(frozen=True)
class IntervalCoverage(Coverage):
    """Coverage of intervals, with their widths in units of the label.

    Parameters
    ----------
    mean_width, median_width : float
        Infinite as soon as one interval is, or half of them are.
    """

    mean_width: float
    median_width: float


@dataclass(frozen=True)
class SetCoverage(Coverage):
    """Coverage of prediction sets, with their sizes.

    Parameters
    ----------
    empty, single, both : float
        Shares of rows whose set holds no class, one, or both; where assays are the units, their means over assays.
    by_class : tuple of two Coverage
        Of the rows of class 0 and of class 1: what class-conditional calibration promises.
    """

    empty: float
    single: float
    both: float
    by_class: tuple[Coverage, Coverage]


def interval_coverage(labels: np.ndarray, intervals: np.ndarray) -> IntervalCoverage:
    """Return the coverage of intervals; rows without a label or an interval (NaN) are left out. Both ends belong to an interval.

    Parameters
    ----------
    labels : ndarray of shape (n,)
    intervals : ndarray of shape (n, 2)

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    """
    labels = np.asarray(labels, dtype=np.float64)
    if intervals.shape != (len(labels), 2):
        raise ShapeError(f"expected intervals of shape ({len(labels)}, 2), one for each label, received {intervals.shape}")
    known = np.isfinite(labels) & ~np.isnan(intervals).any(axis=1)
    labels, (low, high) = labels[known], intervals[known].T
    widths = high - low
    share = _share((low <= labels) & (labels <= high))
    return IntervalCoverage(**vars(share), mean_width=_mean(widths), median_width=float(np.median(widths)) if len(widths) else np.nan)


def set_coverage(labels: np.ndarray, p_values: np.ndarray, sets: np.ndarray, *, assays: np.ndarray | None = None) -> SetCoverage:
    """Return the coverage of prediction sets; rows without a label or p-values (NaN) are left out.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        0, 1 or NaN.
    p_values : ndarray of shape (n, 2)
        They tell a row without a prediction from one whose set is empty.
    sets : ndarray of shape (n, 2), bool
    assays : ndarray of shape (n,), int, optional
        Number of the assay of each row, where assays and not rows are the units.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    DataError
        If a label is neither 0 nor 1.
    """
    labels = np.asarray(labels, dtype=np.float64)
    if not sets.shape == p_values.shape == (len(labels), 2):
        raise ShapeError(f"expected p-values and sets of shape ({len(labels)}, 2), received {p_values.shape} and {sets.shape}")
    known = np.isfinite(labels) & ~np.isnan(p_values).any(axis=1)
    if not np.isin(labels[known], (0.0, 1.0)).all():
        raise DataError("expected the labels 0 and 1 for sets of classes, received others; recode them")
    truth, chosen = labels[known].astype(int), sets[known]
    hits = chosen[np.arange(len(truth)), truth]
    sizes = chosen.sum(axis=1)
    assay = None if assays is None else np.asarray(assays)[known]

    def of_class(label: int) -> Coverage:
        rows = truth == label
        return _share(hits[rows], None if assay is None else assay[rows])

    return SetCoverage(
        **vars(_share(hits, assay)),
        empty=_mean(_by_unit(sizes == 0, assay)),
        single=_mean(_by_unit(sizes == 1, assay)),
        both=_mean(_by_unit(sizes == 2, assay)),
        by_class=(of_class(0), of_class(1)),
    )


def _share(hits: np.ndarray, assay: np.ndarray | None = None) -> Coverage:
    if not len(hits):
        return Coverage(0, np.nan, np.nan, np.nan)
    if assay is not None:
        shares = _by_unit(hits, assay)
        low, high = mean_interval(shares)
        return Coverage(len(hits), float(shares.mean()), max(low, 0.0), min(high, 1.0))
    bounds = binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95, method="exact")
    return Coverage(len(hits), float(hits.mean()), float(bounds.low), float(bounds.high))


def _by_unit(values: np.ndarray, assay: np.ndarray | None) -> np.ndarray:
    """The values themselves, or their mean in each assay."""
    if assay is None:
        return values
    number = np.unique(assay, return_inverse=True)[1]
    return np.bincount(number, weights=values) / np.bincount(number)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
