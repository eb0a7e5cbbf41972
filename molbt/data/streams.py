"""Bytes of a table, plain or compressed, from a file or standard input: in pieces, then in lines, with bounded memory.

``.gz`` and ``.zst`` are taken apart here rather than by `gzip` or ``stream_reader``, because the latter ends quietly where a file was cut,
and because an error should name the place.
"""

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import chain
from typing import Any

import zstandard

from molbt.errors import DataError

MAX_LINE_BYTES = 1_000_000
"""A longer line is not kept."""

_PLAIN_PIECE = 1 << 18
# Both decoders hand out all that a piece holds at once: at most 1,032 times its size for gzip, about 30,000 times for zstd (runs).
_COMPRESSED_PIECE = {"gz": 1 << 12, "zst": 1 << 9}
_DECODERS: dict[str, Callable[[], Any]] = {
    "gz": lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 16),
    "zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
}
# First bytes of what a text file is sometimes mistaken for, and what to do about it.
_FOREIGN_STARTS = {
    b"\x1f\x8b": "is gzip-compressed, but its name or format says plain text; name it .gz or pass a format such as csv.gz",
    b"\x28\xb5\x2f\xfd": "is zstd-compressed, but its name or format says plain text; name it .zst or pass a format such as csv.zst",
    b"PK\x03\x04": "is a zip archive (a spreadsheet is one too), not a text table; unpack it or export it as CSV",
    b"PAR1": "is a parquet file, but its name or format says text; name it .parquet or pass format parquet",
    b"\xff\xfe": "is UTF-16, expected UTF-8; convert it (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "is UTF-16, expected UTF-8; convert it (iconv -f UTF-16 -t UTF-8)",
}
_BOM = b"\xef\xbb\xbf"


def read_lines(source: str, compression: str = "") -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines of a text, each with its byte offset in the (decompressed) text and without its ``\\n``.

    Parameters
    ----------
    source : str
        A path, or ``"-"`` for standard input.
    compression : {"", "gz", "zst"}

    Yields
    ------
    offset : int
        A byte order mark is left out of the first line, but counts.
    line : bytes or None
        None for a line longer than `MAX_LINE_BYTES`, which is skipped without being held in memory. What follows the last ``\\n`` is a
        line only if it is not empty.

    Raises
    ------
    DataError
        If the file cannot be opened or read, is empty, is not text (UTF-16, an archive), or is cut or corrupt; the lines before that
        place have been yielded.
    """
    pieces = read_pieces(source, compression)
    head = _head(pieces, source)
    offset = len(_BOM) if head.startswith(_BOM) else 0
    # A line that grows over several pieces waits in `pending`; once too long, only its length is kept, in `skipped`.
    pending, skipped = b"", 0
    for piece in chain([head[offset:]], pieces):
        *ended, rest = piece.split(b"\n")
        for line in ended:
            line = pending + line
            length = skipped + len(line)
            yield offset, line if length <= MAX_LINE_BYTES else None
            offset += length + 1
            pending, skipped = b"", 0
        pending += rest
        if skipped + len(pending) > MAX_LINE_BYTES:
            pending, skipped = b"", skipped + len(pending)
    if pending or skipped:
        yield offset, None if skipped else pending


def read_pieces(source: str, compression: str = "") -> Iterator[bytes]:
    """Yield the bytes of a source, decompressed, in pieces of any size; parameters and errors as for `read_lines`."""
    raw = _raw_pieces(source, _COMPRESSED_PIECE.get(compression, _PLAIN_PIECE))
    return _decompress(raw, source_name(source), compression) if compression else raw


def source_name(source: str) -> str:
    """Return how messages call a source: its path, or ``standard input``."""
    return "standard input" if source == "-" else source


def _raw_pieces(source: str, size: int) -> Iterator[bytes]:
    try:
        with nullcontext(sys.stdin.buffer) if source == "-" else open(source, "rb") as file:
            while piece := file.read(size):
                yield piece
    except OSError as error:
        raise DataError(f"cannot read {source_name(source)}: {error.strerror or error}; check the path and its permissions") from error


def _decompress(raw: Iterable[bytes], name: str, compression: str) -> Iterator[bytes]:
    """Decode one member (gzip) or frame (zstd) after the other, to the last byte of the last one."""
    decoder, taken, given = None, 0, 0
    for piece in raw:
        while piece:
            if decoder is None:
                if taken and not piece.strip(b"\0"):
                    break  # tapes and some tools pad the end with zeros
                decoder = _DECODERS[compression]()
            try:
                decoded = decoder.decompress(piece)
            except (zlib.error, zstandard.ZstdError) as error:
                raise DataError(
                    f"{name} is corrupt, within {len(piece):,} bytes after its byte {taken:,} ({given:,} bytes decompressed so far): "
                    f"{error}; get the file again"
                ) from error
            rest = decoder.unused_data if decoder.eof else b""
            taken += len(piece) - len(rest)
            given += len(decoded)
            yield decoded
            decoder, piece = (None if decoder.eof else decoder), rest
    if decoder is not None:
        raise DataError(
            f"{name} is cut short at its byte {taken:,} ({given:,} bytes decompressed): no end of the {compression} stream; get it again"
        )


def _head(pieces: Iterator[bytes], source: str) -> bytes:
    """The first bytes, enough to tell that this is a text."""
    head = b""
    while len(head) < 4 and (piece := next(pieces, None)) is not None:
        head += piece
    if not head.removeprefix(_BOM):
        raise DataError(f"{source_name(source)} is empty, expected at least one row")
    for start, remedy in _FOREIGN_STARTS.items():
        if head.startswith(start):
            raise DataError(f"{source_name(source)} {remedy}")
    return head
