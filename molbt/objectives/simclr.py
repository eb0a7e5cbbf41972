"""SimCLR: a projection should be nearer to its partner than to any other of the batch."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from molbt.errors import ConfigError, suggestion
from molbt.nn.collectives import gather_rows
from molbt.nn.contrast import info_nce, mean_cosine, unit_rows
from molbt.nn.global_rows import mean_over_rows, own_positions
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

NEGATIVES = ("auto", "all", "other_view")
LARGEST_SCALE = 100.0
"""Bound of a learned 1/τ, as in CLIP."""


class SimCLR(Objective):
    """NT-Xent: ``ℓ_i = −log exp(s_ip / τ) / Σ_{k≠i} exp(s_ik / τ)``, the mean over the 2 n projections of both views.

    ``s`` are cosines and p is the anchor's other view. With two encoders the sum runs over the other view alone, which is CLIP's loss
    ``½ [NCE(A, B) + NCE(B, A)]``. Rows of the same molecule (or text) as the anchor are neither positives nor negatives.

    Parameters
    ----------
    temperature : float
        τ; 0.1 on ImageNet, 0.5 on CIFAR-10 in the authors' runs: it depends on the data.
    learn_temperature : bool
        Train 1/τ, at most 100, from the given start.
    negatives : {"auto", "all", "other_view"}
        ``all`` takes projections of both views as negatives, ``other_view`` those of the anchor's partner's view; ``auto`` takes all where
        the views share an encoder.
    hard_negatives : str, optional
        A further view whose projections are negatives of every anchor: a column of molecules that are like the row's, and not the same.

    Notes
    -----
    Terms: ``loss``; ``alignment``, the mean cosine of the two views of a row; ``temperature``. The authors' code returns twice this loss.

    References
    ----------
    Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, equation 1,
    https://arxiv.org/abs/2002.05709; Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021,
    figure 3
    """

    def __init__(
        self, *, temperature: float = 0.1, learn_temperature: bool = False, negatives: str = "auto", hard_negatives: str | None = None
    ) -> None:
        super().__init__()
        check_numbers("simclr", above=0, temperature=temperature)
        if negatives not in NEGATIVES:
            raise ConfigError(f"simclr: unknown negatives {negatives!r}{suggestion(negatives, NEGATIVES)}")
        self.negatives = negatives
        self.hard_negatives = hard_negatives
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learn_temperature)

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        if self.hard_negatives is not None:
            twin.encoder_key(self.hard_negatives)  # refuses a view that there is not, naming those there are

    @property
    def temperature(self) -> Tensor:
        # Only a learned scale is bounded: a temperature that was asked for is kept.
        bound = math.log(LARGEST_SCALE) if self.log_scale.requires_grad else math.inf
        return torch.exp(-self.log_scale.clamp(max=bound))

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        hard = None if self.hard_negatives is None else views.projection(self.hard_negatives)
        outputs = []
        for a, b in context.pairs:
            shared = twin.encoder_key(a) == twin.encoder_key(b)
            z_a, z_b = views.projection(a), views.projection(b)
            within_views = shared if self.negatives == "auto" else self.negatives == "all"
            with torch.autocast(z_a.device.type, enabled=False):
                loss = nt_xent(
                    z_a, z_b, temperature=self.temperature, within_views=within_views, repeats=context.repeats(a, b), hard_negatives=hard
                )
                alignment = mean_cosine(z_a, z_b)
            outputs.append(ObjectiveOutput(loss, detached({"loss": loss, "alignment": alignment, "temperature": self.temperature})))
        return over_pairs(outputs, context)


def nt_xent(
    z_a: Tensor,
    z_b: Tensor,
    *,
    temperature: float | Tensor,
    within_views: bool = True,
    repeats: Tensor | None = None,
    hard_negatives: Tensor | None = None,
) -> Tensor:
    """Return the mean InfoNCE of both views' projections as anchors, over the rows of all ranks.

    Parameters
    ----------
    z_a, z_b : Tensor of shape (batch, projection_dim), float
    temperature : float or scalar Tensor
    within_views : bool
        Whether projections of the anchor's own view are negatives too.
    repeats : Tensor of shape (batch, rows of all ranks), bool, optional
        Rows that are no negatives of an anchor, itself among them; by default itself alone.
    hard_negatives : Tensor of shape (batch, projection_dim), float, optional
        Further negatives of every anchor.

    Returns
    -------
    scalar Tensor
        The same on every rank. With a single row and no hard negatives it is 0.

    Raises
    ------
    ShapeError
        If the projections are not matrices of one shape.
    """
    check_projections("simclr", z_a, z_b)
    a, b = unit_rows(z_a), unit_rows(z_b)
    all_a, all_b = gather_rows(a), gather_rows(b)
    own, n_rows = own_positions(a), len(all_a)
    if repeats is None:
        repeats = own[:, None] == torch.arange(n_rows, device=own.device)
    hard = a.new_zeros(0, a.shape[1]) if hard_negatives is None else gather_rows(unit_rows(hard_negatives))
    never = repeats.new_zeros(len(own), len(hard))
    losses = []
    for anchors, partners, others in ((a, all_b, all_a), (b, all_a, all_b)):
        candidates = [partners, others, hard] if within_views else [partners, hard]
        excluded = [repeats, repeats, never] if within_views else [repeats, never]
        losses.append(info_nce(anchors, torch.cat(candidates), own, temperature=temperature, excluded=torch.cat(excluded, 1)))
    return mean_over_rows((losses[0] + losses[1]) / 2)
