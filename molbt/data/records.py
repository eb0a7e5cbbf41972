"""Lines of text to records: one per row of the input, also for a row that cannot be used. `molbt.data.tables` states the policies.

Each reader takes ``(offset, line)`` pairs and returns column names and an iterator of `Record`. The names may grow while the records are
read (an SDF file names its data fields as it goes); the cells of a record are those of the first ``len(cells)`` columns.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from molbt.data.streams import MAX_LINE_BYTES
from molbt.errors import DataError

MAX_QUOTED_LINES = 100
"""How many lines a quoted field may span: a quote that is not closed within them was not meant as one."""
MAX_MOL_BLOCK_LINES = 5_000
"""Longest mol block: about 2,500 atoms with hydrogens. RDKit hangs or crashes on rings far larger than that."""
# Mol blocks handed to RDKit at a time: more than are worked on in this process.
_RECORDS_AT_ONCE = 1_000
_BYTES_AT_ONCE = 16_000_000

Lines = Iterator[tuple[int, bytes | None]]


class Record(NamedTuple):
    """One row: where it starts, its cells, and why it was refused (``""`` if it was not; a refused row has no cells)."""

    offset: int
    cells: Sequence[str]
    reason: str = ""


Columns = dict[str, None]  # names in order, each once
Reader = Callable[[Lines, str], tuple[Columns, Iterator[Record]]]

_SMILES_HEADERS = ("smiles", "canonical_smiles")
_TOO_LONG = f"longer than {MAX_LINE_BYTES:,} bytes"
_UNCLOSED = f"a quote is opened and not closed within {MAX_QUOTED_LINES} lines"
# Spaces and tabs only: what else Python takes for white space (a file separator, U+0085) would hide the rest of a damaged SMILES.
_SMILES_AND_NAME = re.compile(r"[ \t]*([^ \t]*)[ \t]*(.*)", re.DOTALL)
_FIELD_NAME = re.compile(r"<(.+?)>")


def read_smi(lines: Lines, name: str) -> tuple[Columns, Iterator[Record]]:
    """Read SMILES lines: columns ``smiles`` and ``name``, the rest of the line."""
    return dict.fromkeys(("smiles", "name")), _smi_records(lines)


def _smi_records(lines: Lines) -> Iterator[Record]:
    for number, (offset, line) in enumerate(lines):
        text, reason = _plain(*_decode(line))
        smiles, name = _SMILES_AND_NAME.fullmatch(text).groups()  # type: ignore[union-attr]  # it matches anything
        if number == 0 and smiles.lower() in _SMILES_HEADERS:
            continue
        if reason or not smiles:
            yield Record(offset, (), reason or "blank line")
        else:
            yield Record(offset, (smiles, name.rstrip()))


def read_delimited(lines: Lines, name: str, *, delimiter: str) -> tuple[Columns, Iterator[Record]]:
    """Read comma- or tab-separated lines under a header line.

    Raises
    ------
    DataError
        If there is no header line, or it cannot be read or names a column twice.
    """
    ahead = _LookAhead(lines)
    header = Record(0, (), "blank line")
    for offset, line in ahead:  # blank lines above the header are not rows
        header = _delimited_record(offset, line, ahead, delimiter, None)
        if header.reason != "blank line":
            break
    columns = [cell.strip() or f"Unnamed: {place}" for place, cell in enumerate(header.cells)]
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if header.reason or repeated:
        what = f"it names {', '.join(map(repr, repeated))} more than once" if repeated else header.reason
        raise DataError(f"expected a header line with the names of the columns at the top of {name}, but cannot use it: {what}")
    records = (_delimited_record(offset, line, ahead, delimiter, len(columns)) for offset, line in ahead)
    return dict.fromkeys(columns), records


read_csv: Reader = partial(read_delimited, delimiter=",")
read_tsv: Reader = partial(read_delimited, delimiter="\t")


class _LookAhead:
    """Lines that can be looked at before they are taken."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._seen: deque[tuple[int, bytes | None]] = deque()

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        return self

    def __next__(self) -> tuple[int, bytes | None]:
        return self._seen.popleft() if self._seen else next(self._lines)

    def peek(self, place: int) -> bytes | None:
        """The line ``place`` lines ahead, or None if there is none to use."""
        while len(self._seen) <= place:
            following = next(self._lines, None)
            if following is None:
                return None
            self._seen.append(following)
        return self._seen[place][1]

    def drop(self, count: int) -> None:
        for _ in range(count):
            self._seen.popleft()


