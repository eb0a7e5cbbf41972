"""Multi-task supervised pretraining: measured (molecule, task, label) triplets against one output per task."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from molbt.data.columns import RaggedBatch
from molbt.errors import ConfigError, DataError
from molbt.nn.collectives import sum_over_ranks
from molbt.nn.contrast import in_full_precision
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Twin, Views

_KINDS = ("class", "value")


class Multitask(Objective):
    """Mean loss over the labels of a batch, each against the output of its task: a linear function of the views' embeddings.

    With several views the output of a task is the sum of one linear function per view, which is a linear function of the concatenated
    embeddings: the features that a frozen encoder hands out. A molecule without a label takes no part. This is *supervised* domain
    adaptation, and its gains on molecules that it has seen labels of are profile transfer, not generalisation: tables have to say which.

    Parameters
    ----------
    labels : str
        Name of the label set in the run's ``labels`` section.
    views : sequence of str, optional
        Views whose embeddings are read, one for each encoder; by default the first view of each encoder among the pairs.
    kind : {"class", "value"}
        ``class``: labels 0 and 1, binary cross-entropy. ``value``: numbers, squared error; they should have about unit spread in each task
        (a task in nM would drown one in log units).
    dropout : float
        Share of embedding entries set to zero before the outputs, in training.

    References
    ----------
    Ma et al. 2015 (multi-task networks on assays); Unterthiner et al. 2014.
    """

    requires_labels = True

    def __init__(self, *, labels: str, views: Sequence[str] | None = None, kind: str = "class", dropout: float = 0.0) -> None:
        super().__init__()
        if kind not in _KINDS:
            raise ConfigError(f"objective 'multitask' expects kind to be one of {', '.join(_KINDS)}, received {kind!r}")
        if views is not None and (isinstance(views, str) or not views):
            raise ConfigError(f"objective 'multitask' expects a list of views, received {views!r}; for example views: [fingerprint]")
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(f"objective 'multitask' expects dropout in [0, 1), received {dropout}; 0 is off")
        self.labels = labels
        self.views = None if views is None else tuple(views)
        self.kind = kind
        self.dropout = nn.Dropout(dropout)
        self._labels_checked = kind != "class"

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        """Make the outputs, with weights of zero: every task starts at "no idea", whatever the scale of the embedding."""
        if self.labels not in n_tasks:
            raise ConfigError(f"objective 'multitask' reads the label set {self.labels!r}; the configuration has {sorted(n_tasks)}")
        views = self.views or tuple(dict.fromkeys(view for pair in pairs for view in pair))
        first_of_encoder = {twin.encoder_key(view): view for view in reversed(views)}
        if self.views is not None and len(first_of_encoder) < len(views):
            raise ConfigError(f"objective 'multitask' expects views with encoders of their own, received {list(views)}; name one of each")
        self._read = tuple(view for view in views if first_of_encoder[twin.encoder_key(view)] == view)
        self.weight = nn.Parameter(torch.zeros(n_tasks[self.labels], sum(twin.embedding_dim(view) for view in self._read)))
        self.bias = nn.Parameter(torch.zeros(n_tasks[self.labels]))

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        """Terms: ``loss``, the mean over the labels; ``labels``, their number; ``accuracy`` (class) or ``r2`` against predicting 0."""
        labels = context.labels[self.labels]
        truth = labels.fields["value"]
        if not self._labels_checked:  # once: a look at each batch would wait for a GPU
            self._check_classes(truth)
        embedding = self.dropout(torch.cat([views.embedding(view) for view in self._read], dim=1))
        outputs = self.outputs(embedding, labels)
        if self.kind == "class":
            total = nn.functional.binary_cross_entropy_with_logits(outputs, truth, reduction="sum")
            told, part = "accuracy", ((outputs > 0) == (truth > 0.5)).float().sum()
            whole = torch.tensor(float(len(truth)), device=truth.device)
        else:
            total = (outputs - truth).square().sum()
            told, part, whole = "r2", truth.square().sum() - total.detach(), truth.square().sum()
        n_labels = sum_over_ranks(torch.tensor(float(len(truth)), device=truth.device))
        loss = sum_over_ranks(total) / n_labels.clamp(min=1)
        part, whole = sum_over_ranks(torch.stack([part.detach(), whole]))
        return ObjectiveOutput(loss, {"loss": loss.detach(), "labels": n_labels, told: part / whole.clamp(min=1e-12)})

    def _check_classes(self, truth: Tensor) -> None:
        odd = truth[(truth != 0) & (truth != 1)]
        if len(odd):
            raise DataError(
                f"objective 'multitask' of kind 'class' expects labels 0 and 1 in the set {self.labels!r}, received {odd[0].item():g}; "
                "recode them, or set kind: value"
            )
        self._labels_checked = True

    def outputs(self, embedding: Tensor, labels: RaggedBatch) -> Tensor:
        """Return the output of each label's task: ``(items,)``, at least float32."""
        tasks, rows = labels.fields["task"].long(), labels.row_of_item
        # One product for all tasks where labels are dense (Tox21); where each molecule has a few of thousands of assays, only those.
        if len(rows) * embedding.shape[1] > len(embedding) * len(self.bias):
            return in_full_precision(nn.functional.linear(embedding, self.weight, self.bias))[rows, tasks]
        return (in_full_precision(embedding)[rows] * self.weight[tasks]).sum(dim=1) + self.bias[tasks]
