"""Columns of mean 0 and deviation 1 over the global batch: what correlation objectives do to projections."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from molbt.nn.batch_moments import batch_moments
from molbt.nn.collectives import sum_over_ranks


def standardise(values: Tensor, *, unbiased: bool = False, eps: float = 1e-5, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Standardise each column over the rows of all ranks.

    Parameters
    ----------
    values : Tensor of shape (batch, width), float32 or float64
        Ranks may hold different numbers of rows.
    unbiased : bool
        Without it the divisor is ``sqrt(variance + eps)`` and the variance is divided by the number of rows, as in batch norm; with it
        the divisor is ``deviation + eps`` and the variance is divided by the number of rows minus one. Both are in use, see
        ``molbt.objectives.barlow_twins``.
    eps : float
        Keeps a constant column finite: it becomes zero and has gradient zero.
    scale : float
        Deviation of the result.

    Returns
    -------
    standardised : Tensor of shape (batch, width)
        It can be differentiated once.
    variance : Tensor of shape (width,)
        Of the input, divided by the number of rows; carries no gradient.

    Notes
    -----
    The gradient is written out, as in fused batch norms: automatic differentiation would pass over the rows about twice as often, hold
    the centred values as well, and exchange one more sum with the other ranks.
    """
    return _Standardise.apply(values, unbiased, eps, scale)


class _Standardise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, unbiased: bool, eps: float, scale: float) -> tuple[Tensor, Tensor]:
        moments = batch_moments(values)
        # `shrinkage` is what the deviation's own dependence on the values takes back from the gradient.
        if unbiased:
            deviation = moments.unbiased_variance.sqrt()
            factor = scale / (deviation + eps)
            shrinkage = torch.where(deviation > 0, 1 / (scale * (moments.n_rows - 1) * deviation), 0)
        else:
            factor = scale * torch.rsqrt(moments.variance + eps)
            shrinkage = factor / (scale**2 * moments.n_rows)
        standardised = moments.centred.mul_(factor)
        ctx.save_for_backward(standardised, factor, shrinkage, moments.n_rows)
        ctx.mark_non_differentiable(moments.variance)
        return standardised, moments.variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        standardised, factor, shrinkage, n_rows = ctx.saved_tensors
        gradient = gradients[0]
        total, along = sum_over_ranks(torch.stack([gradient.sum(0), (gradient * standardised).sum(0)]))
        result = (gradient - total / n_rows).mul_(factor).addcmul_(standardised, along * shrinkage, value=-1)
        return result, None, None, None
