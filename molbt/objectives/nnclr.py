"""NNCLR: the nearest earlier neighbour of a projection should point to the prediction from the other view."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from molbt.nn.collectives import gather_rows
from molbt.nn.contrast import info_nce, unit_rows
from molbt.nn.global_rows import mean_over_rows, own_positions
from molbt.nn.memory_queue import MemoryQueue
from molbt.objectives._momentum_networks import views_of
from molbt.objectives._predictors import OutputNorms, Predictors
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Twin, Views, check_numbers, detached, over_pairs


class NNCLR(Objective):
    """``L = ½ [NCE(n_a, p_b) + NCE(n_b, p_a)]``: InfoNCE from nearest neighbours to predictions, over the rows of the batch.

    ``n`` is the row of a queue of earlier projections that is nearest to the projection, without gradient; ``p`` are predictions from the
    projections. One queue for each encoder, filled with the first of its views; a neighbour is looked for before the batch is queued.
    Predictions of other rows of the same molecule are no negatives.

    Parameters
    ----------
    temperature : float
        τ; 0.1 in the paper, 0.2 in solo-learn's CIFAR runs.
    queue_size : int
        98,304 in the paper, 4,096 in lightly's CIFAR run.
    hidden : int
        Width of the predictor's hidden layer; 4096 in the paper.

    Notes
    -----
    Terms: ``loss``; ``neighbour``, the mean cosine of projections and their neighbours; ``own``, the share of neighbours that are the same
    molecule, from an earlier epoch; ``queue``, the share that is filled. While the queue is empty a projection is its own neighbour (the
    authors' starts with noise). Projections pass a batch norm, as in the paper, here without scale and shift. lightly and
    stable-pretraining put neighbours and predictions into NT-Xent with 2 n − 1 negatives; this is the paper's n-way form.

    References
    ----------
    Dwibedi et al., "With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning of Visual Representations", ICCV 2021,
    equations 3 to 5, https://arxiv.org/abs/2104.14548
    """

    def __init__(self, *, temperature: float = 0.1, queue_size: int = 4096, hidden: int = 1024) -> None:
        super().__init__()
        check_numbers("nnclr", above=0, temperature=temperature)
        check_numbers("nnclr", least=1, queue_size=queue_size, hidden=hidden)
        self.temperature = temperature
        self.queue_size = queue_size
        self.hidden = hidden
        self._new: dict[str, tuple[Tensor, Tensor]] = {}

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        views = views_of(pairs)
        self.predictors = Predictors(twin, pairs, hidden=self.hidden, bias=True)
        self.norms = OutputNorms(twin, views)
        self.queues = nn.ModuleDict({twin.encoder_key(view): MemoryQueue(self.queue_size, twin.projection_dim(view)) for view in views})

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        scored = views_of(context.pairs)
        z = {view: self.norms(views.projection(view), view) for view in scored}
        found = {view: nearest_rows(unit_rows(z[view]), self._queue(twin, view), k=1) for view in scored}
        self._new = {}
        for view in reversed(scored):  # the first view of an encoder is the last to be written
            self._new[twin.encoder_key(view)] = gather_rows(unit_rows(z[view]).detach()), gather_rows(context.entities[view])
        outputs = []
        for a, b in context.pairs:
            p_a, p_b = self.predictors(z[a], a, b), self.predictors(z[b], b, a)
            with torch.autocast(z[a].device.type, enabled=False):
                n_a, n_b = found[a][0][:, 0], found[b][0][:, 0]
                loss = nnclr_loss(n_a, n_b, p_a, p_b, temperature=self.temperature, repeats=context.repeats(a, b))
                terms = self._terms(z[a], found[a], context.entities[a])
            outputs.append(ObjectiveOutput(loss, detached({"loss": loss, **terms, "queue": self._queue(twin, a).share_filled})))
        return over_pairs(outputs, context)

    def after_step(self, twin: Twin, progress: float) -> None:
        for key, (rows, entities) in self._new.items():
            self.queues[key].push(rows, entities)  # type: ignore[operator]
        self._new = {}

    @staticmethod
    def _terms(z: Tensor, found: tuple[Tensor, Tensor], entities: Tensor) -> dict[str, Tensor]:
        rows, owners = found
        cosine = (unit_rows(z) * rows[:, 0]).sum(1)
        neighbour, own = mean_over_rows(torch.stack([cosine, (owners[:, 0] == entities).to(cosine.dtype)], 1))
        return {"neighbour": neighbour, "own": own}

    def _queue(self, twin: Twin, view: str) -> MemoryQueue:
        return self.queues[twin.encoder_key(view)]  # type: ignore[return-value]


@torch.no_grad()
def nearest_rows(unit: Tensor, queue: MemoryQueue, *, k: int) -> tuple[Tensor, Tensor]:
    """Return the ``k`` rows of a queue with the largest cosine, the nearest first, and their entities.

    Parameters
    ----------
    unit : Tensor of shape (batch, width), float
        Rows of length 1.
    queue : MemoryQueue
        Where it has fewer than ``k`` rows, the row itself stands in, with the entity −1.
    k : int

    Returns
    -------
    rows : Tensor of shape (batch, k, width)
        As ``unit``, without gradient.
    entities : Tensor of shape (batch, k), int64
    """
    with torch.autocast(unit.device.type, enabled=False):
        similarity = (unit @ queue.rows.to(unit.dtype).T).masked_fill(~queue.is_filled, -torch.inf)
        values, places = similarity.topk(min(k, similarity.shape[1]), dim=1)
    is_row = values > -torch.inf
    rows = torch.where(is_row[..., None], queue.rows[places].to(unit.dtype), unit[:, None])
    return rows, torch.where(is_row, queue.entities[places], -1)


def nnclr_loss(n_a: Tensor, n_b: Tensor, p_a: Tensor, p_b: Tensor, *, temperature: float, repeats: Tensor | None = None) -> Tensor:
    """Return ``½ [NCE(n_a, p_b) + NCE(n_b, p_a)]``, the mean over the rows of all ranks.

    Parameters
    ----------
    n_a, n_b : Tensor of shape (batch, width), float
        Anchors: neighbours of the projections of two views.
    p_a, p_b : Tensor of shape (batch, width), float
        Predictions; those of all ranks are the candidates.
    temperature : float
    repeats : Tensor of shape (batch, rows of all ranks), bool, optional
        Rows that are no negatives of an anchor, itself among them; by default itself alone.
    """
    own = own_positions(p_a)
    losses = []
    for anchors, predictions in ((n_a, p_b), (n_b, p_a)):
        candidates = gather_rows(unit_rows(predictions))
        if repeats is None:
            repeats = own[:, None] == torch.arange(len(candidates), device=own.device)
        losses.append(info_nce(unit_rows(anchors), candidates, own, temperature=temperature, excluded=repeats))
    return mean_over_rows((losses[0] + losses[1]) / 2)
