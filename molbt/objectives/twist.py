"""TWIST: two views should fall into the same class, surely, and all classes should be used."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from molbt.nn.collectives import gather_rows
from molbt.nn.contrast import in_full_precision
from molbt.nn.global_rows import mean_over_rows, own_positions
from molbt.objectives._momentum_networks import MomentumNetworks, rising_momentum, views_of
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
    self_labelling : float
        Share of the run, at its end, that is their second stage instead (0.06 in theirs: 50 of 850 epochs): of the rows whose surer view is
        among the surest ``labelled_share``, the likeliest class of that view is the label of the other, by cross-entropy.
    labelled_share, final_labelled_share : float
        At the start and end of that stage, by a half cosine in between.
    teacher_momentum : float, optional
        Compare each view with what a slow copy says of the other, which follows with this momentum, rising to 1, and gets no gradient; it
        also gives the labels. The authors do so with vision transformers (0.996).
    group_size : int, optional
        Rows that share the statistics of the norm before the softmax; 256 in the authors' code. By default the whole batch.

    Notes
    -----
    Terms: ``loss`` is ``consistency`` plus ``sharpness`` minus ``diversity`` (weighted), and in the second stage ``labelling``;
    ``labelled``, the share of rows that have a label; ``classes``, the number of classes that are the likeliest of some row of the first
    view; ``row_std`` and ``column_std`` of the logits before the norm. All views of one encoder share a norm. The authors take the surest
    rows on each device; here they are those of the batch of all ranks. Their second stage is a run of its own with a lower learning rate;
    here the rate is that of the run's schedule, which has fallen by then.

    References
    ----------
    Wang et al., "Self-Supervised Learning by Estimating Twin Class Distributions", 2021, equations 1 to 4 and section 3.4,
    https://arxiv.org/abs/2110.07402
    """

    def __init__(
        self,
        *,
        sharpness_weight: float = 1.0,
        diversity_weight: float = 1.0,
        temperature: float = 1.0,
        self_labelling: float = 0.0,
        labelled_share: float = 0.5,
        final_labelled_share: float = 0.6,
        teacher_momentum: float | None = None,
        group_size: int | None = None,
    ) -> None:
        super().__init__()
        check_numbers("twist", least=0, sharpness_weight=sharpness_weight, diversity_weight=diversity_weight)
        check_numbers("twist", above=0, temperature=temperature)
        check_numbers("twist", least=0, most=1, self_labelling=self_labelling)
        check_numbers("twist", above=0, most=1, labelled_share=labelled_share, final_labelled_share=final_labelled_share)
        if teacher_momentum is not None:
            check_numbers("twist", least=0, most=1, teacher_momentum=teacher_momentum)
        if group_size is not None:
            check_numbers("twist", least=2, group_size=group_size)
        self.sharpness_weight = sharpness_weight
        self.diversity_weight = diversity_weight
        self.temperature = temperature
        self.self_labelling = self_labelling
        self.labelled_share, self.final_labelled_share = labelled_share, final_labelled_share
        self.teacher_momentum = teacher_momentum
        self.group_size = group_size

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        views = views_of(pairs)
        self.norms = OutputNorms(twin, views)
        if self.teacher_momentum is not None:
            self.teachers, self.teacher_norms = MomentumNetworks(twin, views), OutputNorms(twin, views)

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        raw = {view: views.projection(view) for view in views_of(context.pairs)}
        said = {} if self.teacher_momentum is None else self.teachers.projections(views, list(raw))
        with torch.autocast(views.rows.device.type, enabled=False):
            raw = {view: in_full_precision(projection) for view, projection in raw.items()}
            logits = {view: self._normalised(self.norms, projection, view) for view, projection in raw.items()}
            taught = {view: self._normalised(self.teacher_norms, in_full_precision(z), view) for view, z in said.items()} or logits
            outputs = []
            for a, b in context.pairs:
                consistency, sharpness, diversity = twist_terms(logits[a], logits[b], temperature=self.temperature)
                if self.teacher_momentum is not None:
                    consistency = taught_consistency(logits[a], logits[b], taught[a], taught[b])
                sharpness, diversity = self.sharpness_weight * sharpness, self.diversity_weight * diversity
                loss = consistency + sharpness - diversity
                labelling = labelled = torch.zeros((), device=loss.device)
                if context.progress >= 1 - self.self_labelling:
                    loss, labelled = self_labelling_loss(logits[a], logits[b], taught[a], taught[b], share=self._share(context.progress))
                    labelling = loss
                terms = {
                    "loss": loss,
                    "consistency": consistency,
                    "sharpness": sharpness,
                    "diversity": diversity,
                    "labelling": labelling,
                    "labelled": labelled,
                    **_use(raw[a], logits[a]),
                }
                outputs.append(ObjectiveOutput(loss, detached(terms)))
        return over_pairs(outputs, context)

    def after_step(self, twin: Twin, progress: float) -> None:
        if self.teacher_momentum is not None:
            self.teachers.follow(twin, rising_momentum(self.teacher_momentum, progress))

    def _normalised(self, norms: OutputNorms, projection: Tensor, view: str) -> Tensor:
        return norms(projection, view) if self.group_size is None else standardised_in_groups(projection, self.group_size)

    def _share(self, progress: float) -> float:
        done = (progress - (1 - self.self_labelling)) / self.self_labelling
        return self.final_labelled_share + (self.labelled_share - self.final_labelled_share) * (math.cos(math.pi * done) + 1) / 2


