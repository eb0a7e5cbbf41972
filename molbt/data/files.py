"""Files and directories written whole or not at all, checksums of files, locks between processes, and where the cache is."""

import errno
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from molbt.errors import ConfigError, DataError, MolbtError

logger = logging.getLogger(__name__)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary file that takes its name only when it is complete: a reader finds the old file or the new one, never a part.

    What is written goes to ``<path>.tmp.<pid>`` beside it; at the end come flush, fsync, `os.replace` and an fsync of the directory. If
    the block raises, the temporary file is removed and ``path`` stays as it was.

    Parameters
    ----------
    path : str or Path
        The directory must exist.

    Raises
    ------
    OSError
        From the file system (no space, no permission), with ``path`` as it was; it names the path.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    with _naming(path):
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def check_new_directory(directory: str | Path) -> None:
    """Raise ConfigError unless a directory is new or empty: a command asks before the work, writing again after it."""
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"expected a new or empty directory for the output, {directory} is not empty; choose another")


@contextmanager
def new_directory(directory: str | Path) -> Iterator[Path]:
    """Give a temporary directory that takes the name of ``directory``, new or empty, when the block ends without an error.

    Raises
    ------
    ConfigError
        If the directory is not empty.
    OSError
        From the file system, with nothing left behind; it names the directory.
    """
    directory = Path(directory)
    check_new_directory(directory)
    temporary = directory.with_name(f"{directory.name}.tmp.{os.getpid()}")
    with _naming(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            yield temporary
            os.replace(temporary, directory)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_directory(directory.parent)


@contextmanager
def writing(path: str | Path, *, remedy: str, error: type[MolbtError] = DataError) -> Iterator[None]:
    """Turn what the file system refuses inside the block into an error that says where, why and what to do.

    Parameters
    ----------
    path : str or Path
        Where the block writes, for the message; the failing file takes its place where it is known.
    remedy : str
        What to do, after the semicolon.
    error : type of MolbtError
        What is raised.
    """
    try:
        with _naming(Path(path)):
            yield
    except OSError as reason:
        raise error(f"cannot write {reason.filename}: {reason.strerror or reason}; {remedy}") from reason


def sync_directory(directory: str | Path) -> None:
    """Make renames and removals in a directory survive a power failure."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write an array as ``.npy``, whole or not at all."""
    with atomic_write(path) as file:
        np.save(file, array, allow_pickle=False)


def write_frame(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a frame as parquet, whole or not at all."""
    with atomic_write(path) as file:
        frame.to_parquet(file, index=False)


@contextmanager
def exclusive_lock(path: str | Path) -> Iterator[None]:
    """Hold a lock file for this process; another one that asks for it waits. The lock dies with the process that holds it."""
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("another process works in %s; waiting for it", Path(path).parent)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the path into an error that has none, or that of the temporary file: a failed write knows its handle only."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(f"{path}.tmp."):
            raise
        reason = error.strerror or f"{error}, as on a full disk"
        raise OSError(error.errno or errno.EIO, reason, str(path)) from error


def cache_directory() -> Path:
    """Return where files are kept that nobody named a directory for: ``$MOLBT_CACHE``, or ``~/.cache/molbt``."""
    return Path(os.environ.get("MOLBT_CACHE") or Path.home() / ".cache" / "molbt")
