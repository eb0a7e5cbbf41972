"""Writing and reading fitted heads without pickles.

LightGBM is kept as its text. Any other head is kept as its name, parameters and training rows, and fitted again on reading: it is
deterministic, and stored predictions show whether this machine's libraries still give the same model.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError
from scipy import sparse

from molbt.config_text import describe_problems
from molbt.data.files import atomic_write, sha256_of, write_array
from molbt.errors import CheckpointError, MolbtError
from molbt.predict.booster_text import read_booster
from molbt.predict.boosting import LightGBM
from molbt.predict.features import Block, FeatureSet
from molbt.predict.head import Head
from molbt.predict.heads import build_head

N_CHECKED = 32
"""Number of training rows whose predictions are stored and compared on reading."""

_MAX_MODEL_BYTES = 1 << 30
_TOLERANCE = 1e-6
_CSR_PARTS = ("data", "indices", "indptr", "shape")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class HeadCounts(BaseModel):
    """Numbers of training rows, as in ``Head``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    n_train: NonNegativeInt
    n_refused: NonNegativeInt
    n_unlabelled: NonNegativeInt


class HeadDescription(BaseModel):
    """What stands in ``predictor.json`` about a head; anything else there is refused.

    Attributes
    ----------
    widths : dict of str to int
        Number of columns of each block of features.
    constant : float or None
        The one label there was in training.
    checked_predictions : list of float
        Of the first ``N_CHECKED`` training rows.
    sha256 : dict of str to str
        Of each of the head's files; a file that is not named here is not read.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    name: str
    parameters: dict[str, Any]
    task_type: Literal["regression", "classification"]
    random_state: NonNegativeInt
    widths: Annotated[dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], PositiveInt], Field(min_length=1)]
    constant: float | None
    counts: HeadCounts
    checked_predictions: Annotated[list[float], Field(min_length=1, max_length=N_CHECKED)]
    sha256: dict[Annotated[str, Field(pattern=r"^head\.[A-Za-z0-9_.]+$")], Sha256]


def write_head(head: Head, features: FeatureSet, y: np.ndarray, directory: Path) -> dict[str, Any]:
    """Write a fitted head and return its description (JSON values), which ``read_head`` needs.

    Parameters
    ----------
    head : Head
    features, y : FeatureSet of n rows, ndarray of shape (n,)
        What it was fitted on.
    directory : Path
        Exists; files named ``head.*`` are written into it.
    """
    used = np.flatnonzero(features.valid & np.isfinite(y))
    checked = used[:N_CHECKED]
    stored = checked
    if head.constant_ is None and isinstance(head, LightGBM):
        with atomic_write(directory / "head.txt") as file:
            file.write(head.booster_.model_to_string().encode())
        write_array(directory / "head.columns.npy", head.columns_)
    elif head.constant_ is None:
        stored = used
        write_array(directory / "head.y.npy", np.asarray(y, dtype=np.float64)[used])
    for name, block in features.rows(stored).blocks.items():
        _write_block(block, directory, f"head.block.{name}")
    return {
        "name": head.name,
        "parameters": head.parameters(),
        "task_type": head.task_type,
        "random_state": head.random_state,
        "widths": features.widths,
        "constant": head.constant_,
        "counts": {"n_train": head.n_train_, "n_refused": head.n_refused_, "n_unlabelled": head.n_unlabelled_},
        "checked_predictions": head.predict(features.rows(checked)).tolist(),
        "sha256": {path.name: sha256_of(path) for path in sorted(directory.glob("head.*"))},
    }


def read_head(description: Mapping[str, Any], directory: Path, *, n_jobs: int = 1) -> Head:
    """Return the fitted head that ``write_head`` wrote.

    Raises
    ------
    CheckpointError
        If the description is not one, a file is missing, changed or too large, or the head no longer predicts what it did when it was
        saved.
    """
    try:
        known = HeadDescription.model_validate(description)
    except ValidationError as error:
        raise CheckpointError(describe_problems(error, where=f"the description of the head in {directory}")) from error
    try:
        return _read_head(known, _VerifiedFiles(directory, known.sha256), n_jobs)
    except CheckpointError:
        raise
    except (MolbtError, ValueError, TypeError, EOFError) as error:
        raise CheckpointError(f"the head in {directory} cannot be read: {error}; copy it again or fit the predictor anew") from error


def _read_head(known: HeadDescription, files: "_VerifiedFiles", n_jobs: int) -> Head:
    _check_parameters(known)
    head = build_head(known.name, known.task_type, random_state=known.random_state, n_jobs=n_jobs, **known.parameters)
    blocks = {name: _read_block(files, f"head.block.{name}", width) for name, width in known.widths.items()}
    features = FeatureSet("stored", blocks, np.ones(next(iter(blocks.values())).shape[0], dtype=bool))
    if known.constant is None and not isinstance(head, LightGBM):
        head.fit(features, files.array("head.y.npy"))
    head.widths_, head.constant_ = dict(known.widths), known.constant
    head.n_train_, head.n_refused_, head.n_unlabelled_ = known.counts.n_train, known.counts.n_refused, known.counts.n_unlabelled
    if known.constant is None and isinstance(head, LightGBM):
        head.columns_ = files.array("head.columns.npy")
        total = sum(known.widths.values())
        if head.columns_.ndim != 1 or head.columns_.dtype.kind != "i" or ((head.columns_ < 0) | (head.columns_ >= total)).any():
            raise CheckpointError(f"{files.directory / 'head.columns.npy'} names columns that the features do not have; fit it anew")
        head.booster_ = read_booster(files.read("head.txt").decode(), n_features=len(head.columns_))
    expected = np.array(known.checked_predictions)
    found = head.predict(features.rows(np.arange(len(expected))))
    if not np.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise CheckpointError(
            f"the head in {files.directory} no longer predicts what it did when it was saved (largest difference "
            f"{np.abs(found - expected).max():.3g}); other versions of its libraries are installed: install those in predictor.json, "
            "or fit the predictor anew"
        )
    return head


def _check_parameters(known: HeadDescription) -> None:
    """Raise CheckpointError for a parameter that has another type than the head's default."""
    for name, default in build_head(known.name, known.task_type).parameters().items():
        value = known.parameters.get(name, default)
        if isinstance(default, list | tuple):
            fits = isinstance(value, list | tuple) and len(value) > 0 and all(type(entry) in (int, float) for entry in value)
        elif isinstance(default, str):
            fits = type(value) in (str, float)
        else:
            fits = type(value) is type(default) or (type(default), type(value)) == (float, int)
        if not fits:
            raise CheckpointError(f"parameter {name!r} of the head {known.name!r} is {value!r:.40}, expected something like {default!r}")


