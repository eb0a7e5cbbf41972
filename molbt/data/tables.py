"""Tables of molecules from a file or standard input, and back: every row keeps its place.

Formats, by file ending or by name: ``csv``, ``tsv``, ``smi`` (also ``.smiles``, ``.txt``), ``sdf`` (also ``.sd``) and ``parquet`` (also
``.pq``); the text formats also compressed, as ``csv.gz`` or ``csv.zst``. Text is read line by line by our own readers, in bounded memory:
general ones drop blank lines, stop at one extra comma, or let one opening quote swallow the rest of the file.

What happens to the odd row: it keeps its place with empty cells, and `Table.problems` says why.

============================  ========================================================================================================
blank line                    refused; also the last line, unless it is only the line end of the row before it. Blank lines above the
                              header of a csv are no rows
LF, CRLF                      both end a line; a carriage return alone inside an unquoted row refuses it
byte order mark               stripped at the start of the file; UTF-16 is a `DataError`
not UTF-8 (latin-1), NUL      refused
more than 1,000,000 bytes     refused, without being held in memory
csv, tsv: number of fields    refused unless it is that of the header
csv, tsv: quotes              count only at the start of a field, and are written twice inside. A quoted field may span 100 lines; a quote
                              that is not closed within them, or whose closing makes no whole row, costs the row it is in and no other
csv, tsv: header              the first line; an empty name becomes ``Unnamed: <place>``, a repeated one is a `DataError`
smi                           a space or tab ends the SMILES, the rest of the line is the name. A first line that begins with the word
                              ``smiles`` or ``canonical_smiles`` (any case) is a header
sdf                           ``$$$$`` ends a record; one that RDKit cannot read is refused
file of no bytes, cut or      `DataError` that names the file and the place; `iter_table` has yielded the rows before it
corrupt ``.gz``, ``.zst``
============================  ========================================================================================================
"""

import csv
import difflib
import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from molbt.data.files import atomic_write
from molbt.data.records import Columns, Reader, Record, read_csv, read_sdf, read_smi, read_tsv
from molbt.data.streams import read_lines, source_name
from molbt.data.table_merging import NULLABLE
from molbt.errors import ConfigError, DataError, suggestion

logger = logging.getLogger(__name__)

_READERS: dict[str, Reader] = {"csv": read_csv, "tsv": read_tsv, "smi": read_smi, "sdf": read_sdf}
_ENDINGS = {"smiles": "smi", "txt": "smi", "sd": "sdf", "pq": "parquet"}
_COMPRESSIONS = ("gz", "zst")
_FORMATS = (*_READERS, "parquet")
# A chunk also ends here, so that rows close to their length limit do not fill the memory.
_CHUNK_BYTES = 64_000_000
_NAMES_SHOWN = 20


@dataclass(frozen=True)
class Table:
    """Rows of a table, in the order of the input.

    Attributes
    ----------
    source : str
        Where it came from, for messages: a path, or ``standard input``.
    frame : DataFrame
        Its index, a RangeIndex, is the row number in the whole table, from 0 (a header is not a row). Cells of text formats are str;
        parquet keeps its types.
    problems : dict of int to str
        Row number and reason, for rows that the reader refused; their cells are ``""``.
    byte_offsets : ndarray of shape (rows,), int64, or None
        Where each row starts in the decompressed text; None for parquet.
    """

    source: str
    frame: pd.DataFrame
    problems: dict[int, str] = field(default_factory=dict)
    byte_offsets: np.ndarray | None = None


@dataclass(frozen=True)
class TableChunk(Table):
    """Consecutive rows of a table; `frame` is indexed and `problems` keyed by the row number in the whole table."""

    @property
    def first_row(self) -> int:
        """Row number of the first row."""
        return self.frame.index.start  # type: ignore[attr-defined]


def iter_table(source: str | Path, *, format: str | None = None, chunk_rows: int = 50_000) -> Iterator[TableChunk]:
    """Read a table in chunks of consecutive rows; the module's docstring states the policies.

    Parameters
    ----------
    source : str or Path
        A file, or ``"-"`` for standard input, which is taken for ``smi`` unless ``format`` says otherwise.
    format : str, optional
        ``csv``, ``tsv``, ``smi``, ``sdf`` or ``parquet``, the text formats also with ``.gz`` or ``.zst``; by default the file's ending.
    chunk_rows : int
        Most rows in a chunk; one with long rows ends earlier.

    Yields
    ------
    TableChunk
        At least one, which is empty for a table with a header and no rows. For ``sdf``, the columns are the data fields seen so far.

    Raises
    ------
    ConfigError
        At once, if the format is unknown or ``chunk_rows`` is below 1.
    DataError
        While reading, if the file is missing, empty, damaged or of another kind.
    """
    kind, compression = _resolve_format(str(source), format)
    if chunk_rows < 1:
        raise ConfigError(f"chunk_rows must be at least 1, got {chunk_rows}")
    if kind == "parquet":
        return _parquet_chunks(str(source), chunk_rows)
    return _text_chunks(str(source), _READERS[kind], compression, chunk_rows)


