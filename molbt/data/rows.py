"""The rows of a corpus: unique values, the number of each row's value, labels, and which rows the reader refused.

Stored as one directory, which takes its name when it is complete::

    number.<column>.npy       (rows,) int64: number of the row's unique value, -1 where the reader refused the row
    values.<column>.parquet   the unique values, in order of first appearance
    label.<set>.npy           (rows,) float32, NaN where there is no number
    task.<set>.npy            (rows,) int32: number of the task, -1 where there is none
    byte_offsets.npy          (rows,) int64: where the row starts in the decompressed text, -1 for tables without text
    refused.parquet           row and reason of each row that the reader refused
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from molbt.config import LabelConfig
from molbt.data.array_files import ArrayFile
from molbt.data.files import write_frame
from molbt.data.opened_source import OpenedSource, require_label_columns, require_value_columns
from molbt.data.shards import Progress
from molbt.data.stored_texts import TextFile
from molbt.data.tables import TableChunk
from molbt.data.value_numbers import ValueNumbers

logger = logging.getLogger(__name__)

_CHUNK_ROWS = 16_384
_ODD_LABELS_SHOWN = 5


@dataclass
class Rows:
    """What was written.

    Attributes
    ----------
    n_rows : int
    n_unique : dict of str to int
        For each column, how many distinct values it has.
    tasks : dict of str to dict of str to int
        For each label set with a task column, the tasks and their numbers.
    refused : dict of int to str
        Row and reason.
    """

    n_rows: int = 0
    n_unique: dict[str, int] = field(default_factory=dict)
    tasks: dict[str, dict[str, int]] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)


def write_rows(
    source: OpenedSource, columns: Sequence[str], labels: Mapping[str, LabelConfig], directory: Path, progress: Progress
) -> Rows:
    """Read a source once and write the files of the module's docstring into an existing directory.

    Memory holds a chunk of rows, a hash of each unique value, and what was refused.

    Raises
    ------
    DataError
        If a column is missing, or the source is damaged.
    """
    rows = Rows(tasks={name: {} for name in labels})
    with ExitStack() as files:
        values = {column: files.enter_context(_ColumnFiles(directory, column)) for column in columns}
        label_files = {name: files.enter_context(_LabelFiles(directory, name, label)) for name, label in labels.items()}
        byte_offsets = files.enter_context(ArrayFile(directory / "byte_offsets.npy", np.int64))
        for chunk in source.chunks(_CHUNK_ROWS):
            require_value_columns(chunk.frame.columns, columns, source.name)
            require_label_columns(chunk.frame.columns, labels, source.name)
            refused = np.zeros(len(chunk.frame), dtype=bool)
            refused[[row - chunk.first_row for row in chunk.problems]] = True
            rows.refused |= chunk.problems
            for column, column_files in values.items():
                column_files.append(chunk.frame[column], refused)
            for name, of_label in label_files.items():
                of_label.append(chunk.frame, rows.tasks[name], refused)
            byte_offsets.append(_offsets(chunk))
            rows.n_rows += len(chunk.frame)
            progress("reading", rows.n_rows, 0)
        rows.n_unique = {column: len(column_files.numbers) for column, column_files in values.items()}
    for name, of_label in label_files.items():
        of_label.warn_of_odd_cells(name, source.name)
    refused_rows = pd.DataFrame({"row": list(rows.refused), "reason": list(rows.refused.values())})
    write_frame(directory / "refused.parquet", refused_rows.astype({"row": "int64", "reason": "str"}))
    return rows


class _ColumnFiles(ExitStack):
    """The unique values of a column, and the number of each row's value."""

    def __init__(self, directory: Path, column: str) -> None:
        super().__init__()
        self.numbers = ValueNumbers()
        self._of_rows = self.enter_context(ArrayFile(directory / file_name("number", column, "npy"), np.int64))
        self._values = self.enter_context(TextFile(directory / file_name("values", column, "parquet"), "value"))

    def append(self, cells: pd.Series, refused: np.ndarray) -> None:
        """Number a chunk's values; refused rows get −1 and no number is spent on them."""
        texts = [text_of(cell) for cell in cells.tolist()]
        used = set(compress(texts, ~refused))
        distinct = [text for text in dict.fromkeys(texts) if text in used]
        found, new = self.numbers.number(distinct)
        number_of = dict(zip(distinct, found.tolist(), strict=True))
        self._of_rows.append(np.array([-1 if bad else number_of[text] for text, bad in zip(texts, refused, strict=True)], dtype=np.int64))
        self._values.append(new)


