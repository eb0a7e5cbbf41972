"""Means over the rows of all ranks, and where a rank's rows lie among them."""

import torch
from torch import Tensor

from molbt.nn.collectives import rank, rows_per_rank, sum_over_ranks


def mean_over_rows(values: Tensor) -> Tensor:
    """Return the mean over the rows of all ranks, the same on each; carries gradient.

    Parameters
    ----------
    values : Tensor of shape (batch, ...), float
        This rank's rows; ranks may hold different numbers of them.

    Returns
    -------
    Tensor of shape (...)
    """
    total = values.sum(0)
    totals = sum_over_ranks(torch.cat([total.reshape(-1), total.new_full((1,), len(values))]))
    return (totals[:-1] / totals[-1]).view_as(total)


def own_positions(rows: Tensor) -> Tensor:
    """Return where this rank's rows lie in ``gather_rows(rows)``: ``(batch,)`` int64."""
    start = sum(rows_per_rank(rows)[: rank()])
    return torch.arange(start, start + len(rows), device=rows.device)
