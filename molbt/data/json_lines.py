"""JSON lines: an object per line, plain or compressed, as a table."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from molbt.data.streams import read_lines
from molbt.errors import DataError


def read_json_lines(path: str | Path) -> pd.DataFrame:
    """Return the objects of a ``.jsonl`` file (also ``.gz`` and ``.zst``), one per row; a field that an object lacks is missing.

    Raises
    ------
    DataError
        If the file cannot be read, is cut or corrupt, or a line is no JSON object.
    """
    return pd.DataFrame(list(json_objects(path)))


def json_objects(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file as ``read_json_lines`` reads them."""
    path = Path(path)
    compression = {".gz": "gz", ".zst": "zst"}.get(path.suffix, "")
    for number, (_, line) in enumerate(read_lines(str(path), compression), start=1):
        try:
            record = json.loads(line) if line is not None else None
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise DataError(f"expected a JSON object in line {number} of {path}, got something else; get the file again")
        yield record
