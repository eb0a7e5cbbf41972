"""``quarantine.csv``: every row that a run does not use, where it stands in the input, and why."""

import csv
import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from molbt.config import RunConfig
from molbt.data.files import atomic_write
from molbt.errors import DataError

if TYPE_CHECKING:
    from molbt.data.samples import Samples
    from molbt.data.stored_corpus import Corpus

_COLUMNS = ("row", "byte_offset", "column", "reason", "value")
_LONGEST_VALUE = 200
_EXCLUDED = "excluded: the molecule occurs in an excluded file"


def write_quarantine(corpus: "Corpus", config: RunConfig) -> None:
    """Write the rows that a configuration's views cannot use, and those that are excluded.

    Columns: row (from 0, without a header), byte offset (in the decompressed text; empty for tables without text), table column (empty
    where the reader refused the whole row), reason, and the value's first 200 characters. One line per row and column.
    """
    byte_offsets = corpus.byte_offsets()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row, column, reason, value in sorted(_refusals(corpus, config)):
        offset = int(byte_offsets[row])
        writer.writerow([row, offset if offset >= 0 else "", column, reason, value[:_LONGEST_VALUE]])
    # The note on which views it covers goes first and comes last: a kill in between leaves a file that is written again.
    note = corpus.directory / "quarantine.views.json"
    note.unlink(missing_ok=True)
    with atomic_write(corpus.directory / "quarantine.csv") as file:
        file.write(text.getvalue().encode("utf-8", errors="replace"))
    with atomic_write(note) as file:
        file.write(json.dumps(_covered(corpus, config)).encode())


def covers(corpus: "Corpus", config: RunConfig) -> bool:
    """Return whether the corpus has a quarantine file for the views of a configuration."""
    note = corpus.directory / "quarantine.views.json"
    return note.is_file() and note.read_bytes() == json.dumps(_covered(corpus, config)).encode()


def read_quarantine(corpus: "Corpus") -> pd.DataFrame:
    """Return the refused rows: columns row, byte_offset, column, reason, value.

    Raises
    ------
    DataError
        If the file is missing or something else.
    """
    path, text_columns = corpus.directory / "quarantine.csv", dict.fromkeys(("column", "reason", "value"), "str")
    try:
        table = pd.read_csv(path, dtype=text_columns, keep_default_na=False, na_values={"byte_offset": ""})
    except (ValueError, OSError) as error:
        raise DataError(f"cannot read {path}: {error}; remove it and prepare the corpus again") from error
    if tuple(table.columns) != _COLUMNS:
        raise DataError(f"expected the columns {', '.join(_COLUMNS)} in {path}; remove it and prepare the corpus again")
    return table


def summarise_use(corpus: "Corpus", samples: "Samples") -> str:
    """Return in words how many rows a run uses, and why the others are not used."""
    refused = read_quarantine(corpus)
    line = f"{corpus.n_rows:,} rows, {len(samples):,} distinct usable samples"
    if refused.empty:
        return line
    # Numbers inside reasons (positions, counts) would make every reason one of its own.
    counts = refused["reason"].str.replace(r"\d+", "#", regex=True).value_counts()
    first = "; ".join(f"{count} × {reason}" for reason, count in counts.head(5).items())
    return f"{line}\n{refused['row'].nunique():,} rows not used: {first}\nlisted in quarantine.csv"


def _covered(corpus: "Corpus", config: RunConfig) -> list[str]:
    return sorted({corpus.preparation_key(view) for view in config.views.values()})


def _refusals(corpus: "Corpus", config: RunConfig) -> Iterator[tuple[int, str, str, str]]:
    """Yield row, column, reason and value; where several views refuse a value of one column, the first view's reason."""
    for row, reason in corpus.refused_by_reader().items():
        yield row, "", reason, ""
    for column in dict.fromkeys(view.column for view in config.views.values()):
        reasons: dict[int, str] = {}
        for view in (view for view in config.views.values() if view.column == column):
            reasons = corpus.reasons(view) | reasons
        for number in np.flatnonzero(corpus.excluded(column)).tolist():
            reasons.setdefault(number, _EXCLUDED)
        if reasons:
            numbers, values = corpus.row_values(column), corpus.texts(column).take(list(reasons))
            for row in np.flatnonzero(np.isin(numbers, list(reasons))).tolist():
                yield row, column, reasons[int(numbers[row])], values[numbers[row]]
