"""A temperature for each pair of projections, learned, and losses that divide by it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from molbt.nn.collectives import sum_over_ranks
from molbt.nn.contrast import in_full_precision, unit_rows
from molbt.nn.global_rows import mean_over_rows
from molbt.objectives.barlow_twins import standardised

N_STATISTICS = 4


class PairTemperature(nn.Module):
    """``τ = lowest + (highest − lowest) · sigmoid(φ([x, y]))``, with φ a network of one hidden layer.

    Parameters
    ----------
    width : int
        Of either input.
    lowest, highest : float
        Bounds of τ; equal ones make it a constant.
    hidden : int
    """

    def __init__(self, width: int, *, lowest: float, highest: float, hidden: int = 128) -> None:
        super().__init__()
        self.lowest = lowest
        self.highest = highest
        # One layer over [x, y], as a sum of one over x and one over y: a grid of pairs then shares them.
        self.of_first = nn.Linear(width, hidden)
        self.of_second = nn.Linear(width, hidden, bias=False)
        self.last = nn.Linear(hidden, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the temperatures of pairs: inputs ``(..., width)`` that broadcast, output ``(...)``."""
        score = self.last((self.of_first(first) + self.of_second(second)).relu())[..., 0]
        return self.lowest + (self.highest - self.lowest) * score.sigmoid()


class AdaptiveLoss(NamedTuple):
    """A loss and what is watched of it: means over the rows (or columns) of all ranks.

    Attributes
    ----------
    loss, positive, negative : scalar Tensor
        The loss, and the mean temperatures of positive and negative pairs (0 where there are none).
    """

    loss: Tensor
    positive: Tensor
    negative: Tensor


def temperature_cost(temperature: Tensor, width: int) -> Tensor:
    """Return ``Ω(τ) = (width / 2) log τ + 1 / τ``, smallest at ``τ = 2 / width``; ``(...)`` as the temperatures."""
    return width / 2 * temperature.log() + 1 / temperature


def adaptive_contrast(
    anchors: Tensor,
    partners: Tensor,
    candidates: Tensor,
    excluded: Tensor,
    temperature: PairTemperature,
    *,
    cost_weight: float,
    hardest: bool,
) -> AdaptiveLoss:
    """Return ``−s⁺/τ⁺ + n + β [Ω(τ⁺) − Ω(τ⁻)]``, the mean over the rows of all ranks.

    ``n`` is ``s⁻/τ⁻`` of the negative with the largest cosine, or ``log Σ exp(s/τ)`` over the positive and all negatives, with the mean
    cost of the negatives. An anchor without negatives has the first term alone (and ``n`` of its positive in the second form).

    Parameters
    ----------
    anchors, partners : Tensor of shape (batch, width), float
        Made of unit length here.
    candidates : Tensor of shape (n, width), float
        Of all ranks, or a queue; the partner's own row is excluded.
    excluded : Tensor of shape (batch, n), bool
        Candidates that are no negatives of an anchor.
    temperature : PairTemperature
    cost_weight : float
        β.
    hardest : bool
        With False temperatures of the whole grid are made: ``batch × n × hidden`` numbers.
    """
    anchors, partners, candidates = unit_rows(anchors), unit_rows(partners), unit_rows(candidates)
    width = anchors.shape[1]
    positive = temperature(anchors, partners)
    attraction = (anchors * partners).sum(1) / positive
    cosine = anchors @ candidates.T
    if hardest:
        largest, places = cosine.masked_fill(excluded, -torch.inf).max(1)
        there_is = largest > -torch.inf
        negative = temperature(anchors, candidates[places])
        repulsion = torch.where(there_is, largest, 0) / negative
        cost = torch.where(there_is, temperature_cost(negative, width), 0)
        watched = torch.where(there_is, negative, 0)
    else:
        grid = temperature(anchors[:, None], candidates[None])
        logits = (cosine / grid).masked_fill(excluded, -torch.inf)
        repulsion = torch.logsumexp(torch.cat([attraction[:, None], logits], 1), 1)
        share = (~excluded).to(grid.dtype) / (~excluded).sum(1, keepdim=True).clamp(min=1)
        cost, watched = (temperature_cost(grid, width) * share).sum(1), (grid * share).sum(1)
    losses = repulsion - attraction + cost_weight * (temperature_cost(positive, width) - cost)
    return AdaptiveLoss(*mean_over_rows(torch.stack([losses, positive, watched], 1)))


def adaptive_siamese(prediction: Tensor, target: Tensor, temperature: PairTemperature, *, cost_weight: float) -> AdaptiveLoss:
    """Return ``−cos(p, t)/(2 τ) + β Ω(τ)``, the mean over the rows of all ranks; ``(batch, width)`` each, the target without gradient."""
    prediction, target = unit_rows(prediction), unit_rows(target.detach())
    tau = temperature(prediction, target)
    losses = -(prediction * target).sum(1) / (2 * tau) + cost_weight * temperature_cost(tau, prediction.shape[1])
    return AdaptiveLoss(*mean_over_rows(torch.stack([losses, tau, torch.zeros_like(tau)], 1)))


def adaptive_barlow_twins(z_a: Tensor, z_b: Tensor, temperature: PairTemperature, *, cost_weight: float, lambda_: float) -> AdaptiveLoss:
    """Return ``Σ_l (1 − C_ll/τ_ll)² + β Ω(τ_ll) + λ Σ_{l≠m} C_lm²/τ_lm − β Ω(τ_lm)`` over the rows of all ranks.

    The pair of a temperature is one of columns: φ sees ``column_statistics`` of both.

    Parameters
    ----------
    z_a, z_b : Tensor of shape (batch, width), float
    temperature : PairTemperature
        Of inputs ``N_STATISTICS`` wide.
    cost_weight, lambda_ : float
        β and λ.
    """
    a, b = (standardised(z, "official", scale=1.0)[0] for z in (z_a, z_b))
    n_rows = sum_over_ranks(a.new_tensor(float(len(a))))
    c = sum_over_ranks(a.T @ b / n_rows)
    tau = temperature(column_statistics(z_a, a)[:, None], column_statistics(z_b, b)[None])
    width = len(c)
    on = torch.eye(width, dtype=torch.bool, device=c.device)
    cost = cost_weight * temperature_cost(tau, width)
    terms = torch.where(on, (1 - c / tau).square() + cost, lambda_ * (c.square() / tau - cost))
    positive, total = tau.diagonal().mean(), tau.sum()
    return AdaptiveLoss(terms.sum(), positive, (total - width * positive) / max(1, width * (width - 1)))


@torch.no_grad()
def column_statistics(z: Tensor, standardised_z: Tensor) -> Tensor:
    """Return what tells columns apart: log deviation, mean absolute value, skewness and excess kurtosis; ``(width, 4)``, bounded to ±5."""
    z, x = in_full_precision(z), standardised_z
    moments = mean_over_rows(torch.stack([z, z.square(), x.abs(), x**3, x**4], 1))
    deviation = (moments[1] - moments[0].square()).clamp(min=1e-12).sqrt()
    return torch.stack([deviation.log(), moments[2], moments[3], moments[4] - 3], 1).clamp(-5, 5)
