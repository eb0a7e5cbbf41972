"""Episodic prototypes: the molecules of an assay are told apart by the mean embeddings of a few of its actives and inactives."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from molbt.errors import ConfigError
from molbt.nn.collectives import gather_rows, rank, rows_per_rank, sum_over_ranks
from molbt.nn.contrast import in_full_precision
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Twin, Views, check_numbers
from molbt.objectives.matching import check_classes, check_labels


class Prototypes(Objective):
    """Mean binary cross-entropy of ``s · (|x − μ₀|² − |x − μ₁|²) / √d`` over the queries of a batch, with a trained scale s.

    The labelled rows of one task in a batch are an episode. Each row is drawn to be support or query; μ₁ and μ₀ are the mean embeddings of
    the episode's active and inactive support, and the queries are scored by them. An episode without support of both classes has no
    queries. Batches should hold many rows of few tasks: ``trainer.episodes``. This is supervised domain adaptation, as ``multitask`` is,
    but nothing is kept of a task beside what the embedding holds.

    Parameters
    ----------
    labels : str
        Name of the label set in the run's ``labels`` section: 1 for active, 0 for inactive. A row with several labels belongs to several
        episodes.
    views : sequence of str, optional
        Views whose embeddings are read, side by side; by default the first view of the pairs.
    support_share : float
        Mean share of the rows that are support.

    Notes
    -----
    Terms: ``loss``; ``queries`` and ``episodes``, their numbers; ``accuracy``.

    References
    ----------
    Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017, equations 1 and 2,
    https://arxiv.org/abs/1703.05175. Distances are Euclidean; the published networks for FS-Mol take Mahalanobis ones.
    """

    requires_labels = True

    def __init__(self, *, labels: str, views: Sequence[str] | None = None, support_share: float = 0.5) -> None:
        super().__init__()
        check_numbers("prototypes", above=0.0, most=0.99, support_share=support_share)
        if views is not None and (isinstance(views, str) or not views):
            raise ConfigError(f"objective 'prototypes' expects a list of views, received {views!r}; for example views: [fingerprint]")
        self.labels = labels
        self.views = None if views is None else tuple(views)
        self.support_share = support_share
        self.log_scale = nn.Parameter(torch.zeros(()))
        self._labels_checked = False

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        """Check that the label set and the views are there."""
        check_labels("prototypes", self.labels, n_tasks)
        self._read = self.views or (pairs[0][0],)
        self._width = sum(twin.embedding_dim(view) for view in self._read)

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        """Score the queries of all episodes in the batch."""
        labels = context.labels[self.labels]
        truth, tasks, rows = labels.fields["value"], labels.fields["task"].long(), labels.row_of_item
        if not self._labels_checked:  # once: a look at each batch would wait for a GPU
            check_classes("prototypes", self.labels, truth)
            self._labels_checked = True
        embedding = in_full_precision(torch.cat([views.embedding(view) for view in self._read], dim=1))[rows]
        is_support = (context.draws.select(views.rows).uniform() < self.support_share)[rows]
        # Each class of an episode has a place in tables as long as the batch, so that nothing waits to learn how many episodes there are.
        # The tables are summed over ranks: an episode may lie on several.
        number, most = _numbered(tasks)
        place = 2 * number + (truth > 0.5)
        support = is_support.to(embedding.dtype)
        counts = sum_over_ranks(support.new_zeros(2 * most).index_add(0, place, support))
        sums = sum_over_ranks(embedding.new_zeros(2 * most, self._width).index_add(0, place, embedding * support[:, None]))
        means = (sums / counts.clamp(min=1)[:, None]).view(most, 2, self._width)
        is_episode = counts.view(most, 2).amin(dim=1) > 0

        is_query = (~is_support & is_episode[number]).to(embedding.dtype)
        distances = (embedding[:, None] - means[number]).square().sum(dim=2) / self._width**0.5
        logits = self.log_scale.exp() * (distances[:, 0] - distances[:, 1])
        losses = nn.functional.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="none")
        n_queries = sum_over_ranks(is_query.sum())
        loss = sum_over_ranks((losses * is_query).sum()) / n_queries.clamp(min=1)
        right = sum_over_ranks((((logits > 0) == (truth > 0.5)) * is_query).sum())
        terms = {"loss": loss.detach(), "queries": n_queries, "accuracy": (right / n_queries.clamp(min=1)).detach()}
        return ObjectiveOutput(loss, terms | {"episodes": is_episode.sum().to(embedding.dtype)})


def _numbered(tasks: Tensor) -> tuple[Tensor, int]:
    """Number the tasks of a batch from 0, alike on all ranks: the numbers of this rank's items, and more than there can be."""
    everywhere = gather_rows(tasks)
    values, order = everywhere.sort()
    number = torch.zeros_like(values)
    number[1:] = (values[1:] != values[:-1]).cumsum(0)
    numbers = torch.empty_like(number).scatter(0, order, number)
    start = sum(rows_per_rank(tasks)[: rank()])
    return numbers[start : start + len(tasks)], max(len(everywhere), 1)
