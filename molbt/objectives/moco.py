"""MoCo v2: a projection should be nearer to its partner's slow copy than to any of a queue of earlier ones."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from molbt.nn.collectives import gather_rows
from molbt.nn.contrast import unit_rows
from molbt.nn.global_rows import mean_over_rows
from molbt.nn.memory_queue import MemoryQueue
from molbt.objectives._momentum_networks import MomentumNetworks, views_of
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Twin, Views, check_numbers, detached, over_pairs


class MoCo(Objective):
    """``L = −log exp(q·k / τ) / [exp(q·k / τ) + Σ_Q exp(q·k' / τ)]``, the mean over rows.

    ``q`` is a projection of the first view, ``k`` that of the second by copies that follow with momentum, and Q a queue of earlier keys of
    the second view; all at unit length, keys without gradient. Earlier keys of the row's own molecule are no negatives.

    Parameters
    ----------
    temperature : float
        τ; 0.2 in MoCo v2.
    queue_size : int
        Keys kept; 65,536 in the paper, 4,096 in the authors' CIFAR run. It should be well below the number of molecules.
    momentum : float
        Of the copies; 0.999 in the paper, 0.99 for short runs.
    symmetric : bool, optional
        Score each pair in both directions, with a queue for each view, and average; by default only between two encoders.

    Notes
    -----
    Terms: ``loss``; ``accuracy``, the share of rows whose own key is the nearest; ``queue``, the share of the queue that is filled. The
    queue starts empty where the authors' starts with noise, so the first step has no negatives and a loss of 0. The copies follow after a
    step and the queue takes the keys that the step used: for every later step the order of the authors' code. Batch norms see the whole
    batch; the authors' shuffle over ranks guards against per-rank norms, which we do not have.

    References
    ----------
    He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020, equation 1, https://arxiv.org/abs/1911.05722;
    Chen et al., "Improved Baselines with Momentum Contrastive Learning", 2020, https://arxiv.org/abs/2003.04297
    """

    def __init__(self, *, temperature: float = 0.2, queue_size: int = 4096, momentum: float = 0.99, symmetric: bool | None = None) -> None:
        super().__init__()
        check_numbers("moco", above=0, temperature=temperature)
        check_numbers("moco", least=1, queue_size=queue_size)
        check_numbers("moco", least=0, most=1, momentum=momentum)
        self.temperature = temperature
        self.queue_size = queue_size
        self.momentum = momentum
        self.symmetric = symmetric
        self._keys: dict[str, tuple[Tensor, Tensor]] = {}

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        keyed = list(dict.fromkeys(key for pair in pairs for _, key in self._directions(twin, pair)))
        self.targets = MomentumNetworks(twin, views_of(pairs))
        self.queues = nn.ModuleDict({view: MemoryQueue(self.queue_size, twin.projection_dim(view)) for view in keyed})

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        directions = {pair: self._directions(twin, pair) for pair in context.pairs}
        keyed = sorted({key for found in directions.values() for _, key in found})
        outputs = []
        projections = self.targets.projections(views, keyed)
        with torch.autocast(views.rows.device.type, enabled=False):
            keys = {view: unit_rows(projections[view]) for view in keyed}
            self._keys = {view: (gather_rows(keys[view]), gather_rows(context.entities[view])) for view in keyed}
            for found in directions.values():
                parts = [self._scored(views.projection(a), keys[b], self._queue(b), context.entities[b]) for a, b in found]
                loss, accuracy = torch.stack(parts).mean(0)
                filled = torch.stack([self._queue(b).share_filled for _, b in found]).mean()
                outputs.append(ObjectiveOutput(loss, detached({"loss": loss, "accuracy": accuracy, "queue": filled})))
        return over_pairs(outputs, context)

    def after_step(self, twin: Twin, progress: float) -> None:
        for view, (keys, entities) in self._keys.items():
            self._queue(view).push(keys, entities)
        self._keys = {}
        self.targets.follow(twin, self.momentum)

    def _scored(self, projection: Tensor, key: Tensor, queue: MemoryQueue, entities: Tensor) -> Tensor:
        excluded = ~queue.is_filled | (entities[:, None] == queue.entities)
        losses, hits = moco_losses(unit_rows(projection), key, queue.rows, excluded, temperature=self.temperature)
        return mean_over_rows(torch.stack([losses, hits.to(losses.dtype)], 1))

    def _queue(self, view: str) -> MemoryQueue:
        return self.queues[view]  # type: ignore[return-value]

    def _directions(self, twin: Twin, pair: tuple[str, str]) -> list[tuple[str, str]]:
        """Query and key view."""
        symmetric = twin.encoder_key(pair[0]) != twin.encoder_key(pair[1]) if self.symmetric is None else self.symmetric
        return [pair, (pair[1], pair[0])] if symmetric else [pair]


def moco_losses(query: Tensor, key: Tensor, queue: Tensor, excluded: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the loss of each row, and whether its own key is the nearest.

    Parameters
    ----------
    query, key : Tensor of shape (batch, width), float
        Rows of length 1; the key gets no gradient.
    queue : Tensor of shape (size, width), float
    excluded : Tensor of shape (batch, size), bool
        Rows of the queue that are no negatives of a query.
    temperature : float

    Returns
    -------
    losses : Tensor of shape (batch,)
    hits : Tensor of shape (batch,), bool
    """
    positive = (query * key.detach()).sum(1, keepdim=True) / temperature
    negatives = (query @ queue.to(query.dtype).T / temperature).masked_fill(excluded, -torch.inf)
    return torch.logsumexp(torch.cat([positive, negatives], 1), 1) - positive[:, 0], positive[:, 0] >= negatives.amax(1)