def standardised_in_groups(rows: Tensor, size: int, *, eps: float = 1e-5) -> Tensor:
    """Return this rank's rows, each column standardised (biased variance) within groups of about ``size`` rows of the global batch.

    Parameters
    ----------
    rows : Tensor of shape (batch, width), float
    size : int
        The batch is cut into as many equal groups as it holds this many rows, and at least one; groups may reach over ranks.
    """
    everyone = gather_rows(rows)
    groups = everyone.tensor_split(max(1, len(everyone) // size))
    standardised = [(group - group.mean(0)) * torch.rsqrt(group.var(0, unbiased=False) + eps) for group in groups]
    return torch.cat(standardised)[own_positions(rows)]


def taught_consistency(logits_a: Tensor, logits_b: Tensor, taught_a: Tensor, taught_b: Tensor) -> Tensor:
    """Return ``½ [KL(T_a‖P_b) + KL(T_b‖P_a)]``, the mean over the rows of all ranks; the teacher's logits get no gradient."""
    log_a, log_b = (nn.functional.log_softmax(logits, 1) for logits in (logits_a, logits_b))
    teacher_a, teacher_b = (nn.functional.log_softmax(logits.detach(), 1) for logits in (taught_a, taught_b))
    return mean_over_rows((teacher_a.exp() * (teacher_a - log_b) + teacher_b.exp() * (teacher_b - log_a)).sum(1)) / 2


def self_labelling_loss(logits_a: Tensor, logits_b: Tensor, taught_a: Tensor, taught_b: Tensor, *, share: float) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of the less sure views with the likeliest classes of the surer ones, and the share of labelled rows.

    Parameters
    ----------
    logits_a, logits_b : Tensor of shape (batch, classes), float
        Of this rank's rows.
    taught_a, taught_b : Tensor of shape (batch, classes), float
        What decides confidence and labels: the same, or a teacher's. They get no gradient.
    share : float
        Of the rows of all ranks that get a label: those above the confidence of the first row that does not.

    Returns
    -------
    loss, labelled : scalar Tensor
        The mean over the labelled rows of all ranks, 0 where there are none; and their share.
    """
    check_projections("twist", logits_a, logits_b)
    with torch.no_grad():
        confidences, classes = torch.stack([nn.functional.softmax(taught, 1) for taught in (taught_a, taught_b)]).max(2)
        surest, first_is_surer = confidences.amax(0), confidences[0] > confidences[1]
        labels = torch.where(first_is_surer, classes[0], classes[1])
        ranked = gather_rows(surest).sort(descending=True).values
        chosen = (surest > ranked[min(int(share * len(ranked)), len(ranked) - 1)]).to(logits_a.dtype)
    learner = torch.where(first_is_surer[:, None], logits_b, logits_a)
    losses = nn.functional.cross_entropy(learner, labels, reduction="none")
    loss, labelled = mean_over_rows(torch.stack([losses * chosen, chosen], 1))
    return loss / labelled.clamp(min=torch.finfo(loss.dtype).tiny), labelled


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
