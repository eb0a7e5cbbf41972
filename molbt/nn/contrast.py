"""Cosines of rows, and the contrastive loss over them."""

import torch
from torch import Tensor, nn

from molbt.nn.global_rows import mean_over_rows

_EPS = 1e-8


def in_full_precision(values: Tensor) -> Tensor:
    """Return float32 for half precision; float32 and float64 stay."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def unit_rows(values: Tensor) -> Tensor:
    """Return the rows at Euclidean length 1, at least in float32; a row shorter than 1e-8 stays shorter than 1."""
    return nn.functional.normalize(in_full_precision(values), dim=1, eps=_EPS)


def mean_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean over the rows of all ranks of the cosine between two rows."""
    return mean_over_rows((unit_rows(a) * unit_rows(b)).sum(1))


def info_nce(anchors: Tensor, candidates: Tensor, positives: Tensor, *, temperature: float | Tensor, excluded: Tensor) -> Tensor:
    """Return InfoNCE of each anchor: ``−log exp(s_ip / τ) / Σ_k exp(s_ik / τ)``, where s are the products of rows.

    Parameters
    ----------
    anchors : Tensor of shape (batch, width), float
        Rows of length 1.
    candidates : Tensor of shape (n, width), float
        Rows of length 1, in general of all ranks.
    positives : Tensor of shape (batch,), int64
        The candidate that belongs to each anchor.
    temperature : float or scalar Tensor
        τ, above 0. By log-sum-exp, so a tiny one does not overflow.
    excluded : Tensor of shape (batch, n), bool
        Candidates that are neither positive nor negative: the anchor itself, other rows of the same molecule. The positive is kept.

    Returns
    -------
    Tensor of shape (batch,)
    """
    logits = anchors @ candidates.T / temperature
    positive = logits.gather(1, positives[:, None])
    is_positive = torch.zeros_like(excluded).scatter_(1, positives[:, None], True)
    logits = logits.masked_fill(excluded & ~is_positive, -torch.inf)
    return torch.logsumexp(logits, dim=1) - positive[:, 0]
