"""Sums over data-parallel ranks that carry gradient; on one process they are the identity.

``torch.distributed.nn.functional.all_reduce`` is deprecated and plain ``all_reduce`` drops the gradient of the other ranks: with W ranks
a loss that uses it trains with 1/W of its gradient.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Return the number of ranks: 1 when no process group is initialised."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's rank: 0 when no process group is initialised."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total, op=dist.ReduceOp.SUM)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient, op=dist.ReduceOp.SUM)
        return gradient


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rank, ctx.n = dist.get_rank(), len(rows)
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient, op=dist.ReduceOp.SUM)
        return gradient[ctx.rank * ctx.n : (ctx.rank + 1) * ctx.n]


def sum_over_ranks(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks; the gradient is summed over the ranks too."""
    return _SumOverRanks.apply(value) if world_size() > 1 else value


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows of all ranks in rank order, ``(ranks · batch, width)``; every rank must hold as many. Carries gradient."""
    return _GatherRows.apply(rows) if world_size() > 1 else rows
