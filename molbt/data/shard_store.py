"""Shards of a table that is being written: what is finished survives a kill, and is used again only for the same work on the same rows.

One folder, beside the output, until that is whole::

    settings.json        what decides the numbers; another run must have the same
    <first row>.parquet  the finished rows of a shard
    <first row>.json     the hash of the rows that went in, that of the file, and the facts about them; without it the shard is not finished
    lock                 one process writes at a time
"""

import fcntl
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from molbt.config_text import differences
from molbt.data.files import atomic_write, sha256_of
from molbt.data.json_files import read_json
from molbt.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardStore:
    """The folder of the module's docstring; made by `open_store`."""

    directory: Path

    def path(self, name: str) -> Path:
        """Return where the rows of a shard are."""
        return self.directory / f"{name}.parquet"

    def find(self, name: str, input_sha256: str) -> dict[str, Any] | None:
        """Return the facts of a finished shard, or None if it is to be done; why one that is there is not used is said."""
        note, path = self.directory / f"{name}.json", self.path(name)
        if not (note.is_file() and path.is_file()):
            return None
        try:
            content = read_json(note, remedy="it is done again", error=DataError)
        except DataError as error:
            logger.warning("%s", error)
            return None
        if content.get("input_sha256") != input_sha256:
            logger.warning("the rows from %d on differ from those that %s was made of: done again", int(name), path)
            return None
        if content.get("sha256") != sha256_of(path):
            logger.warning("%s is damaged: done again", path)
            return None
        return content["facts"]

    def commit(self, name: str, rows: pa.Table, input_sha256: str, facts: Mapping[str, Any]) -> None:
        """Write a shard: first its rows, then the note that makes it finished."""
        with atomic_write(self.path(name)) as file:
            pq.write_table(rows, file, compression="zstd")
        content = {"input_sha256": input_sha256, "sha256": sha256_of(self.path(name)), "facts": dict(facts)}
        with atomic_write(self.directory / f"{name}.json") as file:
            file.write(json.dumps(content).encode())


@contextmanager
def open_store(directory: Path, settings: Mapping[str, Any]) -> Iterator[ShardStore]:
    """Open the folder, new or left behind by a process that was killed, for this process alone; it is removed when the block ends well.

    Parameters
    ----------
    directory : Path
    settings : mapping
        JSON values: all that decides the numbers in a shard, beside its rows.

    Raises
    ------
    ConfigError
        If another process works in it, it holds shards of other settings, or it is no such folder.
    """
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"expected a folder for finished shards, {directory} is a file; remove it, or choose another output")
    note = directory / "settings.json"
    if directory.is_dir() and not note.is_file() and any(path.name != "lock" and ".tmp." not in path.name for path in directory.iterdir()):
        raise ConfigError(f"expected a folder of finished shards, {directory} holds something else; choose another output")
    directory.mkdir(exist_ok=True)
    with open(directory / "lock", "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another process writes into {directory}; wait for it, or choose another output") from error
        for left_behind in directory.glob("*.tmp.*"):
            left_behind.unlink()
        if note.is_file():
            _check_settings(note, settings)
            logger.info("going on with the shards in %s", directory)
        else:
            with atomic_write(note) as file:
                file.write(json.dumps(settings, indent=1).encode())
        yield ShardStore(directory)
        shutil.rmtree(directory)


def _check_settings(note: Path, settings: Mapping[str, Any]) -> None:
    remedy = f"remove {note.parent} to begin anew, or choose another output"
    own = read_json(note, remedy=remedy, error=ConfigError)
    changed = differences(own, json.loads(json.dumps(settings)))
    if changed:
        raise ConfigError(
            f"{note.parent} holds shards that were made in another way ({'; '.join(changed)}); run that command again, {remedy}"
        )
