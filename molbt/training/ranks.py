"""Several processes that train one model: joining them, agreeing, and averaging gradients.

No DistributedDataParallel wrapper: objectives drive several forward passes, and a call of the inner module would skip its exchange.
All ranks must see the same file system.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from molbt.errors import TrainingError
from molbt.nn.collectives import exchange, rank, world_size

# Also bounds how long the other ranks wait for rank 0 to prepare a corpus; prepare a large one beforehand.
_TIMEOUT = timedelta(minutes=30)


@contextlib.contextmanager
def joined_ranks() -> Iterator[None]:
    """Join the process group that ``torchrun`` describes; without it, or inside a group, do nothing."""
    if not dist.is_available() or dist.is_initialized() or not dist.is_torchelastic_launched():
        yield
        return
    # Decisions travel as tensors on the CPU, gradients on the device they live on.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def local_rank() -> int:
    """Return the number of this process among those of its machine (``torchrun`` sets it); 0 for a process alone."""
    return int(os.environ.get("LOCAL_RANK", 0))


@contextlib.contextmanager
def rank_zero_first() -> Iterator[None]:
    """Run a block on rank 0, then on the others, which then find what it has written.

    Raises
    ------
    TrainingError
        On the others, if it failed on rank 0.
    """
    if rank() > 0 and not _all_agree(True):
        raise TrainingError("rank 0 could not begin the run; its own message says why")
    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        if rank() == 0:
            _all_agree(succeeded)


def on_any_rank(*facts: bool) -> list[bool]:
    """Return for each fact whether it holds on at least one rank: the same answer everywhere, so that all ranks leave a loop together."""
    if world_size() == 1:
        return list(facts)
    flags = torch.tensor(facts, dtype=torch.int32)
    with exchange():
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return flags.bool().tolist()


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Average the gradients over the ranks, in one flat exchange; a parameter that took no part has the gradient zero.

    Zero also on one process, where torch's optimisers would skip the parameter: whether one took part may differ between ranks (no
    labels in this part of the batch), and the steps must not depend on their number.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    with exchange():
        dist.all_reduce(flat)
    flat /= world_size()
    for gradient, average in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(average.view_as(gradient))


def broadcast_from_rank_zero(tensors: Sequence[Tensor]) -> None:
    """Give the tensors of all ranks the values of rank 0, in place."""
    if world_size() == 1:
        return
    with torch.no_grad():
        for tensor in tensors:
            # As bytes: not every backend moves every dtype.
            values = tensor.detach().clone(memory_format=torch.contiguous_format)
            with exchange():
                dist.broadcast(values.reshape(-1).view(torch.uint8), src=0)
            tensor.copy_(values)


def _all_agree(mine: bool) -> bool:
    return not any(on_any_rank(not mine))
