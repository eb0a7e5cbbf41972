"""One table file from shards, in their order, with the rows of one shard in memory."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from molbt.data.files import atomic_write

# Whole numbers and truth values stay what they are where some are missing: pandas would make 1.0 of 1.
NULLABLE = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
_DELIMITERS = {"csv": ",", "tsv": "\t"}
# Text of so many rows is held at once.
_ROWS_AS_TEXT = 4_096


def to_arrow(frame: pd.DataFrame) -> pa.Table:
    """Return a frame as an Arrow table without its index; categories become their values, of which each shard has its own."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
    return table


def holds_carriage_return(frame: pd.DataFrame) -> bool:
    """Return whether a text in a frame has a carriage return, which the csv writer leaves without quotes."""
    texts = frame.select_dtypes(include=["object", "string"])
    return any(bool(texts[name].astype("str").str.contains("\r", regex=False).any()) for name in texts)


def merge_tables(parts: Sequence[Path], columns: Sequence[str], path: Path, *, quote_all: bool = False) -> None:
    """Write the rows of parquet files, one after the other, as csv, tsv or parquet (zstd) by the ending of the path, whole or not at all.

    Parameters
    ----------
    parts : sequence of Path
        At least one.
    columns : sequence of str
        Of the output. Where a part lacks one (a data field that an SD file named later), its cells are empty.
    quote_all : bool
        Whether every text is quoted in csv and tsv.

    Raises
    ------
    OSError
        If the file cannot be written; one that was there before stays.
    """
    schema = _common_schema(parts, columns)
    with atomic_write(path) as file:
        if path.suffix.lower() == ".parquet":
            with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                for part in parts:
                    writer.write_table(_read(part, schema))
        else:
            for number, part in enumerate(parts):
                _write_text(_read(part, schema), file, _DELIMITERS[path.suffix.lower()[1:]], header=not number, quote_all=quote_all)


def _common_schema(parts: Sequence[Path], columns: Sequence[str]) -> pa.Schema:
    """The columns in their order: a type that holds what every part has there, and what pandas needs to read them back."""
    common = pa.unify_schemas([pq.read_schema(part) for part in parts], promote_options="permissive")
    chosen = pa.schema([common.field(name) for name in columns])
    as_frame = chosen.empty_table().to_pandas(types_mapper=NULLABLE.get)
    return chosen.with_metadata(pa.Schema.from_pandas(as_frame, preserve_index=False).metadata)


def _read(part: Path, schema: pa.Schema) -> pa.Table:
    table = pq.read_table(part, partitioning=None)
    cells = [_column(table, field) for field in schema]
    return pa.Table.from_arrays(cells, schema=schema)


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    if field.name in table.column_names:
        return table.column(field.name).cast(field.type)
    return pa.array([""] * len(table), field.type)


def _write_text(table: pa.Table, file: BinaryIO, delimiter: str, *, header: bool, quote_all: bool) -> None:
    for start in range(0, max(len(table), 1), _ROWS_AS_TEXT):
        frame = table.slice(start, _ROWS_AS_TEXT).to_pandas(types_mapper=NULLABLE.get)
        text = frame.to_csv(
            sep=delimiter,
            index=False,
            header=header and not start,
            lineterminator="\n",
            quoting=csv.QUOTE_NONNUMERIC if quote_all else csv.QUOTE_MINIMAL,
        )
        file.write(text.encode())
