"""SimSiam: what a network predicts of one view should be its projection of the other, held still."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from molbt.nn.contrast import mean_cosine, unit_rows
from molbt.nn.global_rows import mean_over_rows
from molbt.objectives._momentum_networks import views_of
from molbt.objectives._predictors import OutputNorms, Predictors
from molbt.objectives.base import (
    Objective,
    ObjectiveOutput,
    ParameterGroup,
    StepContext,
    Twin,
    Views,
    check_numbers,
    detached,
    over_pairs,
)


class SimSiam(Objective):
    """``L = ½ D(p_a, z_b) + ½ D(p_b, z_a)`` with ``D(p, z) = −mean cos(p, z)``, z without gradient.

    Projections pass a batch norm without scale and shift. Neither negatives nor a slow copy keep it from collapsing, only the predictor
    and the stopped gradient: watch ``std``, and distrust a loss near −1 in the first epoch. It is the weakest choice for small batches.

    Parameters
    ----------
    hidden : int, optional
        Width of the predictor's hidden layer; by default a quarter of the projections', as in the paper (512 of 2048).
    constant_rate : bool
        Train the predictor at the peak learning rate all the way, as the authors' code does.

    Notes
    -----
    Terms: ``loss``, between −1 and 1; ``std``, the mean deviation of the columns of unit projections times √d: 1 is healthy, 0 is
    collapse; ``centre``, the squared length of the mean unit projection, which is 1 minus the mean squared length of what is left of each.
    With two encoders each direction has its predictor.

    References
    ----------
    Chen and He, "Exploring Simple Siamese Representation Learning", CVPR 2021, equation 4 and section 4.1,
    https://arxiv.org/abs/2011.10566; Zhang et al., "How does SimSiam avoid collapse without negative samples?", ICLR 2022 (the centre)
    """

    def __init__(self, *, hidden: int | None = None, constant_rate: bool = True) -> None:
        super().__init__()
        if hidden is not None:
            check_numbers("simsiam", least=1, hidden=hidden)
        self.hidden = hidden
        self.constant_rate = constant_rate

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        hidden = self.hidden or max(1, twin.projection_dim(pairs[0][0]) // 4)
        self.predictors = Predictors(twin, pairs, hidden=hidden, bias=True)
        self.norms = OutputNorms(twin, views_of(pairs))

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.parameters()), constant_rate=self.constant_rate)]

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        z = {view: self.norms(views.projection(view), view) for view in views_of(context.pairs)}
        outputs = []
        for a, b in context.pairs:
            loss = simsiam_loss(self.predictors(z[a], a, b), self.predictors(z[b], b, a), z[a], z[b])
            outputs.append(ObjectiveOutput(loss, detached({"loss": loss, **_spread(z[a])})))
        return over_pairs(outputs, context)


def simsiam_loss(p_a: Tensor, p_b: Tensor, z_a: Tensor, z_b: Tensor) -> Tensor:
    """Return ``−½ cos(p_a, z_b) − ½ cos(p_b, z_a)``, the mean over the rows of all ranks.

    Parameters
    ----------
    p_a, p_b : Tensor of shape (batch, projection_dim), float
        Predictions from the projections of two views.
    z_a, z_b : Tensor of shape (batch, projection_dim), float
        The projections; they get no gradient here.
    """
    with torch.autocast(p_a.device.type, enabled=False):
        return -(mean_cosine(p_a, z_b.detach()) + mean_cosine(p_b, z_a.detach())) / 2


@torch.no_grad()
def _spread(z: Tensor) -> dict[str, Tensor]:
    unit = unit_rows(z)
    mean, square = mean_over_rows(torch.stack([unit, unit.square()], 1))
    return {"std": (square - mean.square()).clamp(min=0).sqrt().mean() * z.shape[1] ** 0.5, "centre": mean.square().sum()}
