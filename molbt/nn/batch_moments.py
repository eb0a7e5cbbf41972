"""Mean and variance of each column over the global batch, with gradient."""

from typing import NamedTuple

import torch
from torch import Tensor

from molbt.nn.collectives import sum_over_ranks


class BatchMoments(NamedTuple):
    """What ``batch_moments`` returns; everything but ``n_rows`` carries gradient.

    Attributes
    ----------
    centred : Tensor of shape (batch, width)
        This rank's rows minus ``mean``.
    mean : Tensor of shape (width,)
    variance : Tensor of shape (width,)
        Divided by the number of rows (biased).
    n_rows : scalar Tensor
        Number of rows on all ranks.
    """

    centred: Tensor
    mean: Tensor
    variance: Tensor
    n_rows: Tensor

    @property
    def unbiased_variance(self) -> Tensor:
        """``(width,)``: divided by the number of rows minus one; zero for one row."""
        return self.variance * (self.n_rows / (self.n_rows - 1).clamp(min=1))


def batch_moments(values: Tensor) -> BatchMoments:
    """Return the moments of each column over the rows of all ranks.

    Parameters
    ----------
    values : Tensor of shape (batch, width), float32 or float64
        Ranks may hold different numbers of rows.

    Notes
    -----
    The mean is taken in two steps and the variance from centred values. A single step leaves a rounding error of about 1e-7 of the mean,
    which makes a constant column of large value seem to vary; and E[x²] − E[x]² cancels where the mean outweighs the spread.
    """
    with torch.no_grad():
        # The first estimate of the mean is a mere shift: the result does not depend on it, so it needs no gradient.
        totals = sum_over_ranks(torch.cat([values.sum(0), values.new_full((1,), len(values))]))
        n_rows = totals[-1]
        shift = totals[:-1] / n_rows
    centred = values - shift
    remainder = sum_over_ranks(centred.sum(0)) / n_rows
    centred -= remainder
    variance = sum_over_ranks(centred.square().sum(0)) / n_rows
    return BatchMoments(centred, shift + remainder, variance, n_rows)
