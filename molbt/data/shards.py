"""A column's unique values worked on shard by shard: shards that are done survive a kill, and the result does not depend on the processes.

All that is made of a column's molecules is made in one pass, in which each molecule is parsed once.
"""

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molbt.config import ViewConfig
from molbt.data.array_files import ArrayFile, read_array
from molbt.data.columns import merge_columns, write_column
from molbt.data.executors import ShardExecutor
from molbt.data.files import atomic_write, sync_directory, write_array, write_frame
from molbt.data.json_files import read_json
from molbt.data.molecules import ParsePolicy
from molbt.data.preparing import Block, Entries, prepare_numbered_blocks
from molbt.data.stored_texts import StoredTexts, TextFile
from molbt.errors import DataError

SHARD_SIZE = 8_192
"""Values in a shard."""

Progress = Callable[[str, int, int], None]
"""Called as ``progress(label, done, total)``; a total of 0 is not known yet."""

_REMEDY = "prepare the corpus again in a new directory"


@dataclass(frozen=True)
class IdentityPlaces:
    """Where the hashes of values go, and the values that no work survived, with their reasons."""

    hashes: Path
    fatal: Path


def prepare_values(
    views: Mapping[Path, ViewConfig],
    identities: IdentityPlaces | None,
    values: StoredTexts,
    policy: ParsePolicy,
    *,
    n_jobs: int,
    progress: Progress,
    refused: dict[str, str],
    executor: ShardExecutor | None = None,
) -> None:
    """Prepare values for some views in one pass; what is made takes its name when it is complete.

    Parameters
    ----------
    views : mapping of Path to ViewConfig
        New directories, which get one folder per column (``molbt.data.columns``) and ``reasons.parquet``. Shards wait in
        ``<directory>.shards``.
    identities : IdentityPlaces, optional
        Where ``molecule_and_scaffold_hashes`` of the values go, if they are to be made too.
    values : StoredTexts
        Unique values.
    refused : dict of str to str
        Values that are refused with these reasons. Those that kill their worker here are added, and refused by everything that is made in
        this pass (``molbt.data.isolation``).
    executor : ShardExecutor, optional
        Where shards are worked on; by default here. They are written here in any case.
    """
    outputs: list[_Output] = [_Columns(place, number) for number, place in enumerate(views)]
    outputs += [_Identities(identities.hashes, identities.fatal)] if identities else []
    for output in outputs:
        output.shards.mkdir(parents=True, exist_ok=True)
    shards = [_Shard(start, min(start + SHARD_SIZE, len(values))) for start in range(0, max(len(values), 1), SHARD_SIZE)]
    todo = {shard for shard in shards if not all((output.shards / shard.name).exists() for output in outputs)}
    label = f"preparing {', '.join(dict.fromkeys(view.modality for view in views.values()))}" if views else "hashing molecules"
    done = len(values) - sum(len(shard) for shard in todo)
    progress(label, done, len(values))
    at_work: dict[int, tuple[_Shard, list[str]]] = {}

    def blocks() -> Iterator[list[str]]:
        for shard, block in zip(shards, values.blocks(SHARD_SIZE), strict=True):
            if shard in todo:
                at_work[number_of[shard]] = shard, block
                yield block

    number_of = {shard: number for number, shard in enumerate(shard for shard in shards if shard in todo)}
    modalities = [view.build_modality() for view in views.values()]
    options: dict[str, Any] = {"n_values": len(values), "executor": executor, "n_jobs": n_jobs, "refused": refused}
    if todo:
        for number, made in prepare_numbered_blocks(modalities, blocks(), policy, with_hashes=identities is not None, **options):
            shard, block = at_work.pop(number)
            fatal = {value: refused[value] for value in block if value in refused}
            for output in outputs:
                output.write(made, fatal, output.shards / shard.name)
            done += len(shard)
            progress(label, done, len(values))
    for output in outputs:
        output.merge([output.shards / shard.name for shard in shards])
        sync_directory(output.place.parent)
        shutil.rmtree(output.shards)


@dataclass(frozen=True)
class _Shard:
    """A range of values."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def name(self) -> str:
        return f"{self.start:012d}-{self.end:012d}"


class _Output(ABC):
    """One of the things that a pass makes: a folder of shards until all are there."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.shards = place.with_suffix(".shards")

    def write(self, made: Block, fatal: dict[str, str], shard: Path) -> None:
        """Write the share of a block, whole or not at all; one that an earlier process wrote stays."""
        if shard.exists():
            return
        temporary = shard.with_name(f"{shard.name}.tmp{os.getpid()}")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        self._write(made, fatal, temporary)
        os.replace(temporary, shard)

    @abstractmethod
    def _write(self, made: Block, fatal: dict[str, str], directory: Path) -> None: ...

    @abstractmethod
    def merge(self, parts: Sequence[Path]) -> None:
        """Make one of the shards, with one of them in memory."""


class _Columns(_Output):
    """The columns of a view, and why values were refused."""

    def __init__(self, place: Path, number: int) -> None:
        super().__init__(place)
        self._number = number

    def _write(self, made: Block, fatal: dict[str, str], directory: Path) -> None:
        entries: Entries = made.entries[self._number]
        for name, column in entries.columns.items():
            write_column(column, directory / name)
        write_frame(directory / "reasons.parquet", pd.DataFrame({"reason": entries.reasons}, dtype="str"))

    def merge(self, parts: Sequence[Path]) -> None:
        merged = self.place.with_suffix(".tmp")
        shutil.rmtree(merged, ignore_errors=True)
        merged.mkdir()
        for name in sorted(path.name for path in parts[0].iterdir() if path.is_dir()):
            merge_columns([part / name for part in parts], merged / name)
        with TextFile(merged / "reasons.parquet", "reason") as reasons:
            for part in parts:
                reasons.append(pd.read_parquet(part / "reasons.parquet")["reason"].tolist())
        os.replace(merged, self.place)


class _Identities(_Output):
    """The hashes of values, and those that were fatal."""

    def __init__(self, place: Path, fatal: Path) -> None:
        super().__init__(place)
        self._fatal = fatal

    def _write(self, made: Block, fatal: dict[str, str], directory: Path) -> None:
        if made.hashes is None:
            raise DataError(f"expected hashes of molecules for {self.place}, none were made; {_REMEDY}")
        write_array(directory / "hashes.npy", made.hashes)
        with atomic_write(directory / "fatal.json") as file:
            file.write(json.dumps(fatal).encode())

    def merge(self, parts: Sequence[Path]) -> None:
        fatal: dict[str, str] = {}
        temporary = self.place.with_suffix(".tmp")
        with ArrayFile(temporary, np.uint64, (2,)) as hashes:
            for part in parts:
                hashes.append(read_array(part / "hashes.npy", remedy=_REMEDY))
                fatal |= read_json(part / "fatal.json", remedy=_REMEDY, error=DataError)
        with atomic_write(self._fatal) as file:
            file.write(json.dumps(fatal).encode())
        os.replace(temporary, self.place)
