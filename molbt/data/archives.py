"""Archives from elsewhere, unpacked without trusting them."""

import bz2
import errno
import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from molbt.errors import DataError

MAX_BYTES = 20_000_000_000
MAX_MEMBERS = 100_000
MAX_RATIO = 200
"""Most that is unpacked unless told: bytes and members in all, and bytes for each byte of the archive. Text reaches a ratio of 20."""

_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_CHUNK = 1 << 20
# What tarfile, zipfile and the decoders raise when bytes are not what they should be.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, NotImplementedError, ValueError,
    OverflowError, RecursionError, MemoryError,
)  # fmt: skip


def extract(
    archive: str | Path,
    directory: str | Path,
    *,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
    max_ratio: float = MAX_RATIO,
) -> None:
    """Unpack a tar (plain, gz, bz2 or xz) or zip file into a new directory: whole or not at all.

    Only files and directories whose names stay inside are accepted; one bad member refuses the archive. Check its checksum first.

    Parameters
    ----------
    archive : path
    directory : path
        Must not exist; its parent must.
    max_bytes, max_members : int
    max_ratio : float

    Raises
    ------
    DataError
        If the directory exists, the archive is damaged or of another kind, a limit is passed, or a member is a link, a device, encrypted,
        sparse, to be run with its owner's rights, there twice (on some machines ``A`` and ``a`` are one), or named so that it would land
        elsewhere. Nothing is left behind.
    """
    archive, directory = Path(archive), Path(directory)
    if directory.exists():
        raise DataError(f"expected no directory at {directory} to unpack {archive} into, found one; move it away")
    budget = _Budget(archive, min(max_bytes, int(max_ratio * archive.stat().st_size)), max_members)
    temporary = directory.with_name(f"{directory.name}.tmp.{os.getpid()}")
    temporary.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, temporary, budget)
        else:
            _extract_tar(archive, temporary, budget)
        os.replace(temporary, directory)
    except DataError:
        raise
    except _DAMAGE as error:
        # bz2 and gzip report damage without a number, and a damaged zip file seeks to before its start; a full disk is no fault of theirs.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL, errno.ENAMETOOLONG):
            raise
        raise DataError(f"cannot unpack {archive}: {error}; get the file again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@dataclass
class _Budget:
    """What may still be unpacked."""

    archive: Path
    n_bytes: int
    n_members: int
    names: set[str] = field(default_factory=set)

    def take(self, name: str, size: int) -> None:
        self.n_members -= 1
        self.n_bytes -= size
        if self.n_members < 0 or self.n_bytes < 0:
            raise self.refusal(name, "it passes the limit on members, bytes, or bytes per byte of archive")

    def refusal(self, name: str, why: str) -> DataError:
        return DataError(f"refused to unpack {self.archive} at its member {name!r}: {why}; nothing was kept. Get the file from its origin")


class _Limited:
    """A stream that ends in an error when more is read than the members could hold: headers of a tar file may be bombs too."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget
        self._left = budget.n_bytes + budget.archive.stat().st_size + tarfile.RECORDSIZE * 2

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise self._budget.refusal("", "it passes the limit on bytes")
        return data


def _extract_tar(archive: Path, directory: Path, budget: _Budget) -> None:
    with open(archive, "rb") as file:
        start = file.read(6)
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), open)
    with opener(archive, "rb") as stream, tarfile.open(fileobj=_Limited(stream, budget), mode="r|") as tar:  # type: ignore[call-overload]
        for member in tar:
            target = _target(member.name, directory, budget)
            if member.isreg() and member.mode & (stat.S_ISUID | stat.S_ISGID):
                raise budget.refusal(member.name, "it asks to be run with the rights of its owner")
            if not (member.isdir() or member.isreg()) or member.issparse():
                raise budget.refusal(member.name, "it is a link, a device or a sparse file, where files and directories are expected")
            budget.take(member.name, member.size)
            if member.isdir():
                _make_directory(target, member.name, budget)
            else:
                _make_room(target, member.name, budget)
                tar.extract(member, directory, set_attrs=False, filter="data")


def _extract_zip(archive: Path, directory: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            # zipfile cuts a name at a zero byte; what stands in the file decides.
            target = _target(member.orig_filename, directory, budget)
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise budget.refusal(member.filename, "it is a link or a device, where files and directories are expected")
            if not member.is_dir() and (member.external_attr >> 16) & (stat.S_ISUID | stat.S_ISGID):
                raise budget.refusal(member.filename, "it asks to be run with the rights of its owner")
            if member.flag_bits & 0x1:
                raise budget.refusal(member.filename, "it is encrypted")
            budget.take(member.filename, member.file_size)
            if member.is_dir():
                _make_directory(target, member.filename, budget)
                continue
            _make_room(target, member.filename, budget)
            with file.open(member) as source, open(target, "xb") as out:
                shutil.copyfileobj(source, out, _CHUNK)


def _target(name: str, directory: Path, budget: _Budget) -> Path:
    """Where a member goes, if its name is a plain relative path."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not name.isprintable():
        raise budget.refusal(name, "its name is not a plain relative path")
    return directory.joinpath(*path.parts)


def _make_directory(path: Path, name: str, budget: _Budget) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise budget.refusal(name, "a file of that name came before it") from error


def _make_room(target: Path, name: str, budget: _Budget) -> None:
    _make_directory(target.parent, name, budget)
    # As a file system would see it that does not tell capitals apart, or composes accents.
    seen = unicodedata.normalize("NFKC", str(target)).casefold()
    if target.exists() or seen in budget.names:
        raise budget.refusal(name, "it is there twice")
    budget.names.add(seen)
