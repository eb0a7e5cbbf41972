"""Values to columns of one or several modalities, in isolated workers, block by block."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from molbt.data.columns import Column, column_of, concatenate_arrays
from molbt.data.executors import ShardExecutor
from molbt.data.identity import molecule_and_scaffold_hashes
from molbt.data.isolation import BLOCK_SIZE, map_blocks
from molbt.data.molecules import ParsePolicy, Perception, parse_once
from molbt.data.remote_blocks import map_numbered_blocks

if TYPE_CHECKING:
    from molbt.modalities.base import Modality


_CHUNK = 64  # molecules held at once where several works share them


class Entries(NamedTuple):
    """What a modality makes of a block of values: columns with one entry per value, and why a value was refused (``""`` if it was not)."""

    columns: dict[str, Column]
    reasons: list[str]

    @property
    def valid(self) -> np.ndarray:
        """``(values,)`` bool: which values can be used."""
        return np.array([not reason for reason in self.reasons], dtype=bool)


class Block(NamedTuple):
    """What is made of a block of values: the entries of each modality, and ``molecule_and_scaffold_hashes`` where they were asked for."""

    entries: list[Entries]
    hashes: np.ndarray | None


def prepare_blocks(
    modalities: "Sequence[Modality]",
    values: Sequence[str],
    policy: ParsePolicy,
    *,
    n_jobs: int = 1,
    block_size: int = BLOCK_SIZE,
    refused: dict[str, str] | None = None,
) -> Iterator[list[Entries]]:
    """Yield the entries of consecutive blocks of values, for each modality; parameters and errors are those of `map_blocks`."""
    work = _Preparing(tuple(modalities))
    for prepared in map_blocks(work, values, policy, n_jobs=n_jobs, block_size=block_size, refused=refused):
        yield _block(prepared).entries


def prepare_numbered_blocks(
    modalities: "Sequence[Modality]",
    blocks: Iterable[list[str]],
    policy: ParsePolicy,
    *,
    with_hashes: bool,
    n_values: int,
    executor: ShardExecutor | None,
    n_jobs: int,
    refused: dict[str, str],
) -> Iterator[tuple[int, Block]]:
    """Yield the number of each block and what is made of it; the other parameters and errors are those of `map_numbered_blocks`."""
    work = _Preparing(tuple(modalities), with_hashes)
    options: dict[str, Any] = {"n_values": n_values, "executor": executor, "n_jobs": n_jobs, "refused": refused}
    for number, prepared in map_numbered_blocks(work, blocks, policy, **options):
        yield number, _block(prepared)


class _Arrays(NamedTuple):
    """A `Block` as it crosses to another process: arrays as they are, where tensors would be moved into shared memory."""

    entries: list[tuple[dict[str, dict[str, np.ndarray]], list[str]]]
    hashes: np.ndarray | None


@dataclass(frozen=True)
class _Preparing:
    """The work on a block, as `map_blocks` takes it."""

    modalities: "tuple[Modality, ...]"
    with_hashes: bool = False

    @property
    def reads_molecules(self) -> bool:
        return self.with_hashes or any(modality.is_molecular for modality in self.modalities)

    @property
    def modules(self) -> set[str]:
        return {type(modality).__module__ for modality in self.modalities}

    def __call__(self, values: Sequence[str], policy: ParsePolicy) -> _Arrays:
        if len(self.modalities) + self.with_hashes < 2 or not all(modality.is_molecular for modality in self.modalities):
            return self._prepare(values, policy)
        # Several works on the same molecules: each is parsed once for all of them, and few are held at a time.
        levels = [modality.perception for modality in self.modalities] + [Perception.AROMATICITY] * self.with_hashes
        level, firsts = max(levels), range(0, max(len(values), 1), _CHUNK)
        return _joined([self._prepare(parse_once(values[first : first + _CHUNK], policy, level), policy) for first in firsts])

    def _prepare(self, values: Sequence[str], policy: ParsePolicy) -> _Arrays:
        prepared = [modality.prepare(values, policy) for modality in self.modalities]
        entries = [({name: column.arrays() for name, column in one.columns.items()}, one.reasons) for one in prepared]
        return _Arrays(entries, molecule_and_scaffold_hashes(values, policy) if self.with_hashes else None)


def _joined(parts: list[_Arrays]) -> _Arrays:
    entries = []
    for of_modality in zip(*(part.entries for part in parts), strict=True):
        columns = {name: concatenate_arrays([arrays[name] for arrays, _ in of_modality]) for name in of_modality[0][0]}
        entries.append((columns, list(chain.from_iterable(reasons for _, reasons in of_modality))))
    hashes = [part.hashes for part in parts if part.hashes is not None]
    return _Arrays(entries, np.concatenate(hashes) if hashes else None)


def _block(prepared: _Arrays) -> Block:
    return Block([_entries(columns, reasons) for columns, reasons in prepared.entries], prepared.hashes)


def _entries(columns: dict[str, dict[str, np.ndarray]], reasons: list[str]) -> Entries:
    return Entries({name: column_of(arrays) for name, arrays in columns.items()}, reasons)
