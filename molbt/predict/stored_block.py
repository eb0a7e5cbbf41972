"""A dense block of features that is kept in a file: rows are read when they are asked for, and memory holds no more than those."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from molbt.errors import ShapeError

BATCH_ROWS = 4_096
"""Rows that are read at a time."""


class StoredBlock:
    """Some rows of a file of float32, ``width`` to a row; `StoredRows` writes one.

    Parameters
    ----------
    file : binary file
        Has no name: its space is free again when the last block that reads it is gone, also when the process is killed.
    width : int
    rows : ndarray of shape (n,), int64
        Their places in the file, in the order of this block.
    """

    ndim = 2

    def __init__(self, file: IO[bytes], width: int, rows: np.ndarray) -> None:
        self._file = file
        self._width = width
        self._rows = rows

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._rows), self._width

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: np.ndarray) -> "StoredBlock":
        """Return the rows at ``index`` (integers, or a mask), in that order; nothing is read."""
        return StoredBlock(self._file, self._width, self._rows[index])

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return the rows from ``start`` to ``stop``: ``(rows, width)`` float32."""
        places = self._rows[start:stop]
        if not len(places):
            return np.empty((0, self._width), dtype=np.float32)
        first, last = int(places.min()), int(places.max())
        # A mapping of this stretch alone, for this call alone: what it touched is not held any longer.
        size = np.dtype(np.float32).itemsize * self._width
        mapped = np.memmap(self._file, np.float32, "r", offset=first * size, shape=(last - first + 1, self._width))
        return np.array(mapped[places - first])

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[np.ndarray]:
        """Yield all rows, so many at a time."""
        for start in range(0, len(self), rows):
            yield self.read(start, start + rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read().astype(dtype or np.float32, copy=False)


class StoredRows:
    """Takes the rows of a block one batch after the other, and then is a `StoredBlock`.

    Parameters
    ----------
    directory : Path
        On a disk; where ``/tmp`` is held in memory, that is none.
    width : int
    """

    def __init__(self, directory: Path, width: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  # open as long as the block is
        self._width = width
        self._n_rows = 0

    def append(self, rows: np.ndarray) -> None:
        """Write rows behind the others.

        Raises
        ------
        ShapeError
            If they have another width.
        """
        if rows.ndim != 2 or rows.shape[1] != self._width:
            raise ShapeError(f"expected rows of width {self._width}, received an array of shape {rows.shape}")
        self._file.write(np.ascontiguousarray(rows, dtype=np.float32).data)
        self._n_rows += len(rows)

    def block(self) -> StoredBlock:
        """Return all rows as a block."""
        self._file.flush()
        return StoredBlock(self._file, self._width, np.arange(self._n_rows))
