"""Bringing a data set of the catalogue into a folder: copied from another folder, or fetched from its origin."""

import gzip
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from molbt.data.archives import extract
from molbt.data.catalogue import ORIGIN_ENDING, DataSet, verify
from molbt.data.downloads import download
from molbt.data.files import atomic_write, exclusive_lock, sha256_of
from molbt.errors import DataError

Progress = Callable[[str], None]


def get(
    data_set: DataSet,
    folder: str | Path,
    *,
    source: str | Path | None = None,
    accept_unverified: bool = False,
    progress: Progress | None = None,
    schemes: Sequence[str] = ("https",),
) -> None:
    """Bring the files of a data set that are not there yet.

    Parameters
    ----------
    data_set : DataSet
    folder : path
        The data folder; made if it is missing.
    source : path, optional
        Another data folder, which is copied from where it has a file.
    accept_unverified : bool
        Fetch from the origin although the catalogue has no checksum for what is there.
    progress : callable, optional
        Receives lines of text.
    schemes : sequence of str
        As for ``download``.

    Raises
    ------
    DataError
        If a file in either folder is not as it should be (nothing is overwritten), or has to be fetched and that was not accepted, is not
        possible, or fails.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    say = progress or (lambda line: None)
    with exclusive_lock(folder / ".lock"):
        states = verify(data_set, folder)
        wrong = [path for path, state in states.items() if state == "differs"]
        if wrong:
            raise DataError(f"{folder / wrong[0]} has another checksum than {data_set.name} should have ({_others(wrong)}); move it away")
        missing = [path for path, state in states.items() if state == "missing"]
        here = [path for path in missing if source is not None and (Path(source) / path).is_file()]
        for path in here:
            _copy(Path(source or "") / path, folder / path, data_set.files[path])
        if here:
            say(f"{_others(here)}: copied from {source}, with the checksums they should have")
        elsewhere = [path for path in missing if path not in here]
        if elsewhere:
            _fetch(data_set, elsewhere, folder, accept_unverified, say, schemes)


def _fetch(data_set: DataSet, paths: list[str], folder: Path, accept_unverified: bool, say: Progress, schemes: Sequence[str]) -> None:
    addresses = {path: data_set.urls[path] for path in paths if path in data_set.urls}
    if len(addresses) < len(paths) and data_set.archive is None:
        raise DataError(
            f"no address is known for {_others([path for path in paths if path not in addresses])} of {data_set.name}; "
            f"put the files into {folder} by hand. Origin: {data_set.origin}"
        )
    if not accept_unverified:
        where = ", ".join(addresses.values()) if data_set.archive is None else data_set.archive
        raise DataError(
            f"the checksum of {where} is unknown, so what arrives cannot be checked; pass --accept-unverified to fetch it all the same, or "
            f"--from FOLDER to copy from a folder that holds {_others(paths)}"
        )
    if data_set.archive is not None:
        _fetch_archive(data_set.archive, folder / paths[0].split("/")[0], say, schemes)
        return
    for path, url in addresses.items():
        checksum = _fetch_file(url, folder / path, schemes)
        say(f"{path}: fetched from {url}, not verified (SHA-256 {checksum})")


def _fetch_file(url: str, target: Path, schemes: Sequence[str]) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    received = target.with_name(f"{target.name}.received")
    try:
        download(url, received, sha256=None, schemes=schemes)
        with open(received, "rb") as source, atomic_write(target) as file:
            if target.suffix == ".gz" and not url.endswith(".gz"):
                with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:  # no name, no time: the same bytes each time
                    shutil.copyfileobj(source, packed)
            else:
                shutil.copyfileobj(source, file)
    finally:
        received.unlink(missing_ok=True)
    checksum = sha256_of(target)
    with atomic_write(target.with_name(target.name + ORIGIN_ENDING)) as file:
        file.write(json.dumps({"url": url, "sha256": checksum, "bytes": target.stat().st_size}, indent=2).encode())
    return checksum


def _fetch_archive(url: str, directory: Path, say: Progress, schemes: Sequence[str]) -> None:
    received = directory.with_name(f"{directory.name}.archive")
    try:
        checksum = download(url, received, sha256=None, schemes=schemes)
        extract(received, directory)
    finally:
        received.unlink(missing_ok=True)
    say(f"{directory}: unpacked from {url}, not verified (SHA-256 {checksum})")


def _copy(source: Path, target: Path, checksum: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(source, "rb") as file, atomic_write(target) as out:
        shutil.copyfileobj(file, out)
        out.flush()
        if (found := sha256_of(out.name)) != checksum:
            raise DataError(f"expected the SHA-256 {checksum} for {source}, found {found}; get that file again, nothing was copied")


def _others(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
