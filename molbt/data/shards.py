"""Columns of a view, prepared shard by shard: shards that are done survive a kill, and the result does not depend on the processes."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from molbt.config import ViewConfig
from molbt.data.columns import merge_columns, write_column
from molbt.data.executors import ShardExecutor
from molbt.data.files import sync_directory, write_frame
from molbt.data.molecules import ParsePolicy
from molbt.data.preparing import Entries, prepare_numbered_blocks

SHARD_SIZE = 8_192
"""Values in a shard."""

Progress = Callable[[str, int, int], None]
"""Called as ``progress(label, done, total)``; a total of 0 is not known yet."""


def prepare_columns(
    view: ViewConfig,
    policy: ParsePolicy,
    values: Sequence[str],
    directory: Path,
    *,
    n_jobs: int,
    progress: Progress,
    refused: dict[str, str] | None = None,
    executor: ShardExecutor | None = None,
) -> None:
    """Prepare values for a view's modality into a new directory, which takes its name when it is complete.

    Parameters
    ----------
    values : sequence of str
        Unique values.
    directory : Path
        Gets one folder per column (``molbt.data.columns``) and ``reasons.parquet``. Shards wait in ``<directory>.shards``.
    refused : dict of str to str, optional
        Values that are refused with these reasons; those that kill their worker here are added (``molbt.data.isolation``).
    executor : ShardExecutor, optional
        Where shards are worked on; by default here. They are written here in any case.
    """
    label, shards = f"preparing {view.modality}", directory.with_suffix(".shards")
    shards.mkdir(parents=True, exist_ok=True)
    starts = range(0, max(len(values), 1), SHARD_SIZE)
    places = [shards / f"{start:012d}-{min(start + SHARD_SIZE, len(values)):012d}" for start in starts]
    todo = [(start, place) for start, place in zip(starts, places, strict=True) if not place.exists()]
    done = len(values) - sum(len(values[start : start + SHARD_SIZE]) for start, _ in todo)
    progress(label, done, len(values))
    if todo:
        waiting = [value for start, _ in todo for value in values[start : start + SHARD_SIZE]]
        modality = view.build_modality()
        for number, entries in prepare_numbered_blocks(
            modality, waiting, policy, executor=executor, n_jobs=n_jobs, block_size=SHARD_SIZE, refused=refused
        ):
            _write_shard(entries, todo[number][1])
            done += len(entries.reasons)
            progress(label, done, len(values))
    merged = directory.with_suffix(".tmp")
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir()
    for name in sorted(path.name for path in places[0].iterdir() if path.is_dir()):
        merge_columns([place / name for place in places], merged / name)
    write_frame(merged / "reasons.parquet", pd.concat([pd.read_parquet(place / "reasons.parquet") for place in places], ignore_index=True))
    os.replace(merged, directory)
    sync_directory(directory.parent)
    shutil.rmtree(shards)


def _write_shard(entries: Entries, place: Path) -> None:
    temporary = place.with_name(f"{place.name}.tmp{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for name, column in entries.columns.items():
        write_column(column, temporary / name)
    write_frame(temporary / "reasons.parquet", pd.DataFrame({"reason": entries.reasons}, dtype="str"))
    os.replace(temporary, place)
