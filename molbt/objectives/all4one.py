"""All4One: agree with the nearest neighbour, with the centre of several neighbours, and feature by feature."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from molbt.errors import ConfigError, suggestion
from molbt.nn.collectives import gather_rows, rows_per_rank, sum_over_ranks
from molbt.nn.contrast import in_full_precision, unit_rows
from molbt.nn.memory_queue import MemoryQueue
from molbt.nn.product_norm import squared_product_norm
from molbt.objectives._momentum_networks import MomentumNetworks, rising_momentum, views_of
from molbt.objectives._predictors import OutputNorms, Predictors
from molbt.objectives.barlow_twins import GRAM_BELOW
from molbt.objectives.base import Objective, ObjectiveOutput, ParameterGroup, StepContext, Twin, Views, check_numbers, detached, over_pairs
from molbt.objectives.nnclr import nearest_rows, nnclr_loss

POSITIONALS = ("reference", "sequence")
EPSILON = 1e-12
"""Under the roots of the feature term, whose slope at 0 has no bound."""


class All4One(Objective):
    """``L = ½ L_N + ½ L_C + ½ L_F``: neighbour, centroid and feature contrast.

    For a view, z is its projection, k that of copies that follow with momentum, at unit length and without gradient, and NN the 5 rows of
    a queue of earlier k that are nearest to k. ``L_N`` is NNCLR's loss of the nearest one and the predictions. ``L_C`` is NNCLR's loss,
    at its own temperature, of ``c``, what a transformer makes of NN, and ``s``, what it makes of a second prediction followed by the
    first 4 of NN; gradient flows through both. ``L_F`` is Barlow Twins on cosines of columns of k and z, not centred, with roots: see
    ``feature_contrast``.

    Parameters
    ----------
    temperature, centroid_temperature : float
        0.2 and 0.1 in the authors' code.
    queue_size : int
        98,304 in the paper. One queue for each encoder, filled with the first of its views.
    momentum : float
        Of the copies at the start; it rises to 1 over the run along a half cosine.
    hidden : int
        Width of the predictors' hidden layers; 4096 in the authors' code.
    neighbours, layers, heads : int
        Of the transformer: 5, 3 and 8 in the authors' code. Its hidden layers are twice as wide as the projections, whose width the heads
        must divide.
    dropout : float
        In the transformer; 0.1 in the authors' code. Above 0 the result on several ranks is not that of one process.
    positional : {"reference", "sequence"}
        ``reference`` is the authors' code of positions, whose axes are swapped: the position runs over features and the frequency over
        neighbours. ``sequence`` is the usual code of the places of the neighbours.
    transformer_rate : float
        Learning rate of the transformer over that of the run; 0.1 in the authors' configuration.

    Notes
    -----
    Terms: ``loss``, ``neighbour``, ``centroid``, ``feature`` (each unweighted), ``queue``, the share that is filled. While there are too
    few rows in the queue, a key is its own neighbour. With two encoders each has its queue and copy; they share the transformer. The
    authors' feature term is per rank; ours is that of the whole batch.

    References
    ----------
    Estepa et al., "All4One: Symbiotic Neighbour Contrastive Learning via Self-Attention and Redundancy Reduction", ICCV 2023,
    https://arxiv.org/abs/2303.09417
    """

    def __init__(
        self,
        *,
        temperature: float = 0.2,
        centroid_temperature: float = 0.1,
        queue_size: int = 4096,
        momentum: float = 0.99,
        hidden: int = 1024,
        neighbours: int = 5,
        layers: int = 3,
        heads: int = 8,
        dropout: float = 0.1,
        positional: str = "reference",
        transformer_rate: float = 0.1,
    ) -> None:
        super().__init__()
        rates = {"temperature": temperature, "centroid_temperature": centroid_temperature, "transformer_rate": transformer_rate}
        sizes = {"neighbours": neighbours, "layers": layers, "heads": heads, "hidden": hidden}
        check_numbers("all4one", above=0, **rates)
        check_numbers("all4one", least=1, **sizes)
        check_numbers("all4one", least=neighbours, queue_size=queue_size)
        check_numbers("all4one", least=0, most=1, momentum=momentum, dropout=dropout)
        if positional not in POSITIONALS:
            raise ConfigError(f"all4one: unknown positional {positional!r}{suggestion(positional, POSITIONALS)}")
        self.temperature, self.centroid_temperature, self.transformer_rate = temperature, centroid_temperature, transformer_rate
        self.queue_size, self.momentum, self.neighbours, self.hidden = queue_size, momentum, neighbours, hidden
        self.layers, self.heads, self.dropout = layers, heads, dropout
        self.positional = positional
        self._new: dict[str, tuple[Tensor, Tensor]] = {}

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        views, width = views_of(pairs), twin.projection_dim(pairs[0][0])
        if width % self.heads:
            raise ConfigError(f"objective 'all4one' expects heads that divide the projections' width {width}, received {self.heads}")
        self.targets = MomentumNetworks(twin, views)
        self.predictors = Predictors(twin, pairs, hidden=self.hidden, bias=True)
        self.centroid_predictors = Predictors(twin, pairs, hidden=self.hidden, bias=True)
        self.norms, self.target_norms = OutputNorms(twin, views), OutputNorms(twin, views)
        layer = nn.TransformerEncoderLayer(width, self.heads, 2 * width, self.dropout, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, self.layers, enable_nested_tensor=False)
        self.queues = nn.ModuleDict({twin.encoder_key(view): MemoryQueue(self.queue_size, twin.projection_dim(view)) for view in views})
        self.register_buffer("code", positional_code(self.neighbours, width, self.positional), persistent=False)

    def parameter_groups(self) -> list[ParameterGroup]:
        slow = list(self.transformer.parameters())
        others = [*self.predictors.parameters(), *self.centroid_predictors.parameters()]
        return [ParameterGroup(others), ParameterGroup(slow, rate_factor=self.transformer_rate)]

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        scored = views_of(context.pairs)
        z = {view: self.norms(views.projection(view), view) for view in scored}
        with torch.no_grad():
            raw = self.targets.projections(views, scored)
            keys = {view: unit_rows(self.target_norms(raw[view], view)) for view in scored}
        near = {view: nearest_rows(keys[view], self._queue(twin, view), k=self.neighbours)[0] for view in scored}
        self._new = {}
        for view in reversed(scored):  # the first view of an encoder is the last to be written
            self._new[twin.encoder_key(view)] = gather_rows(keys[view]), gather_rows(context.entities[view])
        outputs = []
        for a, b in context.pairs:
            repeats = context.repeats(a, b)
            p_a, p_b = self.predictors(z[a], a, b), self.predictors(z[b], b, a)
            s_a = self._centre(_shifted(near[a], self.centroid_predictors(z[a], a, b)))
            s_b = self._centre(_shifted(near[b], self.centroid_predictors(z[b], b, a)))
            c_a, c_b = self._centre(near[a]), self._centre(near[b])
            with torch.autocast(z[a].device.type, enabled=False):
                neighbour = nnclr_loss(near[a][:, 0], near[b][:, 0], p_a, p_b, temperature=self.temperature, repeats=repeats)
                centroid = nnclr_loss(c_a, c_b, s_a, s_b, temperature=self.centroid_temperature, repeats=repeats)
                feature = feature_contrast(keys[a], keys[b], z[a], z[b])
            loss = (neighbour + centroid + feature) / 2
            terms = {"loss": loss, "neighbour": neighbour, "centroid": centroid, "feature": feature}
            outputs.append(ObjectiveOutput(loss, detached({**terms, "queue": self._queue(twin, a).share_filled})))
        return over_pairs(outputs, context)

    def after_step(self, twin: Twin, progress: float) -> None:
        for key, (rows, entities) in self._new.items():
            self.queues[key].push(rows, entities)  # type: ignore[operator]
        self._new = {}
        self.targets.follow(twin, rising_momentum(self.momentum, progress))

    def _centre(self, rows: Tensor) -> Tensor:
        return self.transformer(rows + self.get_buffer("code").to(rows.dtype))[:, 0]

    def _queue(self, twin: Twin, view: str) -> MemoryQueue:
        return self.queues[twin.encoder_key(view)]  # type: ignore[return-value]


def feature_contrast(k_a: Tensor, k_b: Tensor, z_a: Tensor, z_b: Tensor) -> Tensor:
    """Return ``10 (½ on + ½ off)`` of the cosines between columns, over the rows of all ranks.

    With ``M¹`` the cosines of the columns of ``k_a`` and ``z_b`` and ``M²`` those of ``k_b`` and ``z_a``,
    ``on = √(½ [mean_i (1 − M¹_ii)² + mean_i (1 − M²_ii)²])`` and ``off = √(½ [mean_{i≠j} (M¹_ij)² + mean_{i≠j} (M²_ij)²])``, with 1e-12
    under the roots.

    Parameters
    ----------
    k_a, k_b, z_a, z_b : Tensor of shape (batch, width), float
    """
    n_rows, width = sum(rows_per_rank(z_a)), z_a.shape[1]
    on, off = [], []
    for k, z in ((k_a, z_b), (k_b, z_a)):
        k, z = _unit_columns(k), _unit_columns(z)
        diagonal = sum_over_ranks((k * z).sum(0))
        squares = squared_product_norm(k, z, gram=n_rows < GRAM_BELOW * width) - diagonal.square().sum()
        on.append((1 - diagonal).square().mean())
        off.append(squares.clamp(min=0) / max(1, width * (width - 1)))
    return 5 * (EPSILON + torch.stack([torch.stack(on), torch.stack(off)]).mean(1)).sqrt().sum()


def positional_code(n: int, width: int, kind: str) -> Tensor:
    """Return what is added to ``n`` neighbours of a width: ``(n, width)``, sines and cosines in turn.

    ``sequence``: entry (i, j) has the position i and a frequency that falls with j. ``reference``: position j, and a frequency that falls
    with i.
    """
    positions, channels = (n, width) if kind == "sequence" else (width, n)
    frequencies = 10_000.0 ** (-torch.arange(0, channels, 2) / (2 * ((channels + 1) // 2)))
    angles = torch.arange(positions)[:, None] * frequencies
    code = torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :channels]
    return code if kind == "sequence" else code.T.contiguous()


def _shifted(neighbours: Tensor, first: Tensor) -> Tensor:
    return torch.cat([first.to(neighbours.dtype)[:, None], neighbours[:, :-1]], 1)


def _unit_columns(values: Tensor) -> Tensor:
    values = in_full_precision(values)
    # Bounded before the root, whose slope at 0 is infinite: a column of zeros stays one.
    return values * sum_over_ranks(values.square().sum(0)).clamp(min=1e-16).rsqrt()
