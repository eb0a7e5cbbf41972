"""Barlow Twins of molecules and assays that learns from inactives too: an active pair correlates, an inactive one anti-correlates."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from molbt.errors import ShapeError
from molbt.nn.collectives import rows_per_rank, sum_over_ranks
from molbt.nn.product_norm import squared_product_norm
from molbt.objectives.barlow_twins import EPSILON, GRAM_BELOW, standardised
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Twin, Views, check_numbers, check_projections, over_pairs
from molbt.objectives.matching import check_classes, check_labels


class SignedBarlowTwins(Objective):
    """``L = Σ_i (1 − C_ii)² + λ Σ_{i≠j} C_ij²`` with ``C = Σ_n w_n s_n a_n b_nᵀ``, s = +1 for an active pair and −1 for an inactive one.

    Both projections are standardised over the batch first, and the sign then stands in the correlation: standardising a negated text
    vector would move its mean instead. The weights give actives and inactives half of the sum each (all of it to the one that there is), so
    that C_ii = 1 says that a feature of the molecule is that of the assay in actives and its opposite in inactives, whatever the hit
    rate.

    Parameters
    ----------
    labels : str
        Name of the label set in the run's ``labels`` section: 1 for active, 0 for inactive. Rows without a label have weight 0; of several
        labels of a row the mean sign counts.
    redundancy_weight : float
        ``λ · projection_dim``. A pair of a molecule and an assay wants far less than two views of one molecule.

    Notes
    -----
    Terms: ``loss``, ``invariance``, ``redundancy`` (weighted), ``mean_diagonal``, ``dead_columns``. Derived here; with labels of 1
    alone it is ``barlow_twins`` with the same λ.
    """

    requires_labels = True

    def __init__(self, *, labels: str, redundancy_weight: float = 8.0) -> None:
        super().__init__()
        check_numbers("signed_barlow_twins", least=0.0, redundancy_weight=redundancy_weight)
        self.labels = labels
        self.redundancy_weight = redundancy_weight
        self._labels_checked = False

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        """Check that the label set is there."""
        check_labels("signed_barlow_twins", self.labels, n_tasks)

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        """Score each pair of views with the signs of the rows."""
        labels = context.labels[self.labels]
        if not self._labels_checked:  # once: a look at each batch would wait for a GPU
            check_classes("signed_barlow_twins", self.labels, labels.fields["value"])
            self._labels_checked = True
        n_rows = len(labels.offsets) - 1
        # In float64: float32 sums over ranks would differ in their last bits from the sum of one process.
        signs = 2 * labels.fields["value"].double() - 1
        total = signs.new_zeros(n_rows).index_add(0, labels.row_of_item, signs)
        counts = (labels.offsets[1:] - labels.offsets[:-1]).clamp(min=1)
        weights = balanced(total / counts)
        return over_pairs([self.signed_loss(views.projection(a), views.projection(b), weights) for a, b in context.pairs], context)

    def signed_loss(self, z_a: Tensor, z_b: Tensor, weights: Tensor) -> ObjectiveOutput:
        """Score two projections ``(batch, projection_dim)`` of the same rows, with signed weights ``(batch,)``.

        Raises
        ------
        ShapeError
            If the projections are not matrices of one shape, or have fewer than two rows on all ranks together.
        """
        check_projections("signed_barlow_twins", z_a, z_b)
        n_rows, projection_dim = sum(rows_per_rank(z_a)), z_a.shape[1]
        if n_rows < 2:
            raise ShapeError(f"signed_barlow_twins expected a batch of at least 2 rows, got {n_rows}; drop a last batch of one row")
        with torch.autocast(z_a.device.type, enabled=False):
            a, variance_a = standardised(z_a, "official", scale=1.0)
            b, variance_b = standardised(z_b, "official", scale=1.0)
            # The root of the weight on either side, the sign on one: rows of both stay of one size.
            root = weights.to(a.dtype).abs().sqrt()[:, None]
            a, b = a * root * weights.to(a.dtype).sign()[:, None], b * root
            diagonal = sum_over_ranks((a * b).sum(0))
            redundancy = squared_product_norm(a, b, gram=n_rows < GRAM_BELOW * projection_dim) - diagonal.square().sum()
            invariance = (1 - diagonal).square().sum()
            weighted = self.redundancy_weight / projection_dim * redundancy
            dead = (torch.minimum(variance_a, variance_b) < EPSILON**2).sum()
        terms = {"loss": invariance + weighted, "invariance": invariance, "redundancy": weighted, "mean_diagonal": diagonal.mean()}
        return ObjectiveOutput(terms["loss"], {name: value.detach() for name, value in terms.items()} | {"dead_columns": dead})


def balanced(signs: Tensor) -> Tensor:
    """Return signs ``(batch,)`` scaled: over all ranks, positive and negative ones sum to ½ each, or the one kind there is to 1."""
    totals = sum_over_ranks(torch.stack([signs.clamp(min=0).sum(), (-signs).clamp(min=0).sum()]))
    share = torch.where(totals.min() > 0, 0.5, 1.0)
    return signs * torch.where(signs > 0, share / totals[0].clamp(min=1e-12), share / totals[1].clamp(min=1e-12))
