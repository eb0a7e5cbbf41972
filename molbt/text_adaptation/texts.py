"""Texts to adapt a language model to: read from a file, each once, and divided into those trained on and those held out."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from molbt.data.seen_texts import text_key
from molbt.data.streams import read_lines, source_name
from molbt.data.tables import iter_table, require_column
from molbt.draws import mix_words
from molbt.errors import ConfigError, DataError
from molbt.modalities._wordings import wordings_of

logger = logging.getLogger(__name__)

_LINE_FORMATS = {"jsonl": "jsonl", "ndjson": "jsonl", "txt": "txt"}
_COMPRESSIONS = ("gz", "zst")


@dataclass(frozen=True)
class DividedTexts:
    """Distinct texts in order of first appearance, on two sides.

    Attributes
    ----------
    training, held_out : list of str
    held_out_group : list of int
        Texts of one group belong together: wordings of one record, and records that share a text. A group lies on one side.
    sha256 : str
        Of all texts with their groups: what a resumed run must meet again.
    """

    training: list[str]
    held_out: list[str]
    held_out_group: list[int]
    sha256: str


def read_texts(source: str | Path, columns: Sequence[str] = ("text",), *, format: str | None = None) -> list[list[str]]:
    """Read the texts of each record of a file; a record that has none is counted in a warning.

    Parameters
    ----------
    source : path or "-"
        ``jsonl`` (an object per line), ``txt`` (a text per line), ``csv``, ``tsv`` or ``parquet``; the text formats also ``.gz`` and
        ``.zst``. Standard input needs ``format``.
    columns : sequence of str
        Columns (keys of an object) that hold texts: a text, a list of wordings of one, or such a list as JSON in a cell. ``txt`` has none.
    format : str, optional
        Where the name does not tell it.

    Raises
    ------
    ConfigError
        If the format is unknown.
    DataError
        If the file cannot be read, lacks a column, or has no text at all.
    """
    source = str(source)
    words = (format or ".".join(Path(source).name.split(".")[1:])).lower().split(".")
    compression = words.pop() if words[-1] in _COMPRESSIONS else ""
    if not words or not words[-1]:
        raise ConfigError(f"cannot tell the format of {source_name(source)}; name jsonl, txt, csv, tsv or parquet with --format")
    kind = _LINE_FORMATS.get(words[-1])
    records = _from_lines(source, compression, kind, columns) if kind else _from_table(source, columns, format)
    found = list(records)
    n_blank = sum(not texts for texts in found)
    if n_blank == len(found):
        raise DataError(f"expected texts in {source_name(source)} (column {', '.join(columns)}), found none; check the file and --column")
    if n_blank:
        logger.warning("%d of %d records in %s have no text", n_blank, len(found), source_name(source))
    return [texts for texts in found if texts]


def divide(records: Iterable[Sequence[str]], *, held_out: float, seed: int) -> DividedTexts:
    """Take each text once and divide them: by the hash of what they say, so that neither order nor repeats matter.

    Texts count as equal that differ in case and white space only.

    Raises
    ------
    DataError
        If a side has fewer than two texts.
    """
    records = [list(texts) for texts in records]
    group_of = _groups([[text_key(text) for text in texts] for texts in records])
    numbers: dict[int, int] = {}
    training: list[str] = []
    kept: list[tuple[str, int]] = []
    seen: set[int] = set()
    hashed = hashlib.sha256()
    for text in (text for texts in records for text in texts):
        key = text_key(text)
        if key in seen:
            continue
        seen.add(key)
        group = group_of[key]
        hashed.update(f"{group} {len(text)} {text}".encode())
        if mix_words(seed, "held out", group) < held_out * (1 << 63):
            kept.append((text, numbers.setdefault(group, len(numbers))))
        else:
            training.append(text)
    if min(len(training), len(kept)) < 2:
        raise DataError(
            f"expected at least two texts on each side, received {len(training)} to train on and {len(kept)} held out (share {held_out}); "
            "give more texts, or change --held-out"
        )
    return DividedTexts(training, [text for text, _ in kept], [group for _, group in kept], hashed.hexdigest())


def _groups(records: Sequence[Sequence[int]]) -> dict[int, int]:
    """Return for each key the smallest one that it is connected with, through records that share a key."""
    parent: dict[int, int] = {}

    def root(key: int) -> int:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for keys in records:
        for key in keys[1:]:
            low, high = sorted((root(keys[0]), root(key)))
            parent[high] = low
        root(keys[0])
    return {key: root(key) for key in parent}


def _from_lines(source: str, compression: str, kind: str, columns: Sequence[str]) -> Iterator[list[str]]:
    has_column = False
    for number, (_, line) in enumerate(read_lines(source, compression), 1):
        place = f"line {number} of {source_name(source)}"
        if line is None:
            raise DataError(f"{place} is longer than a megabyte; give one text per line")
        try:
            text = line.decode("utf-8").strip()
            record = json.loads(text) if kind == "jsonl" and text else text
        except (ValueError, RecursionError) as error:
            raise DataError(f"cannot read {place}: {error}; correct it, or name another format with --format") from error
        if kind == "txt":
            yield [text] if text else []
        elif isinstance(record, dict):
            has_column = has_column or any(column in record for column in columns)
            yield _texts_in(record.get(column) for column in columns)
        elif text:
            raise DataError(f"expected a JSON object in {place}, found {type(record).__name__}; correct it")
    if kind == "jsonl" and not has_column:
        raise DataError(f"no object of {source_name(source)} has the key {', '.join(columns)}; pass --column NAME")


def _from_table(source: str, columns: Sequence[str], format: str | None) -> Iterator[list[str]]:
    for chunk in iter_table(source, format=format):
        for column in columns:
            require_column(chunk.frame, column, chunk.source, "--column")
        for cells in chunk.frame[list(columns)].itertuples(index=False):
            yield _texts_in(cells)


def _texts_in(cells: Iterable[Any]) -> list[str]:
    """Return the texts of a record's cells; what is neither a text nor a list of them counts as empty."""
    texts: list[str] = []
    for cell in cells:
        if isinstance(cell, str):
            texts += wordings_of(cell)
        elif isinstance(cell, Iterable):
            texts += [text.strip() for text in cell if isinstance(text, str) and text.strip()]
    return list(dict.fromkeys(texts))
