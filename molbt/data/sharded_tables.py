"""Columns added to a table of any length: it is read as a stream, worked on shard by shard, and written in order.

Memory holds the shards under way and no more. A shard that is done is committed to a folder beside the output (`molbt.data.shard_store`),
so that the same command goes on where it was killed; the output appears whole, and the folder goes. The bytes of the output depend on
neither the executor, nor the number of processes, nor on how often it was begun.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pandas as pd
import pyarrow as pa

from molbt.data.executors import ShardExecutor
from molbt.data.files import writing
from molbt.data.isolation import isolating
from molbt.data.shard_store import ShardStore, open_store
from molbt.data.table_merging import holds_carriage_return, merge_tables, to_arrow
from molbt.data.tables import TableChunk, iter_table, require_column

Progress: TypeAlias = Callable[[str, int, int], None]
SHARD_ROWS = 65_536
REASON = "molbt_reason"
"""Column that says why a row was refused, ``""`` where it was not."""

logger = logging.getLogger(__name__)


class AddedColumns(Protocol):
    """What is worked out for each value of a column; it is sent to wherever shards run."""

    def __call__(self, values: Sequence[Any]) -> pd.DataFrame:
        """Return the new columns, `REASON` among them: one row per value, in order. A refused row is missing in all others."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """Return, as JSON values, all that decides the numbers."""
        ...


@dataclass
class Written:
    """What was written.

    Attributes
    ----------
    rows, refused : int
    first_reason : str
        Of the first refused row.
    added : list of str
        The new columns.
    """

    rows: int = 0
    refused: int = 0
    first_reason: str = ""
    added: list[str] = field(default_factory=list)


def add_columns(
    source: str | Path,
    output: Path,
    work: AddedColumns,
    *,
    column: str = "smiles",
    format: str | None = None,
    shard_rows: int = SHARD_ROWS,
    executor: ShardExecutor | None = None,
    label: str = "rows",
    progress: Progress | None = None,
) -> Written:
    """Write a table with new columns behind its own; a column of its own with the name of a new one is replaced.

    Parameters
    ----------
    source : path, or ``-``
        As for `iter_table`.
    output : Path
        ``.csv``, ``.tsv`` or ``.parquet``. Finished shards wait in ``<output>.shards``.
    work : AddedColumns
        Is given the cells of ``column``; a row that the reader refused is a blank.
    shard_rows : int
    executor : ShardExecutor, optional
        Where ``work`` is done; by default here.
    label, progress
        Called as ``progress(label, rows done, 0)``.

    Raises
    ------
    ConfigError
        If shards of other settings wait there, or another process writes there.
    DataError
        If the table cannot be read, lacks the column, or the output cannot be written. What is finished is kept.
    ExecutionError
        As `ShardExecutor.map` raises it.
    """
    chunks = _checked(iter_table(source, format=format, chunk_rows=shard_rows), column)
    settings = {"work": dict(work.settings()), "column": column, "shard_rows": shard_rows}
    remedy = "free space or correct the permissions, then run the same command again: finished shards are not done twice"
    shards = output.with_name(f"{output.name}.shards")
    first = next(chunks)  # a wrong column or file is found before anything is written
    with writing(output, remedy=remedy), open_store(shards, settings) as store:
        progressing = _Progress(label, progress)
        waiting = _Waiting(store, column, progressing)
        executor = executor or ShardExecutor()
        for name, added in executor.map(partial(_work_on, work, not executor.is_local), waiting.shards(first, chunks)):
            waiting.commit(name, added)
        facts = [waiting.facts[name] for name in sorted(waiting.facts)]
        written = Written(
            rows=sum(fact["rows"] for fact in facts),
            refused=sum(fact["refused"] for fact in facts),
            first_reason=next((fact["first_reason"] for fact in facts if fact["refused"]), ""),
            added=facts[0]["added"],
        )
        own = dict.fromkeys(name for fact in facts for name in fact["columns"])
        _say_replaced(own, written.added)
        columns = [name for name in own if name not in set(written.added)] + written.added
        parts = [store.path(name) for name in sorted(waiting.facts)]
        merge_tables(parts, columns, output, quote_all=any(fact["carriage_return"] for fact in facts))
    return written


def _work_on(work: AddedColumns, is_elsewhere: bool, shard: tuple[int, list[Any]]) -> pd.DataFrame:
    """Work on a shard; one that follows others, or is worked on elsewhere, is isolated however small it is."""
    first_row, values = shard
    with isolating(is_elsewhere or first_row > 0):
        return work(values)


class _Waiting:
    """Shards that were read and are being worked on, and the facts of those that are finished."""

    def __init__(self, store: ShardStore, column: str, progress: "_Progress") -> None:
        self._store = store
        self._column = column
        self._progress = progress
        self._read: dict[str, tuple[TableChunk, str]] = {}
        self.facts: dict[str, dict[str, Any]] = {}

    def shards(self, first: TableChunk, following: Iterable[TableChunk]) -> Iterator[tuple[str, tuple[int, list[Any]]]]:
        """Yield the name, the first row and the values of each shard that is not finished."""
        chunk: TableChunk | None = first
        rest = iter(following)
        while chunk is not None:
            name, digest = f"{chunk.first_row:012d}", _digest(chunk)
            facts = self._store.find(name, digest)
            if facts is not None:
                self._finish(name, facts)
            else:
                self._read[name] = chunk, digest
                values = zip(chunk.frame.index, chunk.frame[self._column].tolist(), strict=True)
                yield name, (chunk.first_row, ["" if row in chunk.problems else value for row, value in values])
            chunk = next(rest, None)

    def commit(self, name: str, added: pd.DataFrame) -> None:
        """Put a shard's new columns beside its own, and finish it."""
        chunk, digest = self._read.pop(name)
        frame = chunk.frame.reset_index(drop=True)
        reasons = added[REASON].tolist()
        for row, reason in chunk.problems.items():
            reasons[row - chunk.first_row] = reason
        added = added.assign(**{REASON: pd.Series(reasons, dtype="str")})
        kept = frame.drop(columns=[own for own in frame.columns if own in set(added.columns)])
        rows = pd.concat([kept, added], axis=1)
        facts = {
            "rows": len(rows),
            "columns": [str(own) for own in frame.columns],
            "added": [str(new) for new in added.columns],
            "refused": sum(bool(reason) for reason in reasons),
            "first_reason": next((reason for reason in reasons if reason), ""),
            "carriage_return": holds_carriage_return(rows),
        }
        self._store.commit(name, to_arrow(rows), digest, facts)
        self._finish(name, facts)

    def _finish(self, name: str, facts: dict[str, Any]) -> None:
        self.facts[name] = facts
        self._progress.add(facts["rows"])


class _Progress:
    def __init__(self, label: str, report: Progress | None) -> None:
        self._label, self._report, self._done = label, report, 0

    def add(self, rows: int) -> None:
        self._done += rows
        if self._report is not None:
            self._report(self._label, self._done, 0)


def _checked(chunks: Iterator[TableChunk], column: str) -> Iterator[TableChunk]:
    for chunk in chunks:
        require_column(chunk.frame.columns, column, chunk.source, "--smiles-column")
        yield chunk


def _digest(chunk: TableChunk) -> str:
    """Return the SHA-256 of the rows that went into a shard: cells, and what the reader refused."""
    digest = hashlib.sha256(repr(sorted(chunk.problems.items())).encode())
    sink = pa.BufferOutputStream()
    table = to_arrow(chunk.frame)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    digest.update(sink.getvalue())
    return digest.hexdigest()


def _say_replaced(own: Iterable[str], added: Sequence[str]) -> None:
    replaced = [name for name in own if name in set(added)]
    if replaced:
        logger.warning("columns of the input that are written anew: %s", ", ".join(replaced[:5]))
