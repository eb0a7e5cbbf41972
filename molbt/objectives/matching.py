"""Matching: is this molecule active in this assay? A dot product of two projections against measured labels."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from molbt.errors import ConfigError, DataError
from molbt.nn.collectives import sum_over_ranks
from molbt.nn.contrast import in_full_precision
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Twin, Views


class Matching(Objective):
    """Mean binary cross-entropy of ``s · ⟨z_a, z_b⟩ / √d + b`` over the labelled rows of a batch, with a trained scale s and bias b.

    It learns from actives and inactives alike, and is what a twin of molecules and assays has to beat. The dot product is not
    normalised: the length of a molecule's projection can say that it is a frequent hitter, that of an assay's how much it tells.

    Parameters
    ----------
    labels : str
        Name of the label set in the run's ``labels`` section: 1 where the two belong together, 0 where they do not. A row without a label
        takes no part; one with several counts each.

    Raises
    ------
    DataError
        If a label is neither 0 nor 1.

    Notes
    -----
    Terms: ``loss``; ``labels``, their number; ``accuracy``; ``separation``, the mean logit of actives less that of inactives.

    References
    ----------
    Seidl et al., "Enhancing activity prediction models in drug discovery with the ability to understand human language", ICML 2023 (CLAMP;
    there the projections have length 1), https://arxiv.org/abs/2303.03363
    """

    requires_labels = True

    def __init__(self, *, labels: str) -> None:
        super().__init__()
        self.labels = labels
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(()))
        self._labels_checked = False

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        """Check that the label set is there and that the projections of each pair have one width."""
        check_labels("matching", self.labels, n_tasks)
        for a, b in pairs:
            if twin.projection_dim(a) != twin.projection_dim(b):
                raise ConfigError(
                    f"objective 'matching' expects projections of one width, received {twin.projection_dim(a)} of {a!r} and "
                    f"{twin.projection_dim(b)} of {b!r}; give both views the same projector"
                )

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        """Score the labelled rows of each pair; losses are summed over pairs."""
        labels = context.labels[self.labels]
        truth, rows = labels.fields["value"], labels.row_of_item
        if not self._labels_checked:  # once: a look at each batch would wait for a GPU
            check_classes("matching", self.labels, truth)
            self._labels_checked = True
        actives, n = sum_over_ranks(torch.stack([truth.sum(), truth.new_tensor(float(len(truth)))]))
        losses, accuracies, separations = [], [], []
        for a, b in context.pairs:
            logits = self.logits(views.projection(a), views.projection(b))[rows]
            losses.append(sum_over_ranks(nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="sum")) / n.clamp(min=1))
            told = torch.stack([((logits > 0) == (truth > 0.5)).float().sum(), (logits * truth).sum(), (logits * (1 - truth)).sum()])
            right, of_actives, of_inactives = sum_over_ranks(told.detach())
            accuracies.append(right / n.clamp(min=1))
            separations.append(of_actives / actives.clamp(min=1) - of_inactives / (n - actives).clamp(min=1))
        loss = torch.stack(losses).sum()
        terms = {"loss": loss.detach(), "labels": n, "accuracy": torch.stack(accuracies).mean()}
        return ObjectiveOutput(loss, terms | {"separation": torch.stack(separations).mean()})

    def logits(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        """Return one logit per row of two projections ``(batch, projection_dim)``: ``(batch,)``, at least float32."""
        products = (in_full_precision(z_a) * in_full_precision(z_b)).sum(dim=1) / z_a.shape[1] ** 0.5
        return self.log_scale.exp() * products + self.bias


def check_labels(objective: str, labels: str, n_tasks: Mapping[str, int]) -> None:
    """Raise ConfigError unless the run has a label set."""
    if labels not in n_tasks:
        raise ConfigError(f"objective {objective!r} reads the label set {labels!r}; the configuration has {sorted(n_tasks)}")


def check_classes(objective: str, labels: str, truth: Tensor) -> None:
    """Raise DataError for a label that is neither 0 nor 1."""
    odd = truth[(truth != 0) & (truth != 1)]
    if len(odd):
        raise DataError(
            f"objective {objective!r} expects labels 0 and 1 in the set {labels!r}, received {odd[0].item():g}; recode them in the table"
        )
