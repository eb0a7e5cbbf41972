"""The files of a saved predictor beside its head: ``predictor.json`` and a copy of the encoder."""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from molbt.config_text import describe_problems
from molbt.data.files import atomic_write, sha256_of
from molbt.errors import CheckpointError, ConfigError
from molbt.featurizer import MoleculeFeaturizer
from molbt.model.checkpoint import find_model
from molbt.predict.saved_heads import Sha256

FORMAT = "molbt.predictor"
FORMAT_VERSION = 1

_MODEL_FILES = ("config.json", "model.safetensors", "README.md")
_MAX_DESCRIPTION_BYTES = 8 << 20


class _Description(BaseModel):
    """What stands in ``predictor.json``; ``head`` has a description of its own (``molbt.predict.saved_heads``)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: str
    format_version: int
    features: str
    head: dict[str, Any]
    model_sha256: dict[Literal["config.json", "model.safetensors", "README.md"], Sha256] | None
    versions: dict[str, str]
    facts: dict[str, Any]


def check_new_directory(directory: str | Path) -> None:
    """Raise ConfigError unless a directory is new or empty: a command asks before the work, ``Predictor.save`` again after it."""
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"expected a new or empty directory for the predictor, {directory} is not empty; choose another")


def copy_model(featurizer: MoleculeFeaturizer, directory: Path) -> dict[str, str]:
    """Copy the encoder of a fitted featurizer and return the SHA-256 of its files.

    Raises
    ------
    CheckpointError
        If the encoder's files are not those that the featurizer was fitted with.
    """
    source = find_model(featurizer.model)
    directory.mkdir()
    for name in _MODEL_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, directory / name)
    sha256 = {path.name: sha256_of(path) for path in sorted(directory.iterdir())}
    if sha256.get("model.safetensors") != featurizer.model_sha256_:
        raise CheckpointError(f"the encoder in {source} changed after the predictor was fitted; fit it again")
    return sha256


def check_model(directory: Path, sha256: Mapping[str, str]) -> None:
    """Raise CheckpointError unless the copied encoder is whole."""
    for name, expected in sha256.items():
        if not (directory / name).is_file():
            raise CheckpointError(f"expected {directory / name}, found no file; copy the whole predictor directory")
        if sha256_of(directory / name) != expected:
            raise CheckpointError(f"{directory / name} is damaged: its SHA-256 should begin {expected[:12]}; copy it again")


def write_description(content: Mapping[str, Any], directory: Path) -> None:
    """Write ``predictor.json`` with a checksum of itself."""
    finite = _finite(content)
    with atomic_write(directory / "predictor.json") as file:
        file.write(json.dumps({**finite, "sha256": _digest(finite)}, indent=1, allow_nan=False).encode())


def read_description(directory: Path) -> dict[str, Any]:
    """Return ``predictor.json`` of a directory, its checksum, format and shape checked.

    Raises
    ------
    CheckpointError
        If it is missing, too large, damaged or of another format.
    """
    path = directory / "predictor.json"
    if not path.is_file():
        raise CheckpointError(f"expected a predictor at {directory}, found no predictor.json; make one with: molbt fit FILE -o {directory}")
    if path.stat().st_size > _MAX_DESCRIPTION_BYTES:
        raise CheckpointError(f"{path} has {path.stat().st_size} bytes; a predictor's description has at most {_MAX_DESCRIPTION_BYTES}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); copy it again or fit the predictor anew") from error
    if not isinstance(content, dict) or (content.get("format"), content.get("format_version")) != (FORMAT, FORMAT_VERSION):
        raise CheckpointError(f"{path} is not of format {FORMAT} {FORMAT_VERSION}; fit the predictor anew with this version of molbt")
    if content.pop("sha256", None) != _digest(content):
        raise CheckpointError(f"{path} is damaged: it does not match its checksum; copy it again or fit the predictor anew")
    try:
        _Description.model_validate(content)
    except ValidationError as error:
        raise CheckpointError(describe_problems(error, where=str(path))) from error
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _finite(value: Any) -> Any:
    """JSON has no NaN: such numbers become null."""
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