def read_table(source: str | Path, *, format: str | None = None) -> Table:
    """Read a whole table; parameters and errors are those of `iter_table`."""
    kind, _ = _resolve_format(str(source), format)
    if kind == "parquet":
        with _parquet_errors(str(source)), pq.ParquetFile(str(source)) as file:
            table = file.read()
            table.validate(full=True)  # bytes that are not UTF-8, offsets that lead elsewhere
            return Table(str(source), table.to_pandas(ignore_metadata=True))
    chunks = list(iter_table(source, format=format))
    frame = pd.concat([chunk.frame for chunk in chunks], ignore_index=True)
    if len(chunks[0].frame.columns) < len(frame.columns):  # data fields that an sdf named later
        frame = frame.fillna("")
    problems = {row: reason for chunk in chunks for row, reason in chunk.problems.items()}
    offsets = np.concatenate([chunk.byte_offsets for chunk in chunks if chunk.byte_offsets is not None])
    return Table(chunks[0].source, frame, problems, offsets)


def iter_frame(frame: pd.DataFrame, *, chunk_rows: int = 50_000) -> Iterator[TableChunk]:
    """Yield a DataFrame in chunks as `iter_table` would; its own index is ignored."""
    frame = frame.reset_index(drop=True)
    for start in range(0, max(len(frame), 1), chunk_rows):
        yield TableChunk("the given DataFrame", frame.iloc[start : start + chunk_rows])


def require_column(frame_or_columns: pd.DataFrame | Iterable[str], name: str, source: str, option: str) -> None:
    """Check that a table has a column.

    Parameters
    ----------
    frame_or_columns : DataFrame or iterable of str
    name : str
    source : str
        What the message calls the table.
    option : str
        What the user changes to name another column: a command-line flag, or the place in the configuration.

    Raises
    ------
    DataError
        If it has not: with the columns there are and the closest of them, for example
        *column 'smiles' is not in assays.csv (columns: SMILES, y); pass --smiles-column SMILES*.
    """
    columns = [str(column) for column in frame_or_columns]
    if name in columns:
        return
    for separator, remedy in (("\t", "read it with --format tsv"), (";", "save it with commas")):
        if len(columns) == 1 and name in [part.strip() for part in columns[0].split(separator)]:
            raise DataError(f"column {name!r} is not in {source}: its header {columns[0]!r} is separated by {separator!r}; {remedy}")
    by_case = {column.casefold(): column for column in columns}
    close = [by_case[key] for key in difflib.get_close_matches(name.casefold(), by_case, n=1)]
    shown = ", ".join(columns[:_NAMES_SHOWN]) + (f" and {len(columns) - _NAMES_SHOWN} more" if len(columns) > _NAMES_SHOWN else "")
    if option.startswith("-") and " " not in option:
        remedy = f"pass {option} {close[0] if close else 'NAME'}"
    else:
        remedy = f"change {option}" + (f" to {close[0]!r}" if close else "")
    raise DataError(f"column {name!r} is not in {source} (columns: {shown}); {remedy}")


