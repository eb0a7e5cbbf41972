"""The files of a saved predictor: ``predictor.json``, those of each head and its calibration under ``heads/``, a copy of the encoder, and
the training molecules."""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import lightgbm
import numpy as np
import rdkit
import sklearn
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from molbt import __version__
from molbt.config_text import describe_problems
from molbt.data.files import atomic_write, new_directory, sha256_of
from molbt.data.json_files import read_json
from molbt.errors import CheckpointError
from molbt.featurizer import MoleculeFeaturizer
from molbt.model.checkpoint import find_model
from molbt.predict.applicability import Applicability, ApplicabilityDescription
from molbt.predict.calibration import Calibration, CalibrationDescription
from molbt.predict.features import FeatureSet
from molbt.predict.fitted_predictor import FittedPredictor
from molbt.predict.head import Head
from molbt.predict.saved_heads import Sha256, read_head, write_head

FORMAT = "molbt.predictor"
FORMAT_VERSION = 2

_ModelFile = Literal["config.json", "model.safetensors", "README.md", "seen_molecules.npy", "seen_scaffolds.npy", "seen_texts.npy"]
_MODEL_FILES = get_args(_ModelFile)


class _Target(BaseModel):
    """One target; ``head`` has a description of its own (``molbt.predict.saved_heads``)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    unit: str | None
    head: dict[str, Any]
    calibration: CalibrationDescription | None


class _Description(BaseModel):
    """What stands in ``predictor.json``; anything else there is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: str
    format_version: int
    features: str
    layer: str
    head_parameters: dict[str, Any]
    calibration: Literal["cross"] | float | None
    targets: Annotated[list[_Target], Field(min_length=1)]
    is_matrix: bool
    model_sha256: dict[_ModelFile, Sha256] | None
    versions: dict[str, str]
    applicability: ApplicabilityDescription | None
    finetune: dict[str, Any] | None = None
    facts: dict[str, Any]

    @field_validator("targets")
    @classmethod
    def _check_names(cls, targets: list[_Target]) -> list[_Target]:
        names = [target.name for target in targets]
        if len(set(names)) < len(names):
            raise ValueError(f"expected targets of different names, received {', '.join(names)}")
        return targets


class SavedPredictor(NamedTuple):
    """What ``read_predictor`` finds.

    Attributes
    ----------
    content : dict
        ``predictor.json``.
    heads, calibrations : dict
        By target; a target without calibration is not in the latter.
    applicability : Applicability or None
    model : Path or None
        The directory of the copied encoder.
    """

    content: dict[str, Any]
    heads: dict[str, Head]
    calibrations: dict[str, Calibration]
    applicability: Applicability | None
    model: Path | None


def write_predictor(
    predictor: FittedPredictor, features: FeatureSet, labels: np.ndarray, directory: Path, settings: Mapping[str, Any]
) -> Path:
    """Write a predictor into a new or empty directory, whole or not at all, and return the directory.

    Parameters
    ----------
    predictor : FittedPredictor
    features, labels : FeatureSet of n rows, ndarray of shape (n, targets)
        What its heads learned from.
    directory : Path
    settings : mapping
        What else stands in ``predictor.json``, as JSON values.

    Raises
    ------
    ConfigError
        If the directory is not empty.
    CheckpointError
        If the encoder's files are not those that the predictor was fitted with.
    """
    encoder = predictor.featurizer_
    with new_directory(directory) as temporary:
        targets = []
        for number, (name, of_target) in enumerate(zip(predictor.targets_, labels.T, strict=True)):
            place = _head_directory(temporary, number)
            place.mkdir(parents=True)
            head = write_head(predictor.heads_[name], features, of_target, place)
            calibration = predictor.calibrations_[name].save(place) if name in predictor.calibrations_ else None
            targets.append({"name": name, "unit": predictor.units_.get(name), "head": head, "calibration": calibration})
        content = {
            "features": predictor.features_,
            "layer": encoder.output if encoder is not None else "embedding",
            "targets": targets,
            "model_sha256": copy_model(encoder, temporary / "model") if encoder is not None else None,
            "applicability": predictor.applicability_.save(temporary) if predictor.applicability_ is not None else None,
            **settings,
        }
        write_description(content, temporary)
    return directory


def read_predictor(directory: Path, *, n_jobs: int = 1) -> SavedPredictor:
    """Return what ``write_predictor`` wrote.

    Raises
    ------
    CheckpointError
        If it is missing, damaged or of another format, or if a head no longer predicts what it did.
    """
    content = read_description(directory)
    heads, calibrations = {}, {}
    for number, target in enumerate(content["targets"]):
        place = _head_directory(directory, number)
        heads[target["name"]] = read_head(target["head"], place, n_jobs=n_jobs)
        if target["calibration"] is not None:
            calibrations[target["name"]] = Calibration.load(target["calibration"], place)
    model = directory / "model" if content["model_sha256"] is not None else None
    if model is not None:
        check_model(model, content["model_sha256"])
    applicability = Applicability.load(content["applicability"], directory) if content["applicability"] is not None else None
    return SavedPredictor(content, heads, calibrations, applicability, model)


def _head_directory(directory: Path, number: int) -> Path:
    """The place of the files of a target's head: numbers, because a target may have any name."""
    return directory / "heads" / str(number)


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
    """Write ``predictor.json``: the content, format and versions, and a checksum of all that."""
    versions = {"molbt": __version__, "rdkit": rdkit.__version__, "lightgbm": lightgbm.__version__, "scikit-learn": sklearn.__version__}
    finite = _finite({"format": FORMAT, "format_version": FORMAT_VERSION, **content, "versions": versions})
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
    content = read_json(path, remedy="copy it again or fit the predictor anew")
    if (content.get("format"), content.get("format_version")) != (FORMAT, FORMAT_VERSION):
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