def _delimited_record(offset: int, line: bytes | None, ahead: _LookAhead, delimiter: str, expected: int | None) -> Record:
    text, reason = _decode(line)
    cells: list[str] = []
    if '"' in text:
        cells, reason = _split_quoted(text.rstrip("\r"), delimiter)
        if reason == _UNCLOSED:
            cells, reason = _close_quote(text, ahead, delimiter, expected)
    else:
        text, reason = _plain(text, reason)
        cells = text.split(delimiter)
        if not reason and not text.strip(" "):
            reason = "blank line"
    if not reason and expected is not None and len(cells) != expected:
        reason = f"expected {expected} fields, found {len(cells)}"
    return Record(offset, (), reason) if reason else Record(offset, cells)


def _close_quote(text: str, ahead: _LookAhead, delimiter: str, expected: int | None) -> tuple[list[str], str]:
    """Add lines until the quote is closed; take them only if that makes a whole record, so that a stray quote costs one row."""
    size = len(text)
    for place in range(MAX_QUOTED_LINES - 1):
        line = ahead.peek(place)
        following, reason = _decode(line)
        size += len(following) + 1
        if line is None or reason or size > MAX_LINE_BYTES:
            break
        text += "\n" + following
        if '"' not in following:
            continue
        cells, reason = _split_quoted(text.rstrip("\r"), delimiter)
        if reason == _UNCLOSED:
            continue
        if not reason and (expected is None or len(cells) == expected):
            ahead.drop(place + 1)
            return cells, ""
        break
    return [], _UNCLOSED


def _split_quoted(text: str, delimiter: str) -> tuple[list[str], str]:
    """Split a record with quotes. A quote counts only at the start of a field; inside a quoted field it is written twice."""
    cells: list[str] = []
    place = 0
    while True:
        if text.startswith('"', place):
            end = text.find('"', place + 1)
            while end >= 0 and text.startswith('"', end + 1):
                end = text.find('"', end + 2)
            if end < 0:
                return [], _UNCLOSED
            cells.append(text[place + 1 : end].replace('""', '"'))
            place = end + 1
        else:
            end = text.find(delimiter, place)
            end = len(text) if end < 0 else end
            cells.append(text[place:end])
            place = end
        if place == len(text):
            return cells, ""
        if not text.startswith(delimiter, place):
            return [], f"text after the closing quote of field {len(cells)}"
        place += 1


def read_sdf(lines: Lines, name: str) -> tuple[Columns, Iterator[Record]]:
    """Read an SD file: columns ``smiles`` (canonical, from the mol block), ``name`` (its first line) and the data fields as they come."""
    columns = dict.fromkeys(("smiles", "name"))
    return columns, _sdf_records(lines, columns)


class _SdfRecord(NamedTuple):
    """A record as it was read: its mol block and the lines behind it, or why it is refused."""

    offset: int
    block: str
    fields: Sequence[str] = ()
    reason: str = ""


def _sdf_records(lines: Lines, columns: Columns) -> Iterator[Record]:
    """Records in order; their mol blocks go to RDKit many at a time, because that happens in other processes."""
    waiting: list[_SdfRecord] = []
    size, is_long, failure = 0, False, None
    try:
        for record in _split_records(lines):
            waiting.append(record)
            size += len(record.block) + sum(map(len, record.fields))
            if len(waiting) == _RECORDS_AT_ONCE or size > _BYTES_AT_ONCE:
                is_long = True
                yield from _finished(waiting, columns, is_long)
                waiting, size = [], 0
    except DataError as error:  # a cut file: the records before the cut come first
        failure = error
    yield from _finished(waiting, columns, is_long)
    if failure is not None:
        raise failure


