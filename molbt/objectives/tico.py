"""TiCo: agree with a slow copy, and avoid the directions that projections have taken so far."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from molbt.nn.collectives import sum_over_ranks
from molbt.nn.contrast import unit_rows
from molbt.nn.global_rows import mean_over_rows
from molbt.objectives._momentum_networks import MomentumNetworks, rising_momentum, views_of
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Twin, Views, check_numbers, detached, over_pairs


class TiCo(Objective):
    """``L = 1 − mean z·t + ρ mean zᵀ C z``: invariance against a slow copy, and contrast against a running covariance.

    ``z`` are projections of one view at unit length, ``t`` those of the other by copies that follow with momentum, without gradient.
    ``C ← β C + (1 − β) mean z zᵀ`` starts at 0 and is updated once per step, before it is used, without gradient. It remembers earlier
    batches, so small batches serve.

    Parameters
    ----------
    contrast_weight : float
        ρ; 8 in the paper.
    covariance_momentum : float
        β; 0.9 in the paper.
    momentum : float
        Of the copies at the start; it rises to 1 over the run along a half cosine.
    symmetric : bool, optional
        Score each pair in both directions, and average; by default only between two encoders. The paper does not.

    Notes
    -----
    Terms: ``loss`` is ``invariance`` plus ``contrast`` (weighted with ρ); ``momentum``. Each encoder has its own C, of all views of it that
    are scored. When all projections are equal the contrast grows to ρ: that is collapse. C has no correction for starting at 0, so it
    repels little in the first ten steps.

    References
    ----------
    Zhu et al., "TiCo: Transformation Invariance and Covariance Contrast for Self-Supervised Visual Representation Learning", 2022,
    equations 1 to 4, https://arxiv.org/abs/2206.10698
    """

    def __init__(
        self,
        *,
        contrast_weight: float = 8.0,
        covariance_momentum: float = 0.9,
        momentum: float = 0.99,
        symmetric: bool | None = None,
    ) -> None:
        super().__init__()
        check_numbers("tico", least=0, contrast_weight=contrast_weight)
        check_numbers("tico", least=0, most=1, covariance_momentum=covariance_momentum, momentum=momentum)
        self.contrast_weight = contrast_weight
        self.covariance_momentum = covariance_momentum
        self.momentum = momentum
        self.symmetric = symmetric
        self._next: dict[str, Tensor] = {}

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        self.targets = MomentumNetworks(twin, views_of(pairs))
        self.covariances = nn.ParameterDict()
        for view in views_of(pairs):
            width = twin.projection_dim(view)
            self.covariances[twin.encoder_key(view)] = nn.Parameter(torch.zeros(width, width), requires_grad=False)

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        directions = {pair: self._directions(twin, pair) for pair in context.pairs}
        online, seen = ({pair[side] for found in directions.values() for pair in found} for side in (0, 1))
        targets = self.targets.projections(views, sorted(seen))
        momentum = torch.tensor(rising_momentum(self.momentum, context.progress), device=views.rows.device)
        with torch.autocast(views.rows.device.type, enabled=False):
            z = {view: unit_rows(views.projection(view)) for view in sorted(online)}
            covariances = self._next = self._updated(twin, z, views.n_rows)
            outputs = []
            for found in directions.values():
                parts = [tico_terms(z[a], targets[b], covariances[twin.encoder_key(a)]) for a, b in found]
                invariance, contrast = (torch.stack(values).mean() for values in zip(*parts, strict=True))
                loss = invariance + self.contrast_weight * contrast
                terms = {"loss": loss, "invariance": invariance, "contrast": self.contrast_weight * contrast, "momentum": momentum}
                outputs.append(ObjectiveOutput(loss, detached(terms)))
        return over_pairs(outputs, context)

    def after_step(self, twin: Twin, progress: float) -> None:
        for key, covariance in self._next.items():
            self.covariances[key].copy_(covariance)
        self._next = {}
        self.targets.follow(twin, rising_momentum(self.momentum, progress))

    def _directions(self, twin: Twin, pair: tuple[str, str]) -> list[tuple[str, str]]:
        symmetric = twin.encoder_key(pair[0]) != twin.encoder_key(pair[1]) if self.symmetric is None else self.symmetric
        return [pair, (pair[1], pair[0])] if symmetric else [pair]

    @torch.no_grad()
    def _updated(self, twin: Twin, z: Mapping[str, Tensor], n_rows: int) -> dict[str, Tensor]:
        """Return the covariance of each encoder after this step, from all of its views that are scored."""
        updated = {}
        for key in dict.fromkeys(twin.encoder_key(view) for view in z):
            own = [z[view] for view in z if twin.encoder_key(view) == key]
            products = sum_over_ranks(torch.stack([rows.T @ rows for rows in own]).sum(0)) / (n_rows * len(own))
            updated[key] = torch.lerp(products, self.covariances[key].to(products.dtype), self.covariance_momentum)
        return updated


def tico_terms(z: Tensor, target: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``1 − mean z·t`` and ``mean zᵀ C z`` over the rows of all ranks.

    Parameters
    ----------
    z, target : Tensor of shape (batch, projection_dim), float
        Made of unit length here; the target gets no gradient.
    covariance : Tensor of shape (projection_dim, projection_dim)
        C, which gets no gradient.
    """
    z, target = unit_rows(z), unit_rows(target.detach())
    invariance, contrast = mean_over_rows(torch.stack([(z * target).sum(1), (z @ covariance.detach() * z).sum(1)], 1))
    return 1 - invariance, contrast
