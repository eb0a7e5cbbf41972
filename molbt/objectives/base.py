"""The contract of an objective: the pretraining loss over the views of a batch.

Objectives know nothing of molecules: they see batches they cannot look into, embeddings, projections, labels and entity keys.
"""

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from molbt.data.columns import RaggedBatch
from molbt.draws import Draws


@dataclass(frozen=True)
class ObjectiveOutput:
    """A loss and the terms a person reads.

    Attributes
    ----------
    loss : scalar Tensor
        What is back-propagated.
    terms : dict of scalar Tensor
        Detached numbers for the log.
    """

    loss: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class StepContext:
    """What an objective may know of a step beside the views.

    Attributes
    ----------
    pairs : sequence of (str, str)
        The pairs of views that this objective scores.
    entities : dict of Tensor of shape (batch,), int64
        For each view, the number of the entry: equal numbers are the same molecule (or text).
    labels : dict of RaggedBatch
        Named label sets; fields ``task`` (int64) and ``value`` (float32), none or many per row.
    draws : Draws
        Random numbers of this batch, one key per row, that no augmentation uses.
    step_draws : Draws
        One key that is the same for the whole batch (and on all ranks).
    progress : float
        Share of the run that is done, in [0, 1).
    """

    pairs: Sequence[tuple[str, str]]
    entities: dict[str, Tensor]
    draws: Draws
    step_draws: Draws
    progress: float = 0.0
    labels: dict[str, RaggedBatch] = field(default_factory=dict)


class Twin(Protocol):
    """What an objective may use of a twin model (``molbt.model.TwinModel`` is one)."""

    def encode(self, view: str, batch: Any, output: str = "embedding") -> Tensor: ...
    def project(self, view: str, embedding: Tensor) -> Tensor: ...
    def embedding_dim(self, view: str) -> int: ...
    def projection_dim(self, view: str) -> int: ...
    def encoder_key(self, view: str) -> str: ...
    def encoder_of(self, view: str) -> nn.Module: ...
    def projector_of(self, view: str) -> nn.Module: ...


class Views:
    """The augmented views of a batch; embeddings and projections are computed once, when first asked for.

    Several objectives of a run then share the forward passes, and batch statistics are updated once a step.
    """

    def __init__(self, twin: Twin, batches: dict[str, Any]) -> None:
        self.batches = batches
        self._twin = twin
        self._embeddings: dict[str, Tensor] = {}
        self._projections: dict[str, Tensor] = {}

    def embedding(self, view: str) -> Tensor:
        """``(batch, embedding_dim)``."""
        if view not in self._embeddings:
            self._embeddings[view] = self._twin.encode(view, self.batches[view])
        return self._embeddings[view]

    def projection(self, view: str) -> Tensor:
        """``(batch, projection_dim)``."""
        if view not in self._projections:
            self._projections[view] = self._twin.project(view, self.embedding(view))
        return self._projections[view]


class Objective(nn.Module, ABC):
    """A pretraining loss that owns its state (predictor networks, queues, momentum copies, running covariances).

    A subclass for a pair of projections overrides ``loss``; one that needs other passes or labels overrides ``step``.
    Parameters are keyword arguments of ``__init__``: they are the keys of the configuration.
    """

    requires_labels = False
    """Whether ``step`` reads ``context.labels``; such an objective takes a ``labels`` argument that names the set."""

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: dict[str, int]) -> None:
        """Make predictors, momentum copies and queues; called once, before the optimiser exists and before a checkpoint is read.

        ``n_tasks`` gives the number of tasks of each label set.
        """

    def loss(self, z_a: Tensor, z_b: Tensor) -> ObjectiveOutput:
        """Score two projections ``(batch, projection_dim)`` of the same rows."""
        raise NotImplementedError(f"{type(self).__name__} defines neither loss nor step")

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        """Score a batch; the default sums ``loss`` over the pairs, and averages the terms over them."""
        outputs = [self.loss(views.projection(a), views.projection(b)) for a, b in context.pairs]
        total = outputs[0].loss
        for output in outputs[1:]:
            total = total + output.loss
        terms = {name: sum(o.terms[name] for o in outputs) / len(outputs) for name in outputs[0].terms}
        return ObjectiveOutput(total, terms)

    def after_step(self, twin: Twin, progress: float) -> None:
        """Update what follows the parameters (momentum copies, queues); called after each optimiser step."""
