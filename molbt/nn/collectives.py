"""Exchange between data-parallel ranks that carries gradient; on one process every function here is the identity.

Convention of the gradients: every rank back-propagates its own scalar, and the trainer averages parameter gradients over ranks. The
backward of an exchange therefore sums the gradients of all ranks: each rank then holds the gradient of the *sum* of the ranks' scalars,
and the average turns it into that of their mean. An objective may report the full value on every rank (Barlow Twins) or the mean over
its own rows (InfoNCE): both give the parameter gradient of one process on the whole batch. Plain ``all_reduce`` drops what the other
ranks contribute and trains with 1/W of the gradient; ``torch.distributed.nn.functional.all_reduce`` is deprecated.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from molbt.errors import TrainingError


def world_size() -> int:
    """Return the number of ranks: 1 when no process group is initialised."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's rank: 0 when no process group is initialised."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


@contextmanager
def exchange() -> Iterator[None]:
    """Tell that the ranks lost one another, in place of what the network says of it; every exchange between ranks runs inside.

    Raises
    ------
    TrainingError
        If another rank has ended, or has not come to the exchange within the process group's time limit.
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise TrainingError(
            f"expected {world_size()} ranks in an exchange, rank {rank()} found that another one has ended or does not answer ({reason}); "
            "see its own message, then start all of them again with --resume"
        ) from error


def rows_per_rank(rows: Tensor) -> list[int]:
    """Return how many rows each rank holds, in rank order. On a GPU with several ranks this waits for the device."""
    if world_size() == 1:
        return [len(rows)]
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world_size())]
    with exchange():
        dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    return torch.cat(counts).tolist()


def sum_over_ranks(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks, the same on each; carries gradient."""
    return _SumOverRanks.apply(value) if world_size() > 1 else value


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows of all ranks in rank order; carries gradient.

    Parameters
    ----------
    rows : Tensor of shape (batch, ...)
        ``batch`` may differ between ranks and may be 0; the other sizes and the dtype may not.

    Returns
    -------
    Tensor of shape (sum of the batches, ...)
    """
    return _GatherRows.apply(rows, rows_per_rank(rows)) if world_size() > 1 else rows


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _summed(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        start = sum(counts[: rank()])
        ctx.own = slice(start, start + len(rows))
        # all_gather moves tensors of one size: shorter batches travel padded to the longest.
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        with exchange():
            dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _summed(gradients[0])[ctx.own], None


def _summed(value: Tensor) -> Tensor:
    # all_reduce works in place and on contiguous memory only.
    total = value.clone(memory_format=torch.contiguous_format)
    with exchange():
        dist.all_reduce(total, op=dist.ReduceOp.SUM)
    return total
