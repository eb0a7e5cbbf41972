"""The contract of an objective: the pretraining loss over the views of a batch.

Objectives know nothing of molecules: they see batches they cannot look into, embeddings, projections, labels and entity keys.
"""

import math
from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from molbt.data.columns import RaggedBatch
from molbt.draws import Draws
from molbt.errors import ConfigError, ShapeError
from molbt.nn.collectives import gather_rows


@dataclass(frozen=True)
class ObjectiveOutput:
    """A loss and the terms a person reads.

    Attributes
    ----------
    loss : scalar Tensor
        What is back-propagated.
    terms : dict of scalar Tensor
        Detached numbers for the log, under the same names at every step and on every rank: an epoch's row holds their means.
    """

    loss: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are trained in a way of their own.

    Attributes
    ----------
    parameters : sequence of Parameter
    rate_factor : float
        Their learning rate over that of the run.
    constant_rate : bool
        Whether they are trained at the peak rate all the way, without warm-up or decay (SimSiam's predictor network).
    """

    parameters: Sequence[nn.Parameter]
    rate_factor: float = 1.0
    constant_rate: bool = False


@dataclass(frozen=True)
class StepContext:
    """What an objective may know of a step beside the views.

    Attributes
    ----------
    pairs : sequence of (str, str)
        The pairs of views that this objective scores.
    draws : Draws
        One key per row of the *global* batch, equal on all ranks, that no augmentation and no other objective uses:
        ``draws.permutation()`` permutes the global batch, ``draws.select(views.rows)`` are the keys of this rank's rows.
    step_draws : Draws
        One key for the step, equal on all ranks: ``step_draws.uniform()`` is a single number.
    entities : dict of Tensor of shape (batch,), int64
        For each view, the number of the entry of this rank's rows: equal numbers are the same molecule (or text).
    labels : dict of RaggedBatch
        Named label sets of this rank's rows: fields ``task`` (int32) and ``value`` (float32), none or many per row.
    progress : float
        Share of the run that is done, in [0, 1).
    average_pairs : bool
        Whether the losses of the pairs are averaged instead of summed (several crops of one input).
    """

    pairs: Sequence[tuple[str, str]]
    draws: Draws
    step_draws: Draws
    entities: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Mapping[str, RaggedBatch] = field(default_factory=dict)
    progress: float = 0.0
    average_pairs: bool = False

    def repeats(self, view_a: str, view_b: str) -> Tensor:
        """Return which rows of the global batch are the same molecule (or text) as each own row in either view: itself, and repeats.

        ``(batch, n_rows)`` bool. In a contrastive loss such rows are not negatives.
        """
        own = [self.entities[view] for view in (view_a, view_b)]
        same = [mine[:, None] == gather_rows(mine)[None] for mine in own]
        return same[0] | same[1]


class Twin(Protocol):
    """What an objective may use of a twin model (``molbt.model.TwinModel`` is one)."""

    def encode(self, view: str, batch: Any, output: str = "embedding") -> Tensor: ...
    def project(self, view: str, embedding: Tensor) -> Tensor: ...
    def embedding_dim(self, view: str) -> int: ...
    def projection_dim(self, view: str) -> int: ...
    def encoder_key(self, view: str) -> str: ...
    def encoder_of(self, view: str) -> nn.Module: ...
    def projector_of(self, view: str) -> nn.Module: ...


class BatchSource(Protocol):
    """Where views come from: the samples of one global batch."""

    def gather(self, view: str, positions: Tensor, *, augmented: bool = True) -> Any:
        """Return a view of the samples at positions of the global batch."""


class Views:
    """The views of a batch; batches, embeddings and projections are computed once, when first asked for.

    Several objectives of a run then share the forward passes, and batch statistics are updated once a step.

    Parameters
    ----------
    twin : Twin
    source : BatchSource
    rows : Tensor of shape (batch,), int64
        Positions of this rank's rows in the global batch.
    n_rows : int
        Rows of the global batch: on one process ``batch``.
    """

    def __init__(self, twin: Twin, source: BatchSource, rows: Tensor, n_rows: int) -> None:
        self.rows = rows
        self.n_rows = n_rows
        self._twin = twin
        self._source = source
        self._batches: dict[tuple[str, bool], Any] = {}
        self._embeddings: dict[str, Tensor] = {}
        self._projections: dict[str, Tensor] = {}

    def batch(self, view: str) -> Any:
        """The augmented view of this rank's rows, as the view's encoder takes it."""
        return self._batch(view, augmented=True)

    def original(self, view: str) -> Any:
        """The view before augmentation: what an objective that restores masked inputs aims at."""
        return self._batch(view, augmented=False)

    def batch_at(self, view: str, positions: Tensor) -> Any:
        """The augmented view of any rows of the global batch, also those of other ranks.

        An augmentation depends on the sample and not on where it is computed, so every rank can make the rows of the others, with
        the bits they have there: a permutation of the global batch needs no exchange of inputs. Projections are exchanged with
        ``molbt.nn.collectives.gather_rows``, which keeps the order of the positions.
        """
        return self._source.gather(view, positions)

    def embedding(self, view: str) -> Tensor:
        """``(batch, embedding_dim)``."""
        if view not in self._embeddings:
            self._embeddings[view] = self._twin.encode(view, self.batch(view))
        return self._embeddings[view]

    def projection(self, view: str) -> Tensor:
        """``(batch, projection_dim)``."""
        if view not in self._projections:
            self._projections[view] = self._twin.project(view, self.embedding(view))
        return self._projections[view]

    def _batch(self, view: str, *, augmented: bool) -> Any:
        key = (view, augmented)
        if key not in self._batches:
            self._batches[key] = self._source.gather(view, self.rows, augmented=augmented)
        return self._batches[key]


class Objective(nn.Module, ABC):
    """A pretraining loss that owns its state (predictor networks, queues, momentum copies, running covariances).

    A subclass for a pair of projections overrides ``loss``; one that needs other passes or labels overrides ``step``.
    Parameters are keyword arguments of ``__init__``: they are the keys of the configuration.

    Everything that must survive a stop is a parameter or a buffer: a checkpoint holds the ``state_dict``. Every parameter with
    ``requires_grad`` is trained; a momentum copy is switched off with ``requires_grad_(False)``. Under autocast an objective is called
    within it: products are taken in half precision, and what needs float32 leaves it.

    On several ranks each back-propagates its own ``loss``, and gradients are averaged: a loss is either the same on every rank or the
    mean over the rank's own rows (see ``molbt.nn.collectives``). State must stay equal on all ranks.
    """

    requires_labels = False
    """Whether ``step`` reads ``context.labels``; such an objective has an attribute ``labels`` that names the set."""

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        """Make predictors, momentum copies and queues; called once, before the optimiser exists and before a checkpoint is read.

        The twin holds the weights that training starts from, on the device where it runs. What is made here is moved there with the
        objective, put into training mode, and starts equal on all ranks. ``n_tasks`` gives the number of tasks of each label set.
        """

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the trained parameters; the default is one group of all. Norms and biases are excepted from decay by the trainer."""
        return [ParameterGroup([parameter for parameter in self.parameters() if parameter.requires_grad])]

    def loss(self, z_a: Tensor, z_b: Tensor) -> ObjectiveOutput:
        """Score two projections ``(batch, projection_dim)`` of the same rows."""
        raise NotImplementedError(f"{type(self).__name__} defines neither loss nor step")

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        """Score a batch; the default scores the projections of each pair with ``loss``."""
        return over_pairs([self.loss(views.projection(a), views.projection(b)) for a, b in context.pairs], context)

    def after_step(self, twin: Twin, progress: float) -> None:
        """Update what follows the parameters (momentum copies, queues); called after each optimiser step, without gradient.

        ``progress`` is that of the step.
        """


def over_pairs(outputs: Sequence[ObjectiveOutput], context: StepContext) -> ObjectiveOutput:
    """Return the loss of all pairs, one output for each: summed, or averaged where the context says so; terms are averaged."""
    losses = torch.stack([output.loss for output in outputs])
    terms = {name: torch.stack([output.terms[name] for output in outputs]).double().mean() for name in outputs[0].terms}
    return ObjectiveOutput(losses.mean() if context.average_pairs else losses.sum(), terms)


def detached(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the terms as a log takes them, without gradient."""
    return {name: value.detach() for name, value in terms.items()}


def check_projections(objective: str, z_a: Tensor, z_b: Tensor) -> None:
    """Raise ShapeError unless two projections are matrices of one shape."""
    if z_a.ndim != 2 or z_a.shape != z_b.shape:
        raise ShapeError(
            f"{objective} expected two projections of one shape (batch, projection_dim), got {tuple(z_a.shape)} and "
            f"{tuple(z_b.shape)}; give both views the same projector width and rows in the same order"
        )


def check_numbers(
    objective: str, *, above: float | None = None, least: float | None = None, most: float = math.inf, **values: float
) -> None:
    """Raise ConfigError for a setting that is not finite, not above (or at least) a bound, or larger than ``most``."""
    for name, value in values.items():
        low_enough = value > above if above is not None else value >= (-math.inf if least is None else least)
        if not (low_enough and value <= most and math.isfinite(value)):
            bounds = f"above {above:g}" if above is not None else f"of {least:g} or more"
            bounds += f" and at most {most:g}" if most < math.inf else ""
            raise ConfigError(f"{objective} expected a {name} {bounds}, got {value}; change it in the objective's settings")
