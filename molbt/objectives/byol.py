"""BYOL: what a network predicts of one view should be what its slow copy says of the other."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from molbt.nn.contrast import mean_cosine
from molbt.objectives._momentum_networks import MomentumNetworks, rising_momentum, views_of
from molbt.objectives._predictors import Predictors
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Twin, Views, check_numbers, detached, over_pairs


class BYOL(Objective):
    """``L = mean_i ‖l(p_a) − l(t_b)‖² + ‖l(p_b) − l(t_a)‖² = 4 − 2 (cos(p_a, t_b) + cos(p_b, t_a))``.

    ``l`` divides a row by its length, ``p`` are predictions from the projections, and ``t`` projections of copies of encoder and
    projector that follow them with momentum, without gradient. With two encoders each has its copy, and each direction its predictor.

    Parameters
    ----------
    momentum : float
        At the start; it rises to 1 over the run along a half cosine. The paper has 0.996 for 1000 epochs, 0.99 for 100 to 300, 0.97 for 40.
    hidden : int
        Width of the predictor's hidden layer; 4096 in the paper.

    Notes
    -----
    Terms: ``loss``, between 0 and 8; ``cosine``, the mean of both; ``momentum``. The copies follow after each step of the optimiser;
    see ``MomentumNetworks`` for what of them follows. The predictor's first layer has no bias: the norm behind it would remove it.

    References
    ----------
    Grill et al., "Bootstrap your own latent: A new approach to self-supervised learning", NeurIPS 2020, equation 2,
    https://arxiv.org/abs/2006.07733
    """

    def __init__(self, *, momentum: float = 0.99, hidden: int = 1024) -> None:
        super().__init__()
        check_numbers("byol", least=0, most=1, momentum=momentum)
        check_numbers("byol", least=1, hidden=hidden)
        self.momentum = momentum
        self.hidden = hidden

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        self.predictors = Predictors(twin, pairs, hidden=self.hidden, bias=False)
        self.targets = MomentumNetworks(twin, views_of(pairs))

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        targets = self.targets.projections(views, views_of(context.pairs))
        momentum = torch.tensor(rising_momentum(self.momentum, context.progress), device=views.rows.device)
        outputs = []
        for a, b in context.pairs:
            p_a, p_b = self.predictors(views.projection(a), a, b), self.predictors(views.projection(b), b, a)
            loss = byol_loss(p_a, p_b, targets[a], targets[b])
            outputs.append(ObjectiveOutput(loss, detached({"loss": loss, "cosine": 1 - loss / 4, "momentum": momentum})))
        return over_pairs(outputs, context)

    def after_step(self, twin: Twin, progress: float) -> None:
        self.targets.follow(twin, rising_momentum(self.momentum, progress))


def byol_loss(p_a: Tensor, p_b: Tensor, t_a: Tensor, t_b: Tensor) -> Tensor:
    """Return ``4 − 2 (cos(p_a, t_b) + cos(p_b, t_a))``, the mean over the rows of all ranks.

    Parameters
    ----------
    p_a, p_b : Tensor of shape (batch, projection_dim), float
        Predictions from the projections of two views.
    t_a, t_b : Tensor of shape (batch, projection_dim), float
        Targets of the two views; they get no gradient.
    """
    with torch.autocast(p_a.device.type, enabled=False):
        return 4 - 2 * (mean_cosine(p_a, t_b.detach()) + mean_cosine(p_b, t_a.detach()))