def numeric_column(table: Table, name: str, *, option: str = "--target") -> np.ndarray:
    """Return a column as numbers: float64 of shape (rows,), NaN where a cell is empty, refused or not a finite number.

    Cells that are neither empty nor a number (``>10``, ``n/a``, ``inf``) are counted in a warning of this module's logger.

    Raises
    ------
    DataError
        If the table has no such column (``option`` as in `require_column`).
    """
    require_column(table.frame, name, table.source, option)
    column = table.frame[name]
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    values = np.where(np.isfinite(values), values, np.nan)
    text = column.astype("str").str.strip()
    odd = np.flatnonzero(np.isnan(values) & column.notna().to_numpy() & (text != "").to_numpy())
    if len(odd):
        first = ", ".join(f"{text.iloc[row]!r} in row {row}" for row in odd[:5])
        logger.warning(
            "%d cells of column %r in %s are not finite numbers and count as missing; the first: %s", len(odd), name, table.source, first
        )
    return values


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table without its index, as csv, tsv or parquet (zstd) by the ending of the path, whole or not at all.

    Text is UTF-8 with ``\\n`` line ends; missing values are empty cells; a float has as many digits as it takes to read it back.

    Raises
    ------
    ConfigError
        If the ending is another one.
    DataError
        If the file cannot be written; one that was there before stays.
    """
    path, ending = Path(path), output_format(path)
    try:
        with atomic_write(path) as file:
            if ending == "parquet":
                frame.to_parquet(file, index=False, engine="pyarrow", compression="zstd")
            else:
                file.write(_as_text(frame, "," if ending == "csv" else "\t"))
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}; check the folder, its permissions and the space left") from error


def output_format(path: str | Path) -> str:
    """Return the format that `write_table` takes for a path: a command asks before the work, not after it.

    Raises
    ------
    ConfigError
        If the ending names none.
    DataError
        If the folder does not exist.
    """
    path = Path(path)
    ending = path.suffix.lower().lstrip(".")
    if ending not in ("csv", "tsv", "parquet"):
        raise ConfigError(f"cannot tell from {path.name} which format to write; end it in .csv, .tsv or .parquet")
    if not path.parent.is_dir():
        raise DataError(f"cannot write {path}: the folder {path.parent} does not exist; make it first")
    return ending


def _as_text(frame: pd.DataFrame, delimiter: str) -> bytes:
    # The csv writer leaves a lone carriage return without quotes, where it would end the line for many readers.
    texts = frame.select_dtypes(include=["object", "string"])
    carriage = any(texts[name].astype("str").str.contains("\r", regex=False).any() for name in texts)
    buffer = io.StringIO()
    frame.to_csv(buffer, sep=delimiter, index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC if carriage else csv.QUOTE_MINIMAL)
    return buffer.getvalue().encode()


def _resolve_format(source: str, format: str | None) -> tuple[str, str]:
    """Return the format and the compression of a source."""
    words = (format or ("smi" if source == "-" else ".".join(Path(source).name.split(".")[1:]))).lower().split(".")
    compression = words.pop() if words[-1] in _COMPRESSIONS else ""
    kind = _ENDINGS.get(words[-1], words[-1]) if words else ""
    if kind not in _FORMATS or (format is not None and len(words) > 1):
        what = f"unknown format {format!r}" if format is not None else f"cannot tell the format of {source} from its ending"
        raise ConfigError(f"{what}{suggestion(kind, _FORMATS)}; the text formats also with .gz or .zst. Name one with --format")
    if kind == "parquet" and (compression or source == "-"):
        raise ConfigError(f"parquet is read from a plain file, not from {source_name(source)} {compression}".rstrip() + "; give its path")
    return kind, compression


def _text_chunks(source: str, reader: Reader, compression: str, chunk_rows: int) -> Iterator[TableChunk]:
    name = source_name(source)
    columns, records = reader(read_lines(source, compression), name)
    start = 0
    chunk: list[Record] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == chunk_rows or record.offset - chunk[0].offset > _CHUNK_BYTES:
            yield _to_chunk(name, columns, chunk, start)
            start, chunk = start + len(chunk), []
    if chunk or not start:
        yield _to_chunk(name, columns, chunk, start)


def _to_chunk(name: str, columns: Columns, records: list[Record], start: int) -> TableChunk:
    cells = zip_longest(*(record.cells for record in records), fillvalue="")
    index = pd.RangeIndex(start, start + len(records))
    frame = pd.DataFrame(
        {column: list(values) for column, values in zip_longest(columns, cells, fillvalue=[""] * len(records))}, index=index, dtype="str"
    )
    problems = {row: record.reason for row, record in enumerate(records, start) if record.reason}
    offsets = np.fromiter((record.offset for record in records), dtype=np.int64, count=len(records))
    return TableChunk(name, frame, problems, offsets)


def _parquet_chunks(source: str, chunk_rows: int) -> Iterator[TableChunk]:
    start = 0
    with _parquet_errors(source), pq.ParquetFile(source) as file:
        for batch in file.iter_batches(batch_size=chunk_rows):
            batch.validate(full=True)
            frame = batch.to_pandas(ignore_metadata=True, types_mapper=NULLABLE.get)
            frame.index = pd.RangeIndex(start, start + len(frame))
            yield TableChunk(source, frame)
            start += len(frame)
        if not start:
            yield TableChunk(source, file.schema_arrow.empty_table().to_pandas(ignore_metadata=True, types_mapper=NULLABLE.get))


@contextmanager
def _parquet_errors(source: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:  # a ValueError where the metadata are neither UTF-8 nor JSON
        reason = str(error).partition("\n")[0]
        raise DataError(f"cannot read {source} as parquet: {reason}; check the path, or get the file again") from error
