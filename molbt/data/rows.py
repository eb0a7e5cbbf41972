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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from molbt.config import LabelConfig
from molbt.data.files import write_array, write_frame
from molbt.data.opened_source import OpenedSource, require_label_columns, require_value_columns
from molbt.data.shards import Progress

logger = logging.getLogger(__name__)


@dataclass
class Rows:
    """What reading a source gives; grows chunk by chunk.

    Attributes
    ----------
    numbers : dict of str to dict of str to int
        For each column, its unique values and their numbers, in order of first appearance.
    tasks : dict of str to dict of str to int
        For each label set with a task column, the tasks and their numbers.
    refused : dict of int to str
        Row and reason.
    """

    n_rows: int = 0
    numbers: dict[str, dict[str, int]] = field(default_factory=dict)
    tasks: dict[str, dict[str, int]] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    _arrays: dict[str, list[np.ndarray]] = field(default_factory=dict)
    _odd_labels: dict[str, list[str]] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write the files of the module's docstring into an existing directory."""
        for name, parts in self._arrays.items():
            write_array(directory / name, np.concatenate(parts))
        for column, values in self.numbers.items():
            write_frame(directory / file_name("values", column, "parquet"), pd.DataFrame({"value": list(values)}, dtype="str"))
        refused = pd.DataFrame({"row": list(self.refused), "reason": list(self.refused.values())}).astype({"row": "int64", "reason": "str"})
        write_frame(directory / "refused.parquet", refused)

    def _append(self, name: str, part: np.ndarray) -> None:
        self._arrays.setdefault(name, []).append(part)


def read_rows(source: OpenedSource, columns: Sequence[str], labels: Mapping[str, LabelConfig], progress: Progress) -> Rows:
    """Read a source once.

    Raises
    ------
    DataError
        If a column is missing, or the source is damaged.
    """
    rows = Rows(numbers={column: {} for column in columns}, tasks={name: {} for name in labels}, _odd_labels={name: [] for name in labels})
    for chunk in source.chunks():
        frame = chunk.frame
        require_value_columns(frame.columns, columns, source.name)
        require_label_columns(frame.columns, labels, source.name)
        refused = np.zeros(len(frame), dtype=bool)
        refused[[row - chunk.first_row for row in chunk.problems]] = True
        rows.refused |= chunk.problems
        for column in columns:
            rows._append(file_name("number", column, "npy"), _number_values(frame[column], rows.numbers[column], refused))
        for name, label in labels.items():
            rows._append(file_name("label", name, "npy"), _read_values(frame, label, rows._odd_labels[name]))
            rows._append(file_name("task", name, "npy"), _read_tasks(frame, label, rows.tasks[name], refused))
        offsets = chunk.byte_offsets
        rows._append("byte_offsets.npy", offsets if offsets is not None else np.full(len(frame), -1, dtype=np.int64))
        rows.n_rows += len(frame)
        progress("reading", rows.n_rows, 0)
    for name, odd in rows._odd_labels.items():
        if odd:
            logger.warning(
                "%d cells of label set %r in %s are not finite numbers and count as missing; the first: %s",
                len(odd), name, source.name, ", ".join(odd[:5]),
            )  # fmt: skip
    return rows


def file_name(kind: str, column: str, ending: str) -> str:
    """Return the name of a column's file, whatever characters the column's own name has."""
    return f"{kind}.{quote(column, safe=' ')}.{ending}"


def text_of(value: Any) -> str:
    """Return a cell as text: ``""`` for a missing one (None, NaN, NA), so that the parser refuses it as blank."""
    if isinstance(value, str):
        return value
    return "" if value is None or value is pd.NA or value != value else str(value)


def _number_values(values: pd.Series, numbers: dict[str, int], refused: np.ndarray) -> np.ndarray:
    """Return the number of each value, giving new values the next number; refused rows get −1 and no number is spent on them."""
    codes, uniques = pd.factorize(values.astype("object"), use_na_sentinel=False)
    used = np.bincount(codes[~refused], minlength=len(uniques)) > 0
    known = [numbers.setdefault(text_of(value), len(numbers)) if is_used else -1 for value, is_used in zip(uniques, used, strict=True)]
    return np.where(refused, -1, np.array(known, dtype=np.int64)[codes]) if len(codes) else np.empty(0, dtype=np.int64)


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
