"""Masked tokens: windows of texts as flat token ids, which of them are masked, and padded batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from molbt.draws import Draws

SHARE = 0.15
"""Of the tokens that are predicted. 80 % of them are shown as the mask, 10 % as a random token, 10 % as they are."""


@dataclass(frozen=True)
class Windows:
    """Windows of token ids, one behind the other.

    Attributes
    ----------
    ids : Tensor of shape (items,), int64
    is_special : Tensor of shape (items,), bool
        Tokens that the tokenizer has added; they are never masked.
    offsets : ndarray of shape (windows + 1,), int64
    text : ndarray of shape (windows,), int64
        Number of the text that the window is of.
    """

    ids: Tensor
    is_special: Tensor
    offsets: np.ndarray
    text: np.ndarray

    @classmethod
    def of_texts(cls, tokenizer: Any, texts: Sequence[str], max_tokens: int) -> "Windows":
        """Return all windows of texts."""
        found = tokenizer(
            list(texts), truncation=True, max_length=max_tokens, return_overflowing_tokens=True, return_special_tokens_mask=True
        )
        lengths = [len(window) for window in found["input_ids"]]
        return cls(
            torch.tensor([token for window in found["input_ids"] for token in window], dtype=torch.int64),
            torch.tensor([mark for window in found["special_tokens_mask"] for mark in window], dtype=torch.bool),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.asarray(found["overflow_to_sample_mapping"], dtype=np.int64),
        )

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def one_of_each_text(self, draws: Draws) -> np.ndarray:
        """Return the number of one window of each text, drawn at random, in the order of the texts."""
        first = np.flatnonzero(np.diff(self.text, prepend=-1))
        count = np.diff(np.append(first, len(self.text)))
        return first + (draws.stream("window").uniform().double().numpy() * count).astype(np.int64)


@dataclass(frozen=True)
class MaskedBatch:
    """Some windows, padded at the end.

    Attributes
    ----------
    tokens, attention : Tensor of shape (windows, longest), int64
        Token ids with the masks in place, and 1 where there is a token.
    predicted : Tensor of shape (windows, longest), bool
    targets : Tensor of shape (predicted tokens,), int64
        The true tokens, window by window.
    """

    tokens: Tensor
    attention: Tensor
    predicted: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> "MaskedBatch":
        return MaskedBatch(*(tensor.to(device) for tensor in (self.tokens, self.attention, self.predicted, self.targets)))


class TokenMasker:
    """Masks tokens of a tokenizer's vocabulary.

    Parameters
    ----------
    tokenizer
        One with a mask token.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._mask = int(tokenizer.mask_token_id)
        self._padding = int(tokenizer.pad_token_id or 0)
        self._special = set(tokenizer.all_special_ids)
        self._vocabulary_size = len(tokenizer)

    @cached_property
    def _ordinary(self) -> Tensor:
        """The tokens that may stand in for another one."""
        return torch.tensor([token for token in range(self._vocabulary_size) if token not in self._special])

    def mask(self, windows: Windows, chosen: np.ndarray, draws: Draws) -> MaskedBatch:
        """Return a batch of the chosen windows, masked by the draws of each: one key per chosen window.

        A window of which the draws would mask nothing has its likeliest token masked, so that each text counts.
        """
        lengths = torch.from_numpy(windows.lengths[chosen])
        attention = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        row, slot = attention.nonzero(as_tuple=True)
        items = torch.from_numpy(windows.offsets[chosen])[row] + slot
        true, can_be_masked = windows.ids[items], ~windows.is_special[items]

        drawn = torch.where(can_be_masked, draws.stream("predicted").uniform_items(row, slot), torch.inf)
        least = torch.full((len(chosen),), torch.inf).scatter_reduce_(0, row, drawn, "amin")
        predicted = can_be_masked & ((drawn < SHARE) | (drawn <= least[row]))
        kind = draws.stream("shown as").uniform_items(row, slot)
        other = draws.stream("random token").uniform_items(row, slot).double() * len(self._ordinary)
        shown = torch.where(kind < 0.8, self._mask, torch.where(kind < 0.9, self._ordinary[other.long()], true))

        tokens = torch.full(attention.shape, self._padding)
        tokens[row, slot] = torch.where(predicted, shown, true)
        at = torch.zeros_like(attention)
        at[row, slot] = predicted
        return MaskedBatch(tokens, attention.long(), at, true[predicted])
