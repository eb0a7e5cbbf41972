"""Columns of prepared entries: flat arrays, memory-mapped from ``.npy``, gathered by index on the device where they live."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from molbt.data.array_files import ArrayFile, read_array
from molbt.errors import DataError, ShapeError

# torch has few operations for unsigned integers: such arrays are held as the signed type of the same width and read back by masking.
_UNSIGNED_AS_SIGNED: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.uint16): np.dtype(np.int16),
    np.dtype(np.uint32): np.dtype(np.int32),
}
_REMEDY = "prepare the corpus again in a new directory"
_MASK_OF = {torch.int16: 0xFFFF, torch.int32: 0xFFFFFFFF}


@dataclass(frozen=True)
class FixedColumn:
    """Entries of one shape: ``values`` of shape ``(entries, ...)``."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def gather(self, index: Tensor) -> Tensor:
        """Return the entries at ``index`` (``(batch,)`` int64): shape ``(batch, ...)``."""
        return self.values.index_select(0, index)

    def to(self, device: torch.device | str) -> "FixedColumn":
        return FixedColumn(self.values.to(device))

    @classmethod
    def from_numpy(cls, values: np.ndarray) -> "FixedColumn":
        return cls(torch.from_numpy(values))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays a directory stores, by file name without the ending."""
        return {"values": self.values.cpu().numpy()}


@dataclass(frozen=True)
class RaggedBatch:
    """Gathered items of a batch: ``fields[name]`` has one number per item, ``row_of_item`` tells which row it belongs to."""

    fields: dict[str, Tensor]
    row_of_item: Tensor
    offsets: Tensor

    @property
    def n_rows(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class RaggedColumn:
    """Entries of varying length: entry ``i`` has the items ``offsets[i]:offsets[i + 1]`` of each field.

    Parameters
    ----------
    fields : dict of Tensor of shape (items,) or (items, ...)
        Unsigned 16- and 32-bit fields are held as the signed type of the same width; ``unsigned`` names them.
    offsets : Tensor of shape (entries + 1,), int64
    unsigned : frozenset of str
        Fields that ``gather`` reads as unsigned (they come out as int64).
    """

    fields: dict[str, Tensor]
    offsets: Tensor
    unsigned: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def gather(self, index: Tensor) -> RaggedBatch:
        """Return the items of the entries at ``index`` (``(batch,)`` int64), in the order of ``index``."""
        starts = self.offsets.index_select(0, index)
        lengths = self.offsets.index_select(0, index + 1) - starts
        offsets = torch.zeros(len(index) + 1, dtype=torch.int64, device=lengths.device)
        torch.cumsum(lengths, 0, out=offsets[1:])
        row_of_item = torch.repeat_interleave(lengths)
        position = torch.arange(len(row_of_item), device=lengths.device)
        position += (starts - offsets[:-1]).index_select(0, row_of_item)
        fields = {}
        for name, values in self.fields.items():
            taken = values.index_select(0, position)
            fields[name] = taken.to(torch.int64) & _MASK_OF[taken.dtype] if name in self.unsigned else taken
        return RaggedBatch(fields, row_of_item, offsets)

    def to(self, device: torch.device | str) -> "RaggedColumn":
        fields = {name: values.to(device) for name, values in self.fields.items()}
        return RaggedColumn(fields, self.offsets.to(device), self.unsigned)

    @classmethod
    def from_numpy(cls, fields: Mapping[str, np.ndarray], offsets: np.ndarray) -> "RaggedColumn":
        tensors, unsigned = {}, set()
        for name, values in fields.items():
            if len(values) != offsets[-1]:
                raise ShapeError(f"field {name!r} has {len(values)} items, but the offsets end at {offsets[-1]}")
            if values.dtype in _UNSIGNED_AS_SIGNED:
                unsigned.add(name)
                values = values.view(_UNSIGNED_AS_SIGNED[values.dtype])
            tensors[name] = torch.from_numpy(values)
        return cls(tensors, torch.from_numpy(offsets.astype(np.int64, copy=False)), frozenset(unsigned))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays a directory stores, by file name without the ending; unsigned fields get their own type back."""
        signed_to_unsigned = {signed: unsigned for unsigned, signed in _UNSIGNED_AS_SIGNED.items()}
        stored = {"offsets": self.offsets.cpu().numpy()}
        for name, values in self.fields.items():
            array = values.cpu().numpy()
            stored[f"field.{name}"] = array.view(signed_to_unsigned[array.dtype]) if name in self.unsigned else array
        return stored


Column = FixedColumn | RaggedColumn


def column_of(arrays: Mapping[str, np.ndarray]) -> Column:
    """Return the column whose ``arrays()`` these are."""
    if "values" in arrays:
        return FixedColumn.from_numpy(arrays["values"])
    fields = {name[6:]: array for name, array in arrays.items() if name != "offsets"}
    return RaggedColumn.from_numpy(fields, arrays["offsets"])


def write_column(column: Column, directory: Path) -> None:
    """Write a column as ``.npy`` files into a new directory (the caller renames it into place)."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, array in column.arrays().items():
        with open(directory / f"{name}.npy", "wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())


def read_column(directory: Path) -> Column:
    """Read a column, memory-mapped.

    Raises
    ------
    DataError
        If the directory holds neither ``values.npy`` nor ``offsets.npy``, or a file in it is damaged.
    """
    arrays = {path.name[:-4]: _open_array(path) for path in sorted(directory.glob("*.npy"))}
    if not arrays.keys() & {"values", "offsets"}:
        raise DataError(f"expected values.npy or offsets.npy in {directory}, found neither; prepare the corpus again")
    if "offsets" in arrays:
        _check_offsets(arrays["offsets"], directory)
    return column_of(arrays)


def concatenate_arrays(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays of the concatenation of columns, given theirs (``Column.arrays()``)."""
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "offsets"}
    if "offsets" in parts[0]:
        lengths = [np.diff(part["offsets"]) for part in parts]
        joined["offsets"] = np.concatenate([[0], *lengths]).cumsum().astype(np.int64)
    return joined


def merge_columns(parts: Sequence[Path], directory: Path) -> None:
    """Write the concatenation of stored columns into a new directory, one part in memory at a time."""
    directory.mkdir(parents=True)
    for name in sorted(path.name for path in parts[0].glob("*.npy")):
        first = _open_array(parts[0] / name)
        # Written and read, not mapped: a store into a map kills the process on a full disk, and pages that were read stay in memory.
        with ArrayFile(directory / name, first.dtype, first.shape[1:]) as file:
            if name != "offsets.npy":
                for part in parts:
                    file.append(read_array(part / name, remedy=_REMEDY))
                continue
            shift = first.dtype.type(0)
            file.append(first[:1])
            for part in parts:
                offsets = read_array(part / name, remedy=_REMEDY)
                file.append(offsets[1:] + shift)
                shift += offsets[-1]


def _open_array(path: Path) -> np.ndarray:
    # Copy on write keeps the file as it is and lets torch take the array without a copy.
    return read_array(path, mapped=True, remedy=_REMEDY)


def _check_offsets(offsets: np.ndarray, directory: Path) -> None:
    """Items of an entry are found by its offsets, wherever these lead."""
    is_rising = offsets.ndim == 1 and offsets.dtype.kind == "i" and len(offsets) > 0 and not (offsets[1:] < offsets[:-1]).any()
    if not is_rising or offsets[0] != 0:
        raise DataError(f"{directory / 'offsets.npy'} does not rise from 0; prepare the corpus again in a new directory")
