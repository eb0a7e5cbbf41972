"""Barlow Twins HSIC: features of two views should agree, and different features should oppose each other."""

import math

import torch
from torch import Tensor

from molbt.errors import ConfigError, ShapeError, suggestion
from molbt.nn.collectives import rows_per_rank, sum_over_ranks
from molbt.nn.product_norm import squared_product_norm
from molbt.objectives.barlow_twins import GRAM_BELOW, NORMALISATIONS, standardised
from molbt.objectives.base import Objective, ObjectiveOutput, check_numbers, check_projections, detached


class HSIC(Objective):
    """``L = Σ_i (1 − C_ii)² + λ Σ_{i≠j} (1 + C_ij)²``: Barlow Twins with −1 instead of 0 as the target off the diagonal.

    A correlation matrix cannot be −1 everywhere off its diagonal. The best it can do is ``C_ij = −1/(d − 1)``, so the loss of views that
    agree ends at a floor far above 0, ``λ d (d − 1) ((d − 2)/(d − 1))²``: read ``above_floor``.

    Parameters
    ----------
    redundancy_weight : float
        ``λ · projection_dim``; 1 is the authors' command (λ = 1/128 for projections 128 wide).
    normalisation : {"official", "small_data", "unbiased"}
        How columns are standardised; see ``molbt.objectives.barlow_twins.barlow_twins_terms``. The authors' code uses ``small_data``.

    Notes
    -----
    Terms: ``loss`` is ``invariance`` plus ``opposition`` (weighted with λ); ``above_floor`` is the loss minus its floor, which is below 0
    while the diagonal is traded away for opposition; ``mean_diagonal``.

    References
    ----------
    Tsai et al., "A note on connecting Barlow Twins with negative-sample-free contrastive learning", 2021, equation 3,
    https://arxiv.org/abs/2104.13712
    """

    def __init__(self, *, redundancy_weight: float = 1.0, normalisation: str = "official") -> None:
        super().__init__()
        check_numbers("hsic", least=0, redundancy_weight=redundancy_weight)
        usable = [name for name in NORMALISATIONS if name != "molecular"]
        if normalisation not in usable:
            raise ConfigError(f"hsic: unknown normalisation {normalisation!r}{suggestion(normalisation, usable)}")
        self.redundancy_weight = redundancy_weight
        self.normalisation = normalisation

    def loss(self, z_a: Tensor, z_b: Tensor) -> ObjectiveOutput:
        """Score two projections ``(batch, projection_dim)`` of the same rows.

        Raises
        ------
        ShapeError
            If they are not matrices of one shape, or have fewer than two rows on all ranks together.
        """
        check_projections("hsic", z_a, z_b)
        n_rows, width = sum(rows_per_rank(z_a)), z_a.shape[1]
        if n_rows < 2:
            raise ShapeError(f"hsic expected a batch of at least 2 rows, got {n_rows}; drop a last batch of one row")
        weight = self.redundancy_weight / width
        with torch.autocast(z_a.device.type, enabled=False):
            a, b = (standardised(z, self.normalisation, scale=1 / math.sqrt(n_rows))[0] for z in (z_a, z_b))
            diagonal = sum_over_ranks((a * b).sum(0))
            # Σ_{i≠j} (1 + C_ij)² without forming C: the sum of its entries is Σ_n (Σ_i a_ni) (Σ_j b_nj).
            squares = squared_product_norm(a, b, gram=n_rows < GRAM_BELOW * width) - diagonal.square().sum()
            entries = sum_over_ranks((a.sum(1) * b.sum(1)).sum()) - diagonal.sum()
            opposition = weight * (width * (width - 1) + 2 * entries + squares)
            invariance = (1 - diagonal).square().sum()
        loss = invariance + opposition
        floor = weight * width * (width - 2) ** 2 / (width - 1) if width > 1 else 0.0
        terms = {"loss": loss, "invariance": invariance, "opposition": opposition, "above_floor": loss - floor}
        return ObjectiveOutput(loss, detached({**terms, "mean_diagonal": diagonal.mean()}))
