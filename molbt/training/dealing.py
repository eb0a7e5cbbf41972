"""Batches in which an entity (an assay, a target) repeats as little as possible, or in which the samples of a task come together."""

import torch
from torch import Tensor


def deal(order: Tensor, entities: Tensor, size: int, *, seed: int) -> Tensor:
    """Return the samples of an epoch in an order whose batches repeat each entity as little as possible.

    The samples are laid out entity by entity, entities in random order, and dealt to the batches in turn, as cards are: a batch then has
    the mean number of samples of an entity over the batches, rounded down or up, for every entity at once.

    Parameters
    ----------
    order : Tensor of shape (samples,), int64
        Samples in random order. Those behind the last whole batch stay there.
    entities : Tensor of shape (all samples,), int64
        Equal numbers are the same entity.
    size : int
        Of a batch.
    seed : int

    Returns
    -------
    Tensor of shape (samples,), int64
        On the CPU; a batch's samples are in random order.
    """
    order, entities = order.cpu(), entities.cpu()
    n_batches = len(order) // size
    filling = order[: n_batches * size]
    generator = torch.Generator().manual_seed(seed)
    distinct, number = entities[filling].unique(return_inverse=True)
    by_entity = torch.argsort(torch.randperm(len(distinct), generator=generator)[number], stable=True)
    batch_of_turn = torch.randperm(n_batches, generator=generator)
    batch = torch.empty_like(by_entity)
    batch[by_entity] = batch_of_turn.repeat(size)
    return torch.cat([filling[torch.argsort(batch, stable=True)], order[len(filling) :]])


def deal_episodes(order: Tensor, tasks: Tensor, size: int, *, seed: int) -> Tensor:
    """Return the samples of an epoch in an order in which those of a task stand together, ``size`` at a time.

    Each task's samples are cut into episodes, the last of them smaller, and the episodes are shuffled. A batch is a stretch of this order:
    the episode that it begins or ends in may go on in its neighbour.

    Parameters
    ----------
    order : Tensor of shape (samples,), int64
        Samples in random order.
    tasks : Tensor of shape (all samples,), int64
        Equal numbers are the same task.
    size : int
        Of an episode.
    seed : int

    Returns
    -------
    Tensor of shape (samples,), int64
        On the CPU.
    """
    order, tasks = order.cpu(), tasks.cpu()
    generator = torch.Generator().manual_seed(seed)
    by_task = order[torch.argsort(tasks[order], stable=True)]
    _, counts = tasks[by_task].unique_consecutive(return_counts=True)
    start_of_task = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    place = torch.arange(len(by_task)) - start_of_task
    starts = place % size == 0
    episode = starts.cumsum(0) - 1
    turn = torch.randperm(int(starts.sum()), generator=generator)
    return by_task[torch.argsort(turn[episode], stable=True)]
