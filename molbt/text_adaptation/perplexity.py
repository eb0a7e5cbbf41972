"""How well masked tokens of held-out texts are predicted: the same tokens at every measurement."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from molbt.draws import Draws, mix_words
from molbt.text_adaptation.masking import MaskedBatch, TokenMasker, Windows

_ROUNDS = 4
_MOST_TEXTS = 2_000
_WINDOWS_PER_BATCH = 32

Progress = Callable[[int, int], None]


class HeldOutTokens:
    """Masked tokens of held-out texts: of each window ``_ROUNDS`` times, of 2,000 texts at most, as the seed decides.

    Parameters
    ----------
    tokenizer
    texts : sequence of str
    groups : sequence of int
        Texts that belong together, for the intervals.
    max_tokens, seed : int
    """

    def __init__(self, tokenizer: Any, texts: Sequence[str], groups: Sequence[int], *, max_tokens: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(mix_words(seed, "held-out texts"))
        taken = torch.randperm(len(texts), generator=draw)[:_MOST_TEXTS].sort().values.tolist()
        _, self._group_of_text = np.unique([groups[place] for place in taken], return_inverse=True)
        self.n_texts, self.n_groups = len(taken), int(self._group_of_text.max()) + 1
        self._windows = Windows.of_texts(tokenizer, [texts[place] for place in taken], max_tokens)
        self._masker = TokenMasker(tokenizer)
        self._seed = seed
        self.tokens_of_group = self._sums(lambda batch: torch.ones(len(batch.targets)))

    @property
    def n_tokens(self) -> int:
        return int(self.tokens_of_group.sum())

    def losses(self, losses_of: Callable[[MaskedBatch], Tensor], progress: Progress | None = None) -> np.ndarray:
        """Return the summed −log p of each group's tokens: ``(groups,)`` float64.

        ``losses_of(batch)`` gives those of the batch's targets.
        """
        with torch.inference_mode():
            return self._sums(losses_of, progress)

    def _sums(self, losses_of: Callable[[MaskedBatch], Tensor], progress: Progress | None = None) -> np.ndarray:
        sums = np.zeros(self.n_groups)
        order = np.argsort(-self._windows.lengths, kind="stable")
        starts = range(0, len(order), _WINDOWS_PER_BATCH)
        for round_number in range(_ROUNDS):
            for number, start in enumerate(starts):
                chosen = order[start : start + _WINDOWS_PER_BATCH]
                draws = Draws.for_rows(torch.from_numpy(chosen), seed=self._seed, epoch=round_number, view="held out")
                batch = self._masker.mask(self._windows, chosen, draws)
                losses = losses_of(batch).double().cpu().numpy()
                group = self._group_of_text[self._windows.text[chosen]][batch.predicted.nonzero()[:, 0].numpy()]
                sums += np.bincount(group, losses, minlength=self.n_groups)
                if progress is not None:
                    progress(round_number * len(starts) + number + 1, _ROUNDS * len(starts))
        return sums


def perplexity(losses: np.ndarray, tokens: np.ndarray) -> float:
    """Return exp of the mean −log p over tokens, from sums and numbers per group; infinite where it is beyond a float."""
    mean = float(losses.sum() / tokens.sum())
    return math.exp(mean) if mean < 700 else math.inf


def perplexity_ratio(losses: np.ndarray, reference: np.ndarray, tokens: np.ndarray) -> dict[str, float]:
    """Return a perplexity over that of a reference on the same tokens, with its 95 % interval over groups of texts.

    Parameters
    ----------
    losses, reference, tokens : ndarray of shape (groups,)

    Returns
    -------
    dict
        ``ratio``, ``ci_low``, ``ci_high``. The interval is NaN for a single group.

    Notes
    -----
    The mean difference per token is a ratio of sums over groups; its standard error is the linearised one (Cochran, "Sampling
    Techniques", 1977, section 6.3).
    """
    n = len(tokens)
    difference = losses - reference
    mean = difference.sum() / tokens.sum()
    residual = difference - mean * tokens
    error = math.sqrt(n / (n - 1) * (residual**2).sum()) / tokens.sum() if n > 1 else math.nan
    return {name: math.exp(min(mean + shift * error, 700)) for name, shift in (("ratio", 0.0), ("ci_low", -1.96), ("ci_high", 1.96))}


def unigram_losses(counts: Tensor) -> Tensor:
    """Return −log p of each token by its share of the training tokens, one added to each count: the control that reads no context.

    Parameters
    ----------
    counts : Tensor of shape (vocabulary,), integer
    """
    shares = (counts + 1).double()
    return -(shares / shares.sum()).log()
