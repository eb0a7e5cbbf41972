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
smi                           white space ends the SMILES, the rest of the line is the name. A first line that begins with the word
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
        with _parquet_errors(str(source)):
            return Table(str(source), pq.read_table(str(source)).to_pandas(ignore_metadata=True))
    chunks = list(iter_table(source, format=format))
    frame = pd.concat([chunk.frame for chunk in chunks])
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
