"""A column of texts in a parquet file, written and read in order and a part at a time: memory does not grow with the file."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from molbt.data.corpus_files import REMEDY, check_table, parquet_errors
from molbt.errors import DataError

_READ_AT_ONCE = 8_192
_BUFFER_BYTES = 1 << 20
# The most texts that are held while they are written, and their bytes. The writer needs as much again.
_GROUP_ROWS = 1 << 17
_GROUP_BYTES = 16_000_000


@dataclass(frozen=True)
class StoredTexts:
    """The texts of a file's one column, without missing cells.

    Parameters
    ----------
    path : Path
    name : str
        Of the column.
    n_texts : int
        How many there must be.

    Raises
    ------
    DataError
        When it is iterated over: if the file cannot be read, or has other columns, types or rows.
    """

    path: Path
    name: str
    n_texts: int

    def __len__(self) -> int:
        return self.n_texts

    def __iter__(self) -> Iterator[str]:
        for part in self._parts():
            yield from part

    def blocks(self, size: int) -> Iterator[list[str]]:
        """Yield all texts in blocks of this size (the last may be smaller); at least one, which may be empty."""
        texts = iter(self)
        yield list(islice(texts, size))
        while block := list(islice(texts, size)):
            yield block

    def take(self, numbers: Sequence[int] | np.ndarray) -> dict[int, str]:
        """Return the texts of these numbers by number."""
        wanted, taken, first = np.unique(np.asarray(numbers, dtype=np.int64)), dict[int, str](), 0
        for part in self._parts():
            for number in wanted[np.searchsorted(wanted, first) : np.searchsorted(wanted, first + len(part))].tolist():
                taken[number] = part[number - first]
            first += len(part)
        return taken

    def filled(self) -> dict[int, str]:
        """Return the texts that are not ``""`` by number."""
        return {number: text for number, text in enumerate(self) if text}

    def _parts(self) -> Iterator[list[str]]:
        if not self.path.is_file():
            raise DataError(f"expected {self.path}, found no file; {REMEDY}")
        n_read = 0
        # Read through a small buffer: a whole group of rows is a million of them.
        with parquet_errors(self.path), pq.ParquetFile(self.path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            check_table(file, {self.name: "string"}, self.n_texts, self.path)
            for batch in file.iter_batches(batch_size=_READ_AT_ONCE):
                batch.validate(full=True)  # bytes that are not UTF-8, offsets that lead elsewhere
                if batch.column(0).null_count:
                    raise DataError(f"{self.path} has empty cells; {REMEDY}")
                n_read += len(batch)
                yield batch.column(0).to_pylist()
        if n_read != self.n_texts:
            raise DataError(f"expected {self.n_texts} texts in {self.path}, read {n_read}; {REMEDY}")


class TextFile:
    """A parquet file of one column of texts that texts are added to; a context manager. Memory holds one group of rows.

    The bytes depend on the texts alone, not on the portions in which they came; those of one group are what pandas writes.

    Parameters
    ----------
    path : Path
        Temporary, as for `ArrayFile`.
    name : str
        Of the column.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._schema = pa.Schema.from_pandas(pd.DataFrame({name: []}, dtype="str"), preserve_index=False)
        self._has_groups = False
        self._begin_group()
        with ExitStack() as opened:
            self._file = opened.enter_context(open(path, "wb"))
            self._writer = opened.enter_context(pq.ParquetWriter(self._file, self._schema))
            self._opened = opened.pop_all()

    def append(self, texts: list[str]) -> None:
        """Write texts."""
        while texts:
            array = pa.array(texts[: _GROUP_ROWS - self._in_group], pa.large_string())
            _, offsets, content = array.buffers()
            ends = np.frombuffer(offsets, dtype=np.int64, count=len(array) + 1)[1:]
            # A group ends with the text that reaches a limit, whatever the portions.
            n_taken = min(len(array), int(np.searchsorted(ends, _GROUP_BYTES - len(self._texts))) + 1)
            self._ends.append(ends[:n_taken] + len(self._texts))
            self._texts += memoryview(content or b"")[: ends[n_taken - 1]]
            self._in_group += n_taken
            texts = texts[n_taken:]
            if self._in_group == _GROUP_ROWS or len(self._texts) >= _GROUP_BYTES:
                self._write_group()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._opened:
            if kind is None:
                if self._in_group or not self._has_groups:
                    self._write_group()
                self._writer.close()
                self._file.flush()
                os.fsync(self._file.fileno())

    def _write_group(self) -> None:
        # One array rather than many: where pages end depends on it.
        ends = np.concatenate(self._ends)
        texts = pa.LargeStringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(self._texts))
        self._writer.write_table(pa.Table.from_arrays([texts], schema=self._schema))
        self._has_groups = True
        self._begin_group()

    def _begin_group(self) -> None:
        self._texts, self._ends, self._in_group = bytearray(), [np.zeros(1, dtype=np.int64)], 0
