"""Is the representation alive? Numbers on a fixed probe batch, in evaluation mode.

References
----------
Garrido et al., "RankMe: Assessing the downstream performance of pretrained self-supervised representations by their rank", ICML 2023,
equation 1 (effective rank); Chen and He, "Exploring simple Siamese representation learning", CVPR 2021, section 4.1 (std of normalised
projections); Zhang et al., "How does SimSiam avoid collapse without negative samples?", ICLR 2022 (centre and residual).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from molbt.model.twin_model import TwinModel

_EPS = 1e-5


def normalised_std(values: Tensor) -> float:
    """Return the mean over columns of the standard deviation of the L2-normalised rows of ``(n, d)``, times √d.

    1 means isotropic, 0 means collapsed to a point.
    """
    rows = torch.nn.functional.normalize(values.double(), dim=1)
    return float(rows.std(dim=0, unbiased=False).mean()) * math.sqrt(values.shape[1])


def centre_share(values: Tensor) -> float:
    """Return the squared length of the mean of the L2-normalised rows of ``(n, d)``.

    Unit rows are their mean, the centre, and what is left of each, the residual; the mean squared length of the residuals is 1 minus this.
    Near 0 the rows point everywhere, at 1 they are one point.
    """
    rows = torch.nn.functional.normalize(values.double(), dim=1)
    return float(rows.mean(dim=0).square().sum())


def singular_values(values: Tensor) -> Tensor:
    """Return the singular values of the centred ``(n, d)``, descending, float64."""
    centred = values.double() - values.double().mean(dim=0)
    return torch.linalg.svdvals(centred.cpu())


def effective_rank(spectrum: Tensor) -> float:
    """Return exp(entropy) of singular values normalised to sum 1: between 1 and their number; 0 where all are zero."""
    total = spectrum.sum()
    if not total > 0:
        return 0.0
    shares = spectrum / total
    return float(torch.exp(torch.special.entr(shares).sum()))


def cross_correlation(z_a: Tensor, z_b: Tensor) -> dict[str, float]:
    """Return the mean diagonal and the rms off-diagonal of the cross-correlation matrix, and the number of dead columns."""
    n, d = z_a.shape
    a, b = (_standardise(z.double()) for z in (z_a, z_b))
    diagonal = (a * b).mean(dim=0)
    correlation = a.T @ b / n
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    dead = sum(int((z.double().var(dim=0, unbiased=False) < 1e-12).sum()) for z in (z_a, z_b))
    return {
        "mean_diagonal": float(diagonal.mean()),
        "rms_off_diagonal": math.sqrt(max(0.0, float(off_diagonal)) / max(1, d * (d - 1))),
        "dead_columns": float(dead),
    }


def _standardise(z: Tensor) -> Tensor:
    return (z - z.mean(dim=0)) * torch.rsqrt(z.var(dim=0, unbiased=False) + _EPS)


def probe_twin(
    twin: TwinModel, batches: Mapping[str, Any], pairs: Sequence[tuple[str, str]]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return diagnostics of a probe batch by name, and the spectra (singular values, descending) of embeddings and projections.

    The twin is put into evaluation mode and back; nothing of it changes.
    """
    training = twin.training
    twin.eval()
    numbers: dict[str, float] = {}
    spectra: dict[str, list[float]] = {}
    with torch.inference_mode():
        embeddings = {view: twin.encode(view, batch).float() for view, batch in batches.items()}
        projections = {view: twin.project(view, embedding).float() for view, embedding in embeddings.items()}
    twin.train(training)
    for view in batches:
        for kind, values in (("embedding", embeddings[view]), ("projection", projections[view])):
            spectrum = singular_values(values)
            spectra[f"{kind}.{view}"] = spectrum.tolist()
            numbers[f"{kind}_std.{view}"] = normalised_std(values)
            numbers[f"{kind}_centre.{view}"] = centre_share(values)
            numbers[f"{kind}_rank.{view}"] = effective_rank(spectrum)
    for a, b in pairs:
        numbers |= {f"{name}.{a}-{b}": value for name, value in cross_correlation(projections[a], projections[b]).items()}
    return numbers, spectra


def collapse_reason(numbers: Mapping[str, float]) -> str:
    """Return why a probe looks collapsed, or ``""``: rows that are all but equal, or a rank below 2."""
    for name, value in numbers.items():
        if "_std." in name and not value > 0.05:
            return f"{name} is {value:.3g} (healthy: near 1; below 0.05 the rows are all but equal)"
        if "_rank." in name and not value >= 2.0:
            return f"{name} is {value:.3g} (an effective rank below 2 carries one number per molecule)"
    return ""
