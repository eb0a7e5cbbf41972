"""Values to columns of one or several modalities, in isolated workers, block by block."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from molbt.data.columns import Column, column_of
from molbt.data.executors import ShardExecutor
from molbt.data.isolation import BLOCK_SIZE, map_blocks
from molbt.data.molecules import ParsePolicy
from molbt.data.remote_blocks import map_numbered_blocks

if TYPE_CHECKING:
    from molbt.modalities.base import Modality


class Entries(NamedTuple):
    """What a modality makes of a block of values: columns with one entry per value, and why a value was refused (``""`` if it was not)."""

    columns: dict[str, Column]
    reasons: list[str]

    @property
    def valid(self) -> np.ndarray:
        """``(values,)`` bool: which values can be used."""
        return np.array([not reason for reason in self.reasons], dtype=bool)


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
        yield [_entries(columns, reasons) for columns, reasons in prepared]


def prepare_numbered_blocks(
    modality: "Modality",
    values: Sequence[str],
    policy: ParsePolicy,
    *,
    executor: ShardExecutor | None,
    n_jobs: int,
    block_size: int,
    refused: dict[str, str] | None,
) -> Iterator[tuple[int, Entries]]:
    """Yield the number and the entries of each block for one modality; parameters and errors are those of `map_numbered_blocks`."""
    work, options = _Preparing((modality,)), {"n_jobs": n_jobs, "block_size": block_size}
    for number, [entries] in map_numbered_blocks(work, values, policy, executor=executor, refused=refused, **options):
        yield number, _entries(*entries)


@dataclass(frozen=True)
class _Preparing:
    """The work on a block, as `map_blocks` takes it."""

    modalities: "tuple[Modality, ...]"

    @property
    def reads_molecules(self) -> bool:
        return any(modality.is_molecular for modality in self.modalities)

    @property
    def modules(self) -> set[str]:
        return {type(modality).__module__ for modality in self.modalities}

    def __call__(self, values: Sequence[str], policy: ParsePolicy) -> list[tuple[dict[str, dict[str, np.ndarray]], list[str]]]:
        # Arrays cross to another process as they are; tensors would be moved into shared memory.
        prepared = [modality.prepare(values, policy) for modality in self.modalities]
        return [({name: column.arrays() for name, column in one.columns.items()}, one.reasons) for one in prepared]


def _entries(columns: dict[str, dict[str, np.ndarray]], reasons: list[str]) -> Entries:
    return Entries({name: column_of(arrays) for name, arrays in columns.items()}, reasons)
