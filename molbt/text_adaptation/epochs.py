"""In which batches an epoch takes the texts: every text once, texts of like length together, functions of seed and epoch."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from molbt.draws import Draws, mix_words
from molbt.modalities._wordings import shuffled
from molbt.text_adaptation.masking import MaskedBatch, TokenMasker, Windows

_BATCHES_SORTED_TOGETHER = 50


class EpochBatches:
    """The batches of all epochs; any of them can be asked for first.

    Parameters
    ----------
    tokenizer
    texts : sequence of str
    batch_size, max_tokens, shuffle, seed
        See ``AdaptationConfig``.
    """

    def __init__(
        self,
        tokenizer: Any,
        texts: Sequence[str],
        *,
        batch_size: int,
        max_tokens: int,
        shuffle: Literal["none", "within", "across"],
        seed: int,
    ) -> None:
        self._tokenizer, self._texts = tokenizer, texts
        self._batch_size, self._max_tokens, self._shuffle, self._seed = batch_size, max_tokens, shuffle, seed
        self._masker = TokenMasker(tokenizer)
        self._epoch = -1

    def __len__(self) -> int:
        """Batches in an epoch; the last of the order may be smaller."""
        return -(-len(self._texts) // self._batch_size)

    def batch(self, epoch: int, position: int) -> MaskedBatch:
        """Return a batch. What it shows of a text is decided by seed, epoch and the text's place among the texts."""
        if epoch != self._epoch:
            self._read(epoch)
        rows = self._batches[position]
        return self._masker.mask(self._windows, self._window_of_text[rows], self._draws(rows))

    def _read(self, epoch: int) -> None:
        self._epoch = epoch
        texts = self._texts
        if self._shuffle != "none":
            texts = [shuffled(text, self._shuffle, mix_words(self._seed, "shuffle", epoch, row)) for row, text in enumerate(texts)]
        self._windows = Windows.of_texts(self._tokenizer, texts, self._max_tokens)
        self._window_of_text = self._windows.one_of_each_text(self._draws(np.arange(len(texts))))
        lengths = self._windows.lengths[self._window_of_text]
        self._batches = batches_of_like_length(lengths, self._batch_size, seed=mix_words(self._seed, "order", epoch))

    def _draws(self, rows: np.ndarray) -> Draws:
        return Draws.for_rows(torch.from_numpy(rows), seed=self._seed, epoch=self._epoch, view="text")


def batches_of_like_length(lengths: np.ndarray, batch_size: int, *, seed: int) -> list[np.ndarray]:
    """Divide rows into batches, in random order, sorted by length among the rows of every fifty batches.

    Parameters
    ----------
    lengths : ndarray of shape (rows,)
    batch_size : int
    seed : int

    Returns
    -------
    list of ndarray of int64
        Each row in one batch; one batch is smaller where the rows do not divide.
    """
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(lengths))
    together = batch_size * _BATCHES_SORTED_TOGETHER
    pools = [order[start : start + together] for start in range(0, len(order), together)]
    ordered = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
    batches = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
    return [batches[place] for place in draw.permutation(len(batches))]