def _split_records(lines: Lines) -> Iterator[_SdfRecord]:
    block: list[str] = []
    start, size, reason = -1, 0, ""
    for offset, line in lines:
        start = offset if start < 0 else start
        if line is not None and line.startswith(b"$$$$"):
            yield _sdf_record(start, block, reason)
            block, start, size, reason = [], -1, 0, ""
            continue
        text, line_reason = _plain(*_decode(line))
        size += len(text) + 1
        reason = reason or line_reason or (_TOO_LONG if size > MAX_LINE_BYTES else "")
        if not reason:
            block.append(text)
    if reason or any(line.strip() for line in block):  # the last record may do without $$$$
        yield _sdf_record(start, block, reason)


def _sdf_record(offset: int, block: list[str], reason: str) -> _SdfRecord:
    if not reason and not any(line.strip() for line in block):
        reason = "blank record"
    if reason:
        return _SdfRecord(offset, "", (), reason)
    end = next((place + 1 for place, line in enumerate(block) if line.startswith("M  END")), None)
    if end is None:  # the first three lines are free text
        end = next((place for place, line in enumerate(block) if place > 2 and line.startswith(">")), len(block))
    if end > MAX_MOL_BLOCK_LINES:
        return _SdfRecord(offset, "", (), f"mol block longer than {MAX_MOL_BLOCK_LINES:,} lines")
    return _SdfRecord(offset, "\n".join(block[:end]) + "\n", block[end:])


def _finished(records: Sequence[_SdfRecord], columns: Columns, is_part_of_more: bool) -> Iterator[Record]:
    from molbt.data.mol_blocks import smiles_of_blocks  # loads RDKit, which no other format needs

    found = iter(smiles_of_blocks([record.block for record in records if not record.reason], is_part_of_more=is_part_of_more))
    for record in records:
        smiles, reason = ("", record.reason) if record.reason else next(found)
        if reason:
            yield Record(record.offset, (), reason)
            continue
        cells = {"smiles": smiles, "name": record.block.partition("\n")[0].strip(), **_data_fields(record.fields)}
        columns.update(dict.fromkeys(cells))
        yield Record(record.offset, [cells.get(column, "") for column in columns])


def _data_fields(lines: Sequence[str]) -> dict[str, str]:
    """The data items of an SD record: ``> <NAME>``, then lines up to a blank one. Names of our own columns get ``field.`` before them."""
    fields: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in lines:
        if current is None and line.startswith(">") and (found := _FIELD_NAME.search(line)):
            name = found.group(1).strip()
            current = fields.setdefault(f"field.{name}" if name in ("smiles", "name") else name, [])
        elif not line.strip():
            current = None
        elif current is not None:
            current.append(line)
    return {name: "\n".join(values) for name, values in fields.items()}


def _decode(line: bytes | None) -> tuple[str, str]:
    """The text of a line and ``""``, or ``""`` and why the row is refused."""
    if line is None:
        return "", _TOO_LONG
    if b"\0" in line:
        return "", f"NUL character at byte {line.index(0) + 1} of the line"
    try:
        return line.decode(), ""
    except UnicodeDecodeError as error:
        return "", f"byte 0x{line[error.start]:02X} at place {error.start + 1} of the line is not UTF-8"


def _plain(text: str, reason: str) -> tuple[str, str]:
    """Take the CR of a CRLF away where there are no quotes, within which it would be text; refuse one that ends no line."""
    text = text.rstrip("\r")
    if "\r" in text:
        return "", "carriage return inside the line: lines must end in LF or CRLF"
    return text, reason
