"""Mixed Barlow Twins: mixed inputs should correlate with both views as the mixture of their projections would."""

import math

import torch
from torch import Tensor

from molbt.errors import ConfigError
from molbt.nn.collectives import gather_rows, rows_per_rank
from molbt.nn.global_rows import own_positions
from molbt.nn.product_norm import squared_product_norm
from molbt.objectives.barlow_twins import GRAM_BELOW, BarlowTwins, standardised
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Twin, Views, check_numbers, over_pairs


class MixedBarlowTwins(Objective):
    """``L = L_BT + λ_mix λ (‖C_ma − G_ma‖² + ‖C_mb − G_mb‖²)`` for a third view ``m = α a + (1 − α) b[π]``.

    ``C`` are cross-correlations with the projections of the mixture, and ``G`` what they would be if projecting were linear:
    ``G_ma = (α AᵀA + (1 − α) B[π]ᵀA) / n`` and ``G_mb = (α AᵀB + (1 − α) B[π]ᵀB) / n``. One α ~ Beta(1, 1), uniform, and one permutation π
    of the global batch per step; gradient flows through the targets. It is a regulariser against over-fitting: its gain comes late.

    Parameters
    ----------
    redundancy_weight, redundancy_lambda, normalisation, form
        Those of ``barlow_twins``, for both parts. The authors' small-data scripts use ``redundancy_lambda`` 1/128 or 1/d and
        ``small_data``.
    mixing_weight : float
        λ_mix; 4 in the authors' CIFAR runs, 1 to 2 on ImageNet.
    ramp : float
        Share of the run over which λ_mix rises from 0; 0 is off.

    Notes
    -----
    Terms: those of ``barlow_twins`` for its part, ``mixing`` (unweighted), and ``total``. With two encoders inputs cannot be mixed across
    views: each view is mixed with a permutation of itself, with the same α and π, and the two regularisers are averaged (our choice; the
    paper has one encoder). The authors' ImageNet script has ``BᵀB`` in the first part of ``G_mb``, which leaves a regulariser above 0 for
    α = 1; this is the form of the paper and of the CIFAR script. A third pass costs half as much again, and running statistics of the
    networks' norms see mixed inputs too.

    References
    ----------
    Bandara et al., "Guarding Barlow Twins against overfitting with mixed samples", 2023, https://arxiv.org/abs/2312.02151
    """

    def __init__(
        self,
        *,
        redundancy_weight: float | None = None,
        redundancy_lambda: float | None = None,
        normalisation: str = "official",
        form: str = "auto",
        mixing_weight: float = 4.0,
        ramp: float = 0.0,
    ) -> None:
        super().__init__()
        if normalisation == "molecular":
            raise ConfigError("mixed_barlow_twins has no normalisation 'molecular'; take 'unbiased', of which it is a rescaling")
        check_numbers("mixed_barlow_twins", least=0, mixing_weight=mixing_weight)
        check_numbers("mixed_barlow_twins", least=0, most=1, ramp=ramp)
        self.twins = BarlowTwins(
            redundancy_weight=redundancy_weight, redundancy_lambda=redundancy_lambda, normalisation=normalisation, form=form
        )
        self.mixing_weight = mixing_weight
        self.ramp = ramp

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        alpha = context.step_draws.uniform()
        permutation = context.draws.permutation()
        weight = self.mixing_weight * (min(1.0, context.progress / self.ramp) if self.ramp else 1.0)
        outputs = []
        for a, b in context.pairs:
            output = self.twins.loss(views.projection(a), views.projection(b))
            if twin.encoder_key(a) == twin.encoder_key(b):
                mixing = self._mixing(twin, views, (a, b), alpha, permutation, other=b)
            else:
                mixing = (
                    self._mixing(twin, views, (a, a), alpha, permutation, other=b)
                    + self._mixing(twin, views, (b, b), alpha, permutation, other=a)
                ) / 2
            loss = output.loss + weight * self.twins.lambda_of(views.projection(a).shape[1]) * mixing
            outputs.append(ObjectiveOutput(loss, {**output.terms, "mixing": mixing.detach(), "total": loss.detach()}))
        return over_pairs(outputs, context)

    def _mixing(self, twin: Twin, views: Views, mixed: tuple[str, str], alpha: Tensor, permutation: Tensor, *, other: str) -> Tensor:
        """Mix the first view with a permutation of the second, and compare with the first view and ``other``."""
        first, second = mixed
        partners = permutation[views.rows]
        mixture = twin.encoder_of(first).mix(views.batch(first), views.batch_at(second, partners), alpha)  # type: ignore[operator]
        z_mixed = twin.project(first, twin.encode(first, mixture))
        z_first, z_second, z_other = (views.projection(view) for view in (first, second, other))
        return mixing_regulariser(z_mixed, z_first, z_second, z_other, alpha, permutation, normalisation=self.twins.normalisation)


def mixing_regulariser(
    z_mixed: Tensor,
    z_first: Tensor,
    z_second: Tensor,
    z_other: Tensor,
    alpha: Tensor,
    permutation: Tensor,
    *,
    normalisation: str = "official",
) -> Tensor:
    """Return ``(‖RᵀA‖² + ‖RᵀO‖²) / n²`` with ``R = M − α A − (1 − α) B[π]``, all standardised, over the rows of all ranks.

    Parameters
    ----------
    z_mixed, z_first, z_second, z_other : Tensor of shape (batch, projection_dim), float
        M, A, B and O: projections of this rank's rows.
    alpha : Tensor of shape () or (1,)
    permutation : Tensor of shape (rows of all ranks,), int64
        π.
    normalisation : {"official", "small_data", "unbiased"}

    Returns
    -------
    scalar Tensor
        The same on every rank.
    """
    n_rows = sum(rows_per_rank(z_mixed))
    with torch.autocast(z_mixed.device.type, enabled=False):
        scale = 1 / math.sqrt(n_rows)
        m, a, b, other = (standardised(z, normalisation, scale=scale)[0] for z in (z_mixed, z_first, z_second, z_other))
        alpha = alpha.to(a.dtype)
        partners = gather_rows(b)[permutation[own_positions(m)]]
        residual = m - alpha * a - (1 - alpha) * partners
        gram = n_rows < GRAM_BELOW * m.shape[1]
        return squared_product_norm(residual, a, gram=gram) + squared_product_norm(residual, other, gram=gram)
