"""What a corpus is prepared from, made uniform: a file, standard input, a DataFrame or a sequence of values."""

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from molbt.config import LabelConfig
from molbt.data.files import cache_directory, sha256_of
from molbt.data.tables import TableChunk, iter_frame, iter_table, require_column
from molbt.errors import DataError

Source: TypeAlias = str | Path | pd.DataFrame | pd.Series | Sequence[str]

_HASHED_AT_ONCE = 100_000


@dataclass(frozen=True)
class OpenedSource:
    """A source that can be read more than once.

    Attributes
    ----------
    name : str
        What messages call it.
    sha256 : str
        Of a file's bytes, or of the cells of a DataFrame's columns that are read.
    format : str
        How the bytes are read (``smi``, ``csv``, …); ``frame`` for a DataFrame.
    """

    name: str
    sha256: str
    format: str
    _table: Path | pd.DataFrame
    _given_format: str | None = None

    def chunks(self, chunk_rows: int = 50_000) -> Iterator[TableChunk]:
        """Read it from the start, in chunks of consecutive rows."""
        if isinstance(self._table, pd.DataFrame):
            return iter_frame(self._table, chunk_rows=chunk_rows)
        return iter_table(self._table, format=self._given_format, chunk_rows=chunk_rows)

    def check_columns(self, columns: Iterable[str], labels: Mapping[str, LabelConfig]) -> None:
        """Raise DataError if a column is missing, from the first row alone: before any work or output."""
        found = next(self.chunks(chunk_rows=1)).frame.columns
        require_value_columns(found, columns, self.name)
        if self.format not in ("sdf", "sd"):  # an SD file names its data fields as it goes
            require_label_columns(found, labels, self.name)


@contextmanager
def open_source(source: Source, columns: Sequence[str], labels: Mapping[str, LabelConfig], format: str | None) -> Iterator[OpenedSource]:
    """Open a source; standard input is copied to the cache directory, because it is hashed and read but comes only once.

    Raises
    ------
    DataError
        If there is no such file, or the source is a sequence and the configuration reads several columns.
    """
    if isinstance(source, str | Path) and str(source) == "-":
        cache_directory().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix="stdin.", dir=cache_directory()) as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
            copy.flush()
            yield _open_file(Path(copy.name), "standard input", format or "smi")
    elif isinstance(source, str | Path):
        if not Path(source).is_file():
            raise DataError(
                f"expected a table at {source}, found no file; pass a csv, tsv, smi, sdf or parquet file, or - for standard input"
            )
        yield _open_file(Path(source), str(source), format)
    else:
        yield _open_frame(_as_frame(source, columns), columns, labels)


def require_value_columns(found: Iterable[str], columns: Iterable[str], name: str) -> None:
    """Check that a table has the columns of a run's views."""
    for column in columns:
        option = "--smiles-column" if column == "smiles" else f"the column of the views that read {column!r}"
        require_column(found, column, name, option)


def require_label_columns(found: Iterable[str], labels: Mapping[str, LabelConfig], name: str) -> None:
    """Check that a table has the columns of a run's label sets."""
    for label_set, label in labels.items():
        require_column(found, label.value, name, f"labels.{label_set}.value")
        if label.task is not None:
            require_column(found, label.task, name, f"labels.{label_set}.task")


def _open_file(path: Path, name: str, format: str | None) -> OpenedSource:
    words = (format or path.name).lower().split(".")
    if words[-1] in ("gz", "zst"):
        words.pop()
    return OpenedSource(name, sha256_of(path), words[-1] if words else "", path, format)


def _as_frame(source: pd.DataFrame | pd.Series | Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    if isinstance(source, pd.DataFrame):
        return source.rename(columns=str)
    if len(columns) != 1:
        raise DataError(f"a sequence of values fits a configuration with one column, this one has {', '.join(columns)}; pass a DataFrame")
    return pd.DataFrame({columns[0]: pd.Series(list(source), dtype="object")})


def _open_frame(frame: pd.DataFrame, columns: Sequence[str], labels: Mapping[str, LabelConfig]) -> OpenedSource:
    name = "the given DataFrame"
    require_value_columns(frame.columns, columns, name)
    require_label_columns(frame.columns, labels, name)
    read = sorted({*columns, *(label.value for label in labels.values()), *(label.task for label in labels.values() if label.task)})
    repeated = [column for column in read if (frame.columns == column).sum() > 1]
    if repeated:
        raise DataError(f"{name} has more than one column {repeated[0]!r}; rename or drop all but one")
    frame = frame[read].reset_index(drop=True)
    # Only the cells that are read decide the content address, so a frame may carry anything else.
    digest = hashlib.sha256(json.dumps(read).encode())
    for column in read:
        for start in range(0, len(frame), _HASHED_AT_ONCE):
            cells = frame[column].iloc[start : start + _HASHED_AT_ONCE].astype("object")
            digest.update(json.dumps(cells.where(cells.notna(), None).tolist(), default=str).encode())
    return OpenedSource(name, digest.hexdigest(), "frame", frame)
