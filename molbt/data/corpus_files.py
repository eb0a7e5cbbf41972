"""The files of a corpus, held against its manifest when they are read: a corpus may come from elsewhere, and its numbers are places in
other files."""

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from molbt.config_text import describe_problems
from molbt.data.array_files import read_array
from molbt.data.json_files import read_json
from molbt.errors import DataError

# The names of a million assays fit.
_MAX_MANIFEST_BYTES = 256 << 20
REMEDY = "prepare the corpus again"
"""What an error about a corpus's file tells to do."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Manifest(BaseModel):
    """What every ``manifest.json`` has; other keys may stand beside these."""

    model_config = ConfigDict(strict=True)

    identity: Sha256
    source: str
    source_sha256: str
    columns: list[str]
    labels: dict[str, dict[str, str | None]]
    policy: dict[str, Any]
    rdkit: str
    molbt: str
    rows: NonNegativeInt
    unique: dict[str, NonNegativeInt]
    tasks: dict[str, list[str]]
    values_sha256: dict[str, Sha256]


def read_manifest(path: Path, format: str, format_version: int) -> dict[str, Any]:
    """Return ``manifest.json``.

    Raises
    ------
    DataError
        If it is too large, no JSON, or not of this format, or lacks something that every manifest has.
    """
    manifest = read_json(path, remedy=REMEDY, error=DataError, max_bytes=_MAX_MANIFEST_BYTES)
    if (manifest.get("format"), manifest.get("format_version")) != (format, format_version):
        raise DataError(f"{path.parent} holds something else than a corpus of format {format} {format_version}; prepare it again")
    try:
        known = _Manifest.model_validate(manifest)
    except ValidationError as error:
        raise DataError(f"{describe_problems(error, where=str(path))}; {REMEDY}") from error
    named = set(known.columns)
    if named != set(known.unique) or named != set(known.values_sha256) or set(known.labels) != set(known.tasks):
        raise DataError(f"{path} counts other columns or labels than it names; {REMEDY}")
    return manifest


def read_numbers(path: Path, kind: str, shape: tuple[int, ...], *, least: int | None = None, below: int | None = None) -> np.ndarray:
    """Return an array that must be of a kind (``"i"``, ``"u"``, ``"f"``, ``"b"``) and a shape, its numbers in a range.

    Raises
    ------
    DataError
        If it is not.
    """
    array = read_array(path, remedy=REMEDY)
    if array.dtype.kind != kind or array.shape != shape:
        raise DataError(f"expected numbers of kind {kind!r} and shape {shape} in {path}, found {array.dtype} {array.shape}; {REMEDY}")
    if array.size and ((least is not None and array.min() < least) or (below is not None and array.max() >= below)):
        raise DataError(f"expected numbers from {least} to below {below} in {path}, found {array.min()} to {array.max()}; {REMEDY}")
    return array


def read_frame(path: Path, types: dict[str, str], n_rows: int | None = None) -> pd.DataFrame:
    """Return columns of a parquet file by their Arrow types (``"string"``, ``"int64"``), without missing cells.

    Raises
    ------
    DataError
        If it cannot be read, or has other columns, types or rows.
    """
    if not path.is_file():
        raise DataError(f"expected {path}, found no file; {REMEDY}")
    with parquet_errors(path), pq.ParquetFile(path) as file:
        check_table(file, types, n_rows, path)
        table = file.read()
        table.validate(full=True)  # bytes that are not UTF-8, offsets that lead elsewhere
    if any(table[name].null_count for name in types):
        raise DataError(f"{path} has empty cells; {REMEDY}")
    with parquet_errors(path):
        return table.to_pandas(ignore_metadata=True)


def check_table(file: pq.ParquetFile, types: dict[str, str], n_rows: int | None, path: Path) -> None:
    """Raise DataError if a parquet file has other columns, types or rows (None: any number)."""
    found = {field.name: str(field.type).removeprefix("large_") for field in file.schema_arrow}
    if found != types or (n_rows is not None and file.metadata.num_rows != n_rows):
        raise DataError(
            f"expected {'any number of' if n_rows is None else n_rows} rows of {types} in {path}, found {file.metadata.num_rows} of "
            f"{found}; {REMEDY}"
        )


def require_length(found: Sized, expected: int, path: Path) -> None:
    """Raise DataError unless a column has as many entries as there are values."""
    if len(found) != expected:
        raise DataError(f"expected {expected} entries in {path}, found {len(found)}; {REMEDY}")


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a parquet file is read into a DataError that names it."""
    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"cannot read {path} as parquet: {str(error).partition(chr(10))[0]}; {REMEDY}") from error
