"""Public data sets by name: where they come from, on what terms, and what their files must hash to.

The catalogue is ``catalogue.yaml`` beside this file; checksums stand in ``SHA256SUMS`` in the format of ``sha256sum``. They are those of
the files in the layout that molbt reads, which is mostly not that of the origin (compressed, SMILES in front): a file that was fetched from
an origin is therefore *unverified*, and is marked so by ``<file>.origin.json`` beside it.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from molbt.data.files import sha256_of
from molbt.data.json_files import read_json
from molbt.errors import ConfigError, DataError, suggestion

ORIGIN_ENDING = ".origin.json"
STATES = ("ok", "unverified", "differs", "missing")


@dataclass(frozen=True)
class DataSet:
    """A public data set.

    Attributes
    ----------
    name, title : str
    rows : int
        Of its main table or tables.
    licence : str
        As the origin states it.
    origin : str
        Where the files come from, in words.
    size : int
        Bytes of all files.
    files : dict of str to str
        Path below the data folder, and SHA-256.
    urls : dict of str to str
        Addresses of the origin for some of the files. Their content is in another layout, and its checksum is not known.
    archive : str or None
        Address of an archive of the whole set, likewise.
    """

    name: str
    title: str
    rows: int
    licence: str
    origin: str
    size: int
    files: dict[str, str] = field(repr=False)
    urls: dict[str, str] = field(default_factory=dict, repr=False)
    archive: str | None = None


@cache
def catalogue() -> dict[str, DataSet]:
    """Return all data sets by name, in the order of the catalogue."""
    here = Path(__file__).parent
    pairs = (line.split("  ", 1) for line in (here / "SHA256SUMS").read_text(encoding="ascii").splitlines())
    checksums = {path: checksum for checksum, path in pairs}
    entries = yaml.safe_load((here / "catalogue.yaml").read_text(encoding="utf-8"))
    sets = {}
    for name, entry in entries.items():
        places = entry.pop("files")
        # A name that ends in a slash stands for all files below it.
        files = {
            path: checksum for path, checksum in checksums.items() if path in places or any(_is_below(path, place) for place in places)
        }
        sets[name] = DataSet(name=name, files=files, **entry)
    return sets


def find_data_set(name: str) -> DataSet:
    """Return a data set by name.

    Raises
    ------
    ConfigError
        If the name is unknown; the valid names and the closest one are listed.
    """
    if name not in catalogue():
        raise ConfigError(f"unknown data set {name!r}{suggestion(name, catalogue())}")
    return catalogue()[name]


def verify(data_set: DataSet, folder: str | Path) -> dict[str, str]:
    """Return the state of each file of a data set in a folder.

    Returns
    -------
    dict of str to str
        ``ok`` (the catalogue's checksum), ``unverified`` (as it was fetched from its origin, whose checksum nobody stated), ``differs`` or
        ``missing``.
    """
    return {path: _state(Path(folder) / path, checksum) for path, checksum in data_set.files.items()}


def _state(path: Path, expected: str) -> str:
    if not path.is_file():
        return "missing"
    found = sha256_of(path)
    if found == expected:
        return "ok"
    return "unverified" if found == _recorded(path) else "differs"


def _recorded(path: Path) -> str | None:
    """The checksum that a file had when it was fetched."""
    record = path.with_name(path.name + ORIGIN_ENDING)
    if not record.is_file():
        return None
    checksum = read_json(record, remedy="remove it and get the file again", error=DataError).get("sha256")
    if not isinstance(checksum, str):
        raise DataError(f"expected JSON with 'sha256' in {record}, got something else; remove it and get the file again")
    return checksum


def _is_below(path: str, place: str) -> bool:
    return place.endswith("/") and path.startswith(place)
