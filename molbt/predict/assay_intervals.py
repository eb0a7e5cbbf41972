"""The 95 % interval of a mean over assays: rows of one assay share its description, its noise and its actives, so assays are the draws."""

import math

import numpy as np
from scipy.stats import t as student


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of the interval by Student's t; one value alone has no ends.

    Parameters
    ----------
    values : ndarray of shape (assays,), float64
        One per assay.
    """
    if len(values) < 2:
        return -math.inf, math.inf
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half
