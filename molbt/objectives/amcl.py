"""AMCL: several heads, and a learned temperature for each pair, around the loss of another objective."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from molbt.errors import ConfigError, suggestion
from molbt.nn.collectives import gather_rows
from molbt.nn.contrast import in_full_precision, unit_rows
from molbt.nn.memory_queue import MemoryQueue
from molbt.nn.mlp import dense_block
from molbt.objectives._momentum_networks import MomentumNetworks, follow, views_of
from molbt.objectives._pair_temperature import (
    N_STATISTICS,
    AdaptiveLoss,
    PairTemperature,
    adaptive_barlow_twins,
    adaptive_contrast,
    adaptive_siamese,
)
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Twin, Views, check_numbers, detached, over_pairs

HOSTS = ("simclr", "moco", "simsiam", "barlow_twins")
NEGATIVES = ("hardest", "all")


class AMCL(Objective):
    """The sum over heads of a host's loss with adaptive temperatures and their cost ``Ω``; both directions are averaged.

    The heads read the projections; the paper's read the embeddings, which a projector without widths gives. Hosts:
    ``simclr`` and ``moco``: ``−s⁺/τ⁺ + s⁻/τ⁻ + β [Ω(τ⁺) − Ω(τ⁻)]`` with the hardest negative, in the batch or in a queue of keys;
    ``simsiam``: ``−cos/(2 τ) + β Ω(τ)``; ``barlow_twins``: ``Σ_l (1 − C_ll/τ_ll)² + β Ω + λ Σ_{l≠m} C_lm²/τ_lm − β Ω``.

    Parameters
    ----------
    host : {"simclr", "moco", "simsiam", "barlow_twins"}
    heads, hidden, width : int
        Number of heads, and their widths: 3, 512 and 128 in the authors' code.
    lowest, highest : float
        Bounds of the temperatures. As τ⁻ falls the loss has no bound below where a negative's cosine is below β, so ``lowest`` is 0.01 and
        not the 1e-5 of the authors' code. Equal bounds make the temperature a constant.
    cost_weight : float
        β; 0.1 in the authors' code.
    negatives : {"hardest", "all"}
        ``all`` takes log-sum-exp over the negatives instead; its temperatures need memory for every pair.
    redundancy_weight : float
        λ · width, for ``barlow_twins``.
    queue_size, momentum
        For ``moco``: keys kept, and the momentum of copies of networks and heads.

    Notes
    -----
    Terms: ``loss``; ``positive_temperature``, ``negative_temperature``: near a bound it is the bound that decides. One φ for each head (as
    in the authors' code; the figure of their repository shares one) and direction between encoders. The authors' code cannot be run, so
    this follows table 2 of the paper. Left open there and chosen here: the hardest negative is that of the largest cosine; losses are
    means over rows; for ``barlow_twins`` φ sees statistics of the two columns, and the cost of off-diagonal temperatures is weighted
    with λ.

    References
    ----------
    Wang et al., "Adaptive Multi-head Contrastive Learning", ECCV 2024, table 2, https://arxiv.org/abs/2310.05615
    """

    def __init__(
        self,
        *,
        host: str = "simclr",
        heads: int = 3,
        hidden: int = 512,
        width: int = 128,
        lowest: float = 0.01,
        highest: float = 2.0,
        cost_weight: float = 0.1,
        negatives: str = "hardest",
        redundancy_weight: float = 128.0,
        queue_size: int = 4096,
        momentum: float = 0.99,
    ) -> None:
        super().__init__()
        for name, value, valid in (("host", host, HOSTS), ("negatives", negatives, NEGATIVES)):
            if value not in valid:
                raise ConfigError(f"amcl: unknown {name} {value!r}{suggestion(value, valid)}")
        check_numbers("amcl", least=1, heads=heads, hidden=hidden, width=width, queue_size=queue_size)
        check_numbers("amcl", above=0, lowest=lowest)
        check_numbers("amcl", least=lowest, highest=highest)
        check_numbers("amcl", least=0, cost_weight=cost_weight, redundancy_weight=redundancy_weight)
        check_numbers("amcl", least=0, most=1, momentum=momentum)
        self.host, self.n_heads, self.hidden, self.width = host, heads, hidden, width
        self.lowest, self.highest = lowest, highest
        self.cost_weight, self.hardest, self.lambda_ = cost_weight, negatives == "hardest", redundancy_weight / width
        self.queue_size, self.momentum = queue_size, momentum
        self._keys: dict[str, tuple[Tensor, Tensor]] = {}

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        views, width = views_of(pairs), self.width
        self._key_of_view = {view: twin.encoder_key(view) for view in views}
        self.heads = nn.ModuleDict()
        self.temperatures, self.predictors = nn.ModuleDict(), nn.ModuleDict()
        for view, key in self._key_of_view.items():
            if key not in self.heads:
                layers = [_head(twin.projection_dim(view), self.hidden, width) for _ in range(self.n_heads)]
                self.heads[key] = nn.ModuleList(layers)
        inputs = N_STATISTICS if self.host == "barlow_twins" else width
        for direction in dict.fromkeys(self._direction(x, y) for a, b in pairs for x, y in ((a, b), (b, a))):
            self.temperatures[direction] = nn.ModuleList(
                PairTemperature(inputs, lowest=self.lowest, highest=self.highest) for _ in range(self.n_heads)
            )
            if self.host == "simsiam":
                self.predictors[direction] = nn.ModuleList(_predictor(width) for _ in range(self.n_heads))
        if self.host == "moco":
            self.targets = MomentumNetworks(twin, views)
            self.target_heads = copy.deepcopy(self.heads).requires_grad_(False)
            self.queues = nn.ModuleDict({view: MemoryQueue(self.queue_size, self.n_heads * width) for view in views})

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        scored = views_of(context.pairs)
        z = {view: self._heads_of(self.heads, view, views.projection(view)) for view in scored}
        keys: dict[str, list[Tensor]] = {}
        if self.host == "moco":
            with torch.no_grad():
                slow = self.targets.projections(views, scored)
                keys = {view: [unit_rows(head) for head in self._heads_of(self.target_heads, view, slow[view])] for view in scored}
            self._keys = {v: (gather_rows(torch.cat(keys[v], 1)), gather_rows(context.entities[v])) for v in scored}
        outputs = []
        for a, b in context.pairs:
            with torch.autocast(views.rows.device.type, enabled=False):
                parts = [self._scored((x, y), head, z, keys, context) for x, y in ((a, b), (b, a)) for head in range(self.n_heads)]
                # Two directions are averaged; SimSiam's halves are in its terms, which are summed.
                loss = torch.stack([part.loss for part in parts]).sum() / (1 if self.host == "simsiam" else 2)
                positive, negative = (torch.stack(values).mean() for values in zip(*(part[1:] for part in parts), strict=True))
            terms = {"loss": loss, "positive_temperature": positive, "negative_temperature": negative}
            outputs.append(ObjectiveOutput(loss, detached(terms)))
        return over_pairs(outputs, context)

    def after_step(self, twin: Twin, progress: float) -> None:
        if self.host != "moco":
            return
        for view, (keys, entities) in self._keys.items():
            self.queues[view].push(keys, entities)  # type: ignore[operator]
        self._keys = {}
        self.targets.follow(twin, self.momentum)
        follow(list(self.target_heads.parameters()), list(self.heads.parameters()), self.momentum)

    def _scored(
        self, direction: tuple[str, str], head: int, z: Mapping[str, list[Tensor]], keys: Mapping[str, list[Tensor]], context: StepContext
    ) -> AdaptiveLoss:
        """The loss of one head from the first view to the second."""
        (x, y), name = direction, self._direction(*direction)
        temperature: PairTemperature = self.temperatures[name][head]  # type: ignore[index,assignment]
        cost, own, partner = self.cost_weight, z[x][head], z[y][head]
        if self.host == "barlow_twins":
            return adaptive_barlow_twins(own, partner, temperature, cost_weight=cost, lambda_=self.lambda_)
        if self.host == "simsiam":
            prediction = self.predictors[name][head](own)  # type: ignore[index,operator]
            return adaptive_siamese(prediction, partner, temperature, cost_weight=cost)
        if self.host == "moco":
            queue: MemoryQueue = self.queues[y]  # type: ignore[assignment]
            excluded = ~queue.is_filled | (context.entities[y][:, None] == queue.entities)
            candidates, partner = queue.rows[:, head * self.width : (head + 1) * self.width].to(own.dtype), keys[y][head]
        else:
            repeats = context.repeats(x, y)
            shared = self._key_of_view[x] == self._key_of_view[y]
            candidates = torch.cat([gather_rows(view) for view in ((partner, own) if shared else (partner,))])
            excluded = torch.cat([repeats, repeats], 1) if shared else repeats
        return adaptive_contrast(own, partner, candidates, excluded, temperature, cost_weight=cost, hardest=self.hardest)

    def _heads_of(self, heads: nn.ModuleDict, view: str, projection: Tensor) -> list[Tensor]:
        own: nn.ModuleList = heads[self._key_of_view[view]]  # type: ignore[assignment]
        return [in_full_precision(head(projection)) for head in own]

    def _direction(self, source: str, target: str) -> str:
        return f"{self._key_of_view[source]}-{self._key_of_view[target]}"


def _head(width_in: int, hidden: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, hidden), nn.ReLU(), nn.Linear(hidden, width))


def _predictor(width: int) -> nn.Sequential:
    hidden = max(1, width // 4)
    return nn.Sequential(dense_block(width, hidden, activation="relu"), nn.Linear(hidden, width))
