"""JSON from elsewhere: of bounded size, and an error of ours whatever is in it."""

import json
from pathlib import Path
from typing import Any

from molbt.errors import CheckpointError, MolbtError

MAX_BYTES = 8 << 20
"""A larger description is not read."""


def read_json(path: str | Path, *, remedy: str, error: type[MolbtError] = CheckpointError, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Parameters
    ----------
    path : path
    remedy : str
        What an error tells to do.
    error : type of MolbtError
        What is raised.
    max_bytes : int

    Raises
    ------
    MolbtError
        If there is no such file, it is too large, or holds anything else than one object.
    """
    path = Path(path)
    try:
        # Anything but a plain file (a pipe, a device) might never end.
        if not path.is_file():
            raise error(f"expected {path}, found no file; {remedy}")
        with open(path, "rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as reason:
        raise error(f"cannot read {path}: {reason.strerror or reason}; {remedy}") from reason
    if len(content) > max_bytes:
        raise error(f"{path} has {path.stat().st_size:,} bytes; a description of this kind has at most {max_bytes:,}; {remedy}")
    value = parse_json(content, path, remedy=remedy, error=error)
    if not isinstance(value, dict):
        raise error(f"expected one JSON object in {path}, found {type(value).__name__}; {remedy}")
    return value


def parse_json(content: bytes, name: str | Path, *, remedy: str, error: type[MolbtError] = CheckpointError) -> Any:
    """Return what the bytes of a JSON file hold; ``name`` is what messages call it."""
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as reason:  # brackets within brackets by the thousand, whole numbers of 5,000 digits
        raise error(f"cannot read {name}: it is not valid JSON ({reason}); {remedy}") from reason
