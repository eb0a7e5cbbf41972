"""TWIST: two views should fall into the same class, surely, and all classes should be used."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from molbt.nn.contrast import in_full_precision
from molbt.nn.global_rows import mean_over_rows
from molbt.objectives._momentum_networks import views_of
from molbt.objectives._predictors import OutputNorms
from molbt.objectives.base import (
    Objective,
    ObjectiveOutput,
    StepContext,
    Twin,
    Views,
    check_numbers,
    check_projections,
    detached,
    over_pairs,
)


class TWIST(Objective):
    """``L = ½ [KL(P_a‖P_b) + KL(P_b‖P_a)] + (1 + λ₁) ½ Σ_k mean_i H(S_k,i) − λ₂ ½ Σ_k H(mean_i S_k,i)``.

    Projections are logits: they pass a batch norm without scale and shift, then ``P = softmax(F)`` and ``S = softmax(F / τ)``. The last
    width of the projector is the number of classes; with n rows at most n can be used at a time, so take no more than 4 n. The norm is
    what keeps the logits from collapsing.

    Parameters
    ----------
    sharpness_weight : float
        1 + λ₁: how much single distributions should be sharp; 1 in the authors' ResNet runs, 0.4 with vision transformers.
    diversity_weight : float
        λ₂: how much their mean should be flat.
    temperature : float
        τ of the last two terms; the authors use 1.

    Notes
    -----
    Terms: ``loss`` is ``consistency`` plus ``sharpness`` minus ``diversity`` (weighted); ``classes``, the number of classes that are the
    likeliest of some row of the first view; ``row_std`` and ``column_std`` of the logits before the norm. All views of one encoder share a
    norm, whose statistics are those of the batch of all ranks: the authors take groups of 256 rows. Their second stage (self-labelling)
    and their slow teacher are not here.

    References
    ----------
    Wang et al., "Self-Supervised Learning by Estimating Twin Class Distributions", 2021, equations 1 to 4, https://arxiv.org/abs/2110.07402
    """

    def __init__(self, *, sharpness_weight: float = 1.0, diversity_weight: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        check_numbers("twist", least=0, sharpness_weight=sharpness_weight, diversity_weight=diversity_weight)
        check_numbers("twist", above=0, temperature=temperature)
        self.sharpness_weight = sharpness_weight
        self.diversity_weight = diversity_weight
        self.temperature = temperature

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        self.norms = OutputNorms(twin, views_of(pairs))

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        with torch.autocast(views.rows.device.type, enabled=False):
            raw = {view: in_full_precision(views.projection(view)) for view in views_of(context.pairs)}
            logits = {view: self.norms(projection, view) for view, projection in raw.items()}
            outputs = []
            for a, b in context.pairs:
                consistency, sharpness, diversity = twist_terms(logits[a], logits[b], temperature=self.temperature)
                sharpness, diversity = self.sharpness_weight * sharpness, self.diversity_weight * diversity
                loss = consistency + sharpness - diversity
                terms = {
                    "loss": loss,
                    "consistency": consistency,
                    "sharpness": sharpness,
                    "diversity": diversity,
                    **_use(raw[a], logits[a]),
                }
                outputs.append(ObjectiveOutput(loss, detached(terms)))
        return over_pairs(outputs, context)


def twist_terms(logits_a: Tensor, logits_b: Tensor, *, temperature: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Return the symmetric divergence, the mean entropy of rows and the entropy of the mean, each averaged over both views.

    Parameters
    ----------
    logits_a, logits_b : Tensor of shape (batch, classes), float
        Of this rank's rows.
    temperature : float
        Of the two entropies.

    Returns
    -------
    consistency, sharpness, diversity : scalar Tensor
        In nats; the same on every rank.

    Raises
    ------
    ShapeError
        If the logits are not matrices of one shape.
    """
    check_projections("twist", logits_a, logits_b)
    log_a, log_b = (nn.functional.log_softmax(logits, 1) for logits in (logits_a, logits_b))
    # KL(P_a‖P_b) + KL(P_b‖P_a) in one sum
    consistency = ((log_a.exp() - log_b.exp()) * (log_a - log_b)).sum(1) / 2
    sharpened = [nn.functional.log_softmax(logits / temperature, 1) for logits in (logits_a, logits_b)]
    entropies = [-(log.exp() * log).sum(1) for log in sharpened]
    consistency, sharpness = mean_over_rows(torch.stack([consistency, (entropies[0] + entropies[1]) / 2], 1))
    means = [mean_over_rows(log.exp()) for log in sharpened]
    mean = torch.stack(means)
    diversity = -(mean * mean.clamp(min=torch.finfo(mean.dtype).tiny).log()).sum() / 2
    return consistency, sharpness, diversity


@torch.no_grad()
def _use(raw: Tensor, logits: Tensor) -> dict[str, Tensor]:
    """Collapse of the logits before the norm, row by row and column by column, and how many classes are used."""
    likeliest = nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(raw.dtype)
    used = (mean_over_rows(likeliest) > 0).sum()
    moments = mean_over_rows(torch.stack([raw, raw.square()], 1))
    column_std = (moments[1] - moments[0].square()).clamp(min=0).sqrt().mean()
    return {"classes": used, "row_std": mean_over_rows(raw.std(1, unbiased=False)), "column_std": column_std}
