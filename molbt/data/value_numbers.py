"""Numbers of distinct texts in the order in which they come, without keeping the texts: 24 to 48 bytes for each."""

import hashlib
from collections.abc import Sequence

import numpy as np

_FIRST_ROOM = 1 << 12


class ValueNumbers:
    """Gives each distinct text a number, from 0, by its 128-bit hash.

    Two texts of 10⁹ would share a number with a chance of 1e-21. The hashes lie in one array in the order of their numbers; a second one,
    half full at most, leads from a hash to its number (open addressing with linear probing, a whole call's texts at a time).
    """

    def __init__(self) -> None:
        self._hashes = np.empty((_FIRST_ROOM, 2), dtype=np.uint64)
        self._number_at = np.full(2 * _FIRST_ROOM, -1, dtype=np.int32)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def number(self, distinct: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """Return the number of each of some different texts, ``(texts,)`` int64, and those that had none before."""
        hashes = _hashes_of(distinct)
        numbers = self._find(hashes)
        is_new = numbers < 0
        numbers[is_new] = self._add(hashes[is_new])
        return numbers, [text for text, new in zip(distinct, is_new, strict=True) if new]

    def _find(self, hashes: np.ndarray) -> np.ndarray:
        numbers = np.full(len(hashes), -1, dtype=np.int64)
        looking, slots = np.arange(len(hashes)), self._first_slots(hashes)
        while len(looking):
            found = self._number_at[slots]
            is_same = (found >= 0) & (self._hashes[found] == hashes[looking]).all(axis=1)
            numbers[looking[is_same]] = found[is_same]
            goes_on = (found >= 0) & ~is_same
            looking, slots = looking[goes_on], self._following(slots[goes_on])
        return numbers

    def _add(self, hashes: np.ndarray) -> np.ndarray:
        """Give the next numbers to hashes that are new and distinct."""
        first, self._n = self._n, self._n + len(hashes)
        numbers = np.arange(first, self._n)
        if self._n > len(self._hashes):
            room = 1 << int(self._n - 1).bit_length()
            self._hashes = np.concatenate([self._hashes[:first], np.empty((room - first, 2), dtype=np.uint64)])
            self._number_at = np.full(2 * room, -1, dtype=np.int32)
            self._settle(np.arange(first), self._hashes[:first])
        self._hashes[numbers] = hashes
        self._settle(numbers, hashes)
        return numbers

    def _settle(self, numbers: np.ndarray, hashes: np.ndarray) -> None:
        slots = self._first_slots(hashes)
        while len(numbers):
            is_free = self._number_at[slots] < 0
            self._number_at[slots[is_free]] = numbers[is_free]  # of several that want one slot, one stays
            goes_on = self._number_at[slots] != numbers
            numbers, slots = numbers[goes_on], self._following(slots[goes_on])

    def _first_slots(self, hashes: np.ndarray) -> np.ndarray:
        return (hashes[:, 0] & np.uint64(len(self._number_at) - 1)).astype(np.int64)

    def _following(self, slots: np.ndarray) -> np.ndarray:
        return (slots + 1) & (len(self._number_at) - 1)


def _hashes_of(texts: Sequence[str]) -> np.ndarray:
    digests = b"".join(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
