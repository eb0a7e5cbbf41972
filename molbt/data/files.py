"""Files written whole or not at all, and their checksums."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
        From the file system (no space, no permission), with ``path`` as it was.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
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
