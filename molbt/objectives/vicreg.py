"""VICReg: two projections should agree, each of their columns should vary, and no two columns should vary together."""

import math

import torch
from torch import Tensor

from molbt.errors import ConfigError, ShapeError, suggestion
from molbt.nn.batch_moments import batch_moments
from molbt.nn.collectives import rows_per_rank
from molbt.nn.contrast import in_full_precision
from molbt.nn.global_rows import mean_over_rows
from molbt.nn.product_norm import squared_product_norm
from molbt.objectives.barlow_twins import GRAM_BELOW
from molbt.objectives.base import Objective, ObjectiveOutput, check_numbers, check_projections, detached

EPSILON = 1e-4
VARIANCE_REDUCTIONS = ("mean", "sum")


class VICReg(Objective):
    """``L = 25 s + 25 v + c``: invariance, variance and covariance of two projections.

    ``s`` is the mean squared difference, over rows and columns; ``v = ½ [V(Z_a) + V(Z_b)]`` with
    ``V(Z) = (1/d) Σ_j max(0, 1 − √(var(Z_j) + 1e-4))``; ``c = K(Z_a) + K(Z_b)`` with ``K(Z) = (1/d) Σ_{i≠j} cov(Z)_ij²``. Only ``s``
    couples the views, so it suits two different encoders.

    Parameters
    ----------
    invariance_weight, variance_weight, covariance_weight : float
        25, 25 and 1 in the paper.
    variance_reduction : {"mean", "sum"}
        ``mean`` has the ½ of ``v``, as the authors' code; ``sum`` has not, as the paper's equation 6 and solo-learn.

    Notes
    -----
    Terms: ``loss`` is the sum of ``invariance``, ``variance`` and ``covariance``, each with its weight; ``std`` is the mean deviation of a
    column, which the variance term wants at 1. Variances divide by the rows minus one; one batch of all ranks is scored.

    References
    ----------
    Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning", ICLR 2022, equations
    1 to 6, https://arxiv.org/abs/2105.04906
    """

    def __init__(
        self,
        *,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        variance_reduction: str = "mean",
    ) -> None:
        super().__init__()
        weights = {"invariance_weight": invariance_weight, "variance_weight": variance_weight, "covariance_weight": covariance_weight}
        check_numbers("vicreg", least=0, **weights)
        if variance_reduction not in VARIANCE_REDUCTIONS:
            raise ConfigError(
                f"vicreg: unknown variance_reduction {variance_reduction!r}{suggestion(variance_reduction, VARIANCE_REDUCTIONS)}"
            )
        self.invariance_weight = invariance_weight
        self.variance_weight = variance_weight * (0.5 if variance_reduction == "mean" else 1.0)
        self.covariance_weight = covariance_weight

    def loss(self, z_a: Tensor, z_b: Tensor) -> ObjectiveOutput:
        """Score two projections ``(batch, projection_dim)`` of the same rows.

        Raises
        ------
        ShapeError
            If they are not matrices of one shape, or have fewer than two rows on all ranks together.
        """
        check_projections("vicreg", z_a, z_b)
        with torch.autocast(z_a.device.type, enabled=False):
            z_a, z_b = in_full_precision(z_a), in_full_precision(z_b)
            invariance = self.invariance_weight * mean_over_rows((z_a - z_b).square().mean(1))
            spread_a, spread_b = _spread(z_a), _spread(z_b)
            variance = self.variance_weight * ((1 - spread_a[0]).relu().mean() + (1 - spread_b[0]).relu().mean())
            covariance = self.covariance_weight * (spread_a[1] + spread_b[1])
            std = (spread_a[0].mean() + spread_b[0].mean()) / 2
        loss = invariance + variance + covariance
        terms = {"loss": loss, "invariance": invariance, "variance": variance, "covariance": covariance, "std": std}
        return ObjectiveOutput(loss, detached(terms))


def _spread(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the deviation of each column, and the mean over columns of the squared covariances with the others."""
    n_rows, projection_dim = sum(rows_per_rank(z)), z.shape[1]
    if n_rows < 2:
        raise ShapeError(f"vicreg expected a batch of at least 2 rows, got {n_rows}; drop a last batch of one row")
    moments = batch_moments(z)
    variance = moments.unbiased_variance
    scaled = moments.centred / math.sqrt(n_rows - 1)  # before any product is taken: the scale of projections has no bound
    squares = squared_product_norm(scaled, scaled, gram=n_rows < GRAM_BELOW * projection_dim)
    return (variance + EPSILON).sqrt(), (squares - variance.square().sum()) / projection_dim
