"""Descriptions of assays by the assay's name, from JSON lines or a table."""

from pathlib import Path

from molbt.data.json_lines import read_json_lines
from molbt.data.rows import text_of
from molbt.data.tables import read_table, require_column
from molbt.errors import DataError

_NAMES = ("task", "assay_id", "id", "name")
"""What the column with the assay's name may be called, in order of precedence."""

_JSON_ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst")


def assay_texts(path: str | Path, *, column: str = "text") -> dict[str, str]:
    """Return the description of each assay of a file; an assay without one, or with a blank one, is not there.

    Parameters
    ----------
    path : path
        A JSON object per line (``.jsonl``, also ``.gz`` and ``.zst``), or a table (csv, tsv, parquet), with a field ``task``, ``assay_id``,
        ``id`` or ``name``.
    column : str
        The field of the description.

    Raises
    ------
    DataError
        If the file is not there or damaged, lacks the fields, or describes an assay in two ways.
    """
    path = Path(path)
    frame = read_json_lines(path) if str(path).endswith(_JSON_ENDINGS) else read_table(path).frame
    require_column(frame.columns, column, str(path), "--text-column")
    name = next((name for name in _NAMES if name in frame.columns), None)
    if name is None:
        raise DataError(f"expected a column {', '.join(_NAMES[:-1])} or {_NAMES[-1]} with the names of assays in {path}; rename one")
    texts: dict[str, str] = {}
    for assay, text in zip(map(text_of, frame[name]), map(text_of, frame[column]), strict=True):
        if text.strip() and texts.setdefault(assay, text) != text:
            raise DataError(f"expected one description of {assay!r} in {path}, found two; keep one")
    return texts
