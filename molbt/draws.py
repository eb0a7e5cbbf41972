"""Counter-based random numbers: pure functions of (seed, epoch, row, view, slot), on any device.

Nothing is drawn from a generator with a hidden state. A number depends only on the words it is hashed from, so an augmentation is
the same whatever the batch, the number of workers or ranks, or the point at which a run was resumed.

References
----------
Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (the idea of counter-based generators); Steele, Lea and Flood,
"Fast splittable pseudorandom number generators", OOPSLA 2014 (the mixing function, SplitMix64).
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def mix_words(*words: int | str) -> int:
    """Hash words into one integer in [0, 2**63): a seed for whatever needs one (a permutation, an initialisation).

    Strings are hashed by SHA-256, so the result does not depend on ``PYTHONHASHSEED``.
    """
    key = 0
    for word in words:
        number = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little") if isinstance(word, str) else word
        key = _mix_integer(key ^ _mix_integer((number + _GOLDEN) & _MASK))
    return key >> 1


@dataclass(frozen=True)
class Draws:
    """Random numbers of a batch: one key per row, from which streams of numbers per row or per item are hashed.

    Parameters
    ----------
    keys : Tensor of shape (batch,), int64
    """

    keys: Tensor

    @classmethod
    def for_rows(cls, rows: Tensor, *, seed: int, epoch: int, view: str) -> "Draws":
        """Return the draws of global rows (``(batch,)`` integers) in one epoch and view."""
        start = _signed(mix_words(seed, epoch, view))
        return cls(_mix_tensor(rows.to(torch.int64) * _signed(_GOLDEN) + start))

    def stream(self, name: str) -> "Draws":
        """Return independent draws for the same rows: one stream per augmentation, so that none shares numbers with another."""
        return Draws(_mix_tensor(self.keys ^ _signed(mix_words(name))))

    def select(self, index: Tensor) -> "Draws":
        """Return the draws of some of the rows."""
        return Draws(self.keys[index])

    def uniform(self) -> Tensor:
        """Return one number in [0, 1) per row: ``(batch,)`` float32."""
        # Salted, so that the number of a row is not that of its slot 0.
        return _to_unit(_mix_tensor(self.keys ^ _ROW_SALT))

    def uniform_items(self, row_of_item: Tensor, slot: Tensor) -> Tensor:
        """Return one number in [0, 1) per item: ``(items,)`` float32.

        Parameters
        ----------
        row_of_item : Tensor of shape (items,), int64
            Position in the batch of the row that the item belongs to.
        slot : Tensor of shape (items,), integer
            What tells the item from the others of its row, whatever the storage order: a feature id, an atom number, a column.
        """
        return _to_unit(_mix_tensor(self.keys[row_of_item] + slot.to(torch.int64) * _signed(_GOLDEN)))

    def uniform_grid(self, width: int) -> Tensor:
        """Return ``(batch, width)`` numbers in [0, 1), float32; column ``j`` is slot ``j``."""
        slots = torch.arange(width, device=self.keys.device) * _signed(_GOLDEN)
        return _to_unit(_mix_tensor(self.keys[:, None] + slots))

    def permutation(self) -> Tensor:
        """Return a permutation of the rows: ``(batch,)`` int64. Ties (a chance of batch² / 2⁶⁴) keep their order."""
        return torch.argsort(_mix_tensor(self.keys ^ _PERMUTATION_SALT), stable=True)


def _mix_integer(word: int) -> int:
    word = ((word ^ (word >> 30)) * _MULTIPLIERS[0]) & _MASK
    word = ((word ^ (word >> 27)) * _MULTIPLIERS[1]) & _MASK
    return word ^ (word >> 31)


def _mix_tensor(words: Tensor) -> Tensor:
    # int64 products wrap around, and `>>` keeps the sign, so the copied sign bits are masked away.
    words = (words ^ ((words >> 30) & ((1 << 34) - 1))) * _signed(_MULTIPLIERS[0])
    words = (words ^ ((words >> 27) & ((1 << 37) - 1))) * _signed(_MULTIPLIERS[1])
    return words ^ ((words >> 31) & ((1 << 33) - 1))


def _signed(word: int) -> int:
    """The same 64 bits, read as a signed integer."""
    word &= _MASK
    return word - (1 << 64) if word >> 63 else word


_ROW_SALT = _signed(mix_words("row"))
_PERMUTATION_SALT = _signed(mix_words("permutation"))


def _to_unit(words: Tensor) -> Tensor:
    return ((words >> 40) & ((1 << 24) - 1)).to(torch.float32) * (1.0 / (1 << 24))