class _VerifiedFiles:
    """The files of a directory that a description names; their bytes are checked before anything looks into them."""

    def __init__(self, directory: Path, sha256: Mapping[str, str]) -> None:
        self.directory = directory
        self._sha256 = sha256

    def __contains__(self, name: str) -> bool:
        return name in self._sha256

    def read(self, name: str) -> bytes:
        path = self.directory / name
        if name not in self._sha256 or not path.is_file():
            raise CheckpointError(f"expected {path}, found no file or no checksum of it; copy the whole predictor directory")
        if path.stat().st_size > _MAX_MODEL_BYTES:
            raise CheckpointError(f"{path} has {path.stat().st_size} bytes; at most {_MAX_MODEL_BYTES} are read")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self._sha256[name]:
            raise CheckpointError(
                f"{path} is damaged: its SHA-256 should begin {self._sha256[name][:12]}; copy it again or fit the predictor anew"
            )
        return content

    def array(self, name: str) -> np.ndarray:
        return np.load(io.BytesIO(self.read(name)), allow_pickle=False)


def _write_block(block: Block, directory: Path, name: str) -> None:
    if isinstance(block, np.ndarray):
        write_array(directory / f"{name}.npy", block)
        return
    for part in _CSR_PARTS:
        write_array(directory / f"{name}.{part}.npy", np.asarray(getattr(block, part)))


def _read_block(files: _VerifiedFiles, name: str, width: int) -> Block:
    block: Block
    if f"{name}.npy" in files:
        block = files.array(f"{name}.npy")
    else:
        data, indices, indptr, shape = (files.array(f"{name}.{part}.npy") for part in _CSR_PARTS)
        block = sparse.csr_array((data, indices, indptr), shape=tuple(int(size) for size in shape))
        block.check_format(full_check=True)  # an index out of range would be read as memory
    if block.ndim != 2 or block.shape[1] != width:
        raise CheckpointError(f"{files.directory / name} has shape {block.shape}, the description says {width} columns; copy it again")
    return block
