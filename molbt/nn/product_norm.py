"""The squared Frobenius norm of a product of two tall matrices, by whichever side is smaller.

For rows ``N`` and columns ``d``, ``‖AᵀB‖²_F = ⟨AAᵀ, BBᵀ⟩``: a sum over ``d × d`` entries is one over ``N × N``. Objectives that need only
this norm and the diagonal of a correlation matrix never hold the matrix when ``N`` is small.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from molbt.nn.collectives import gather_rows, sum_over_ranks


def squared_product_norm(a: Tensor, b: Tensor, *, gram: bool) -> Tensor:
    """Return ``‖AᵀB‖²_F``, where ``A`` and ``B`` are the rows of all ranks.

    Parameters
    ----------
    a, b : Tensor of shape (batch, width), float
        This rank's rows; ranks may hold different numbers of rows.
    gram : bool
        Whether to work with the ``(rows, rows)`` Gram matrices instead of the ``(width, width)`` product. The numbers of
        multiplications, forward and backward, are ``4 N² d`` and ``3 N d²``: the Gram form is cheaper for ``N < 0.75 d``, also on
        several ranks, since each works on its own rows of either.

    Returns
    -------
    scalar Tensor
        The same on every rank. It can be differentiated once.

    Notes
    -----
    The gradients are written out because automatic differentiation does not know that a Gram matrix is symmetric (it would take
    ``6 N² d``), and because they need only a scalar from the other ranks.
    """
    return (_NormByGram if gram else _NormByProduct).apply(a, b)


class _NormByGram(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        all_a, all_b = gather_rows(a), gather_rows(b)
        gram_a, gram_b = a @ all_a.T, b @ all_b.T
        ctx.save_for_backward(all_a, all_b, gram_a, gram_b)
        return sum_over_ranks((gram_a * gram_b).sum())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        all_a, all_b, gram_a, gram_b = ctx.saved_tensors
        scale = 2 * sum_over_ranks(gradients[0])
        # A backward called under autocast would otherwise multiply in half precision.
        with torch.autocast(all_a.device.type, enabled=False):
            return (gram_b * scale) @ all_a, (gram_a * scale) @ all_b


class _NormByProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        product = sum_over_ranks(a.T @ b)
        ctx.save_for_backward(a, b, product)
        return product.square().sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        a, b, product = ctx.saved_tensors
        scale = 2 * sum_over_ranks(gradients[0])
        with torch.autocast(a.device.type, enabled=False):
            return (b * scale) @ product.T, (a * scale) @ product