class _LabelFiles(ExitStack):
    """The values of a label set, and the number of each row's task."""

    def __init__(self, directory: Path, name: str, label: LabelConfig) -> None:
        super().__init__()
        self._label = label
        self._n_odd, self._first_odd = 0, list[str]()
        self._values = self.enter_context(ArrayFile(directory / file_name("label", name, "npy"), np.float32))
        self._tasks = self.enter_context(ArrayFile(directory / file_name("task", name, "npy"), np.int32))

    def append(self, frame: pd.DataFrame, tasks: dict[str, int], refused: np.ndarray) -> None:
        odd: list[str] = []
        self._values.append(_read_values(frame, self._label, odd))
        self._tasks.append(_read_tasks(frame, self._label, tasks, refused))
        self._n_odd += len(odd)
        self._first_odd += odd[: _ODD_LABELS_SHOWN - len(self._first_odd)]

    def warn_of_odd_cells(self, name: str, source: str) -> None:
        if self._n_odd:
            logger.warning(
                "%d cells of label set %r in %s are not finite numbers and count as missing; the first: %s",
                self._n_odd, name, source, ", ".join(self._first_odd),
            )  # fmt: skip


def _offsets(chunk: TableChunk) -> np.ndarray:
    return chunk.byte_offsets if chunk.byte_offsets is not None else np.full(len(chunk.frame), -1, dtype=np.int64)


def file_name(kind: str, column: str, ending: str) -> str:
    """Return the name of a column's file, whatever characters the column's own name has."""
    return f"{kind}.{quote(column, safe=' ')}.{ending}"


def text_of(value: Any) -> str:
    """Return a cell as text: ``""`` for a missing one (None, NaN, NA), so that the parser refuses it as blank."""
    if isinstance(value, str):
        return value
    return "" if value is None or value is pd.NA or value != value else str(value)


def _read_values(frame: pd.DataFrame, label: LabelConfig, odd: list[str]) -> np.ndarray:
    """Return a chunk's labels, and add cells that hold something else than a number to ``odd``."""
    cells = frame[label.value]
    values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    values[np.abs(values) > np.finfo(np.float32).max] = np.nan
    for position in np.flatnonzero(np.isnan(values) & cells.notna().to_numpy()).tolist():
        text = str(cells.iloc[position])
        if text.strip():
            odd.append(f"{text[:30]!r} in row {frame.index[position]}")
    return values.astype(np.float32)


def _read_tasks(frame: pd.DataFrame, label: LabelConfig, tasks: dict[str, int], refused: np.ndarray) -> np.ndarray:
    """Return the task numbers of a chunk's rows; a row without a task's name has none."""
    if label.task is None:
        return np.zeros(len(frame), dtype=np.int32)
    codes, uniques = pd.factorize(frame[label.task].astype("object"), use_na_sentinel=False)
    used = np.bincount(codes[~refused], minlength=len(uniques)) > 0
    names = [text_of(name).strip() if is_used else "" for name, is_used in zip(uniques, used, strict=True)]
    known = np.array([tasks.setdefault(name, len(tasks)) if name else -1 for name in names], dtype=np.int32)
    return known[codes] if len(codes) else np.empty(0, dtype=np.int32)
