"""Writing and reading fitted heads without pickles.

LightGBM is kept as its text, and the linear output of a fine-tuned encoder as its weights. Any other head is kept as its name, parameters
and training rows, and fitted again on reading, with what it had chosen and without choosing again: it is deterministic, and stored
predictions show whether this machine's libraries still give the same model. The members of ``auto`` are kept each in its own way, beside
one copy of the rows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from molbt.config_text import describe_problems
from molbt.data.files import atomic_write, sha256_of, write_array
from molbt.errors import CheckpointError, MolbtError
from molbt.predict.automatic import Automatic
from molbt.predict.booster_text import read_booster
from molbt.predict.boosting import LightGBM
from molbt.predict.features import FeatureSet
from molbt.predict.head import Head
from molbt.predict.heads import build_head, check_parameters
from molbt.predict.linear_output import LinearOutput
from molbt.predict.verified_files import VerifiedFiles, read_block, write_block

N_CHECKED = 32
"""Number of training rows whose predictions are stored and compared on reading."""

_TOLERANCE = 1e-6

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class HeadCounts(BaseModel):
    """Numbers of training rows, as in ``Head``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    n_train: NonNegativeInt
    n_refused: NonNegativeInt
    n_unlabelled: NonNegativeInt


class MemberDescription(BaseModel):
    """A member of ``auto``: its weight, and its parameters as ``Head.chosen_parameters`` gives them."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    weight: Annotated[float, Field(ge=0, le=1)]
    chosen: dict[str, Any]


class HeadDescription(BaseModel):
    """What stands in ``predictor.json`` about a head; anything else there is refused.

    Attributes
    ----------
    widths : dict of str to int
        Number of columns of each block of features.
    constant : float or None
        The one label there was in training.
    chosen : dict, optional
        The parameters with the head's own choices in the place of their candidates.
    members, losses : dict
        Of ``auto``: what it consists of, and the held-out losses that it was chosen by.
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
    chosen: dict[str, Any] | None = None
    members: dict[str, MemberDescription] = {}
    losses: dict[str, float] = {}
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
    is_refitted = head.constant_ is None and not isinstance(head, LightGBM | LinearOutput)
    if is_refitted:
        write_array(directory / "head.y.npy", np.asarray(y, dtype=np.float64)[used])
        if features.molecules is not None:  # they decide the folds that probabilities are fitted on
            write_array(directory / "head.molecules.npy", features.molecules[used])
    for name, block in features.rows(used if is_refitted else checked).blocks.items():
        write_block(block, directory, f"head.block.{name}")
    members = head.members_ if isinstance(head, Automatic) and head.constant_ is None else {}
    for prefix, part in {"head": head, **{f"head.{name}": member for name, member in members.items()}}.items():
        if isinstance(part, LightGBM) and part.constant_ is None:
            with atomic_write(directory / f"{prefix}.txt") as file:
                file.write(part.booster_.model_to_string().encode())
            write_array(directory / f"{prefix}.columns.npy", part.columns_)
    if isinstance(head, LinearOutput) and head.constant_ is None:
        write_array(directory / "head.weight.npy", np.append(head.weight_, head.bias_))
    return {
        "name": head.name,
        "parameters": head.parameters(),
        "task_type": head.task_type,
        "random_state": head.random_state,
        "widths": features.widths,
        "constant": head.constant_,
        "chosen": head.chosen_parameters(),
        "members": {name: {"weight": head.weights_[name], "chosen": member.chosen_parameters()} for name, member in members.items()}
        if isinstance(head, Automatic)
        else {},
        "losses": head.losses_ if members and isinstance(head, Automatic) else {},
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
        return _read_head(known, VerifiedFiles(directory, known.sha256), n_jobs)
    except CheckpointError:
        raise
    except (MolbtError, ValueError, TypeError, EOFError) as error:
        raise CheckpointError(f"the head in {directory} cannot be read: {error}; copy it again or fit the predictor anew") from error


def _read_head(known: HeadDescription, files: VerifiedFiles, n_jobs: int) -> Head:
    if known.name == LinearOutput.name:
        head: Head = LinearOutput(task_type=known.task_type, random_state=known.random_state, n_jobs=n_jobs)
    else:
        head = build_head(known.name, known.task_type, random_state=known.random_state, n_jobs=n_jobs, **known.parameters)
    blocks = {name: read_block(files, f"head.block.{name}", width) for name, width in known.widths.items()}
    molecules = files.array("head.molecules.npy") if "head.molecules.npy" in known.sha256 else None
    features = FeatureSet("stored", blocks, np.ones(next(iter(blocks.values())).shape[0], dtype=bool), molecules)
    _mark_as_fitted(head, known)
    if known.constant is None:
        _restore(head, known, features, files)
    expected = np.array(known.checked_predictions)
    found = head.predict(features.rows(np.arange(len(expected))))
    if not np.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise CheckpointError(
            f"the head in {files.directory} no longer predicts what it did when it was saved (largest difference "
            f"{np.abs(found - expected).max():.3g}); other versions of its libraries are installed: install those in predictor.json, "
            "or fit the predictor anew"
        )
    return head


def _restore(head: Head, known: HeadDescription, features: FeatureSet, files: VerifiedFiles) -> None:
    """Give a head, or each member of ``auto``, the model that was saved."""
    if not isinstance(head, Automatic):
        _restore_part(head, known, known.chosen or known.parameters, features, files, "head")
        return
    head.members_ = {name: head.new_member(name) for name in known.members}
    head.weights_ = {name: member.weight for name, member in known.members.items()}
    head.losses_ = dict(known.losses)
    for name, member in head.members_.items():
        _restore_part(member, known, known.members[name].chosen, features, files, f"head.{name}")


def _restore_part(
    head: Head, known: HeadDescription, chosen: dict[str, Any], features: FeatureSet, files: VerifiedFiles, prefix: str
) -> None:
    if isinstance(head, LightGBM):
        _mark_as_fitted(head, known)
        head.columns_ = files.array(f"{prefix}.columns.npy")
        total = sum(known.widths.values())
        if head.columns_.ndim != 1 or head.columns_.dtype.kind != "i" or ((head.columns_ < 0) | (head.columns_ >= total)).any():
            raise CheckpointError(
                f"{files.directory / prefix}.columns.npy names columns that the features do not have; fit the predictor anew"
            )
        head.booster_ = read_booster(files.read(f"{prefix}.txt").decode(), n_features=len(head.columns_))
        return
    if isinstance(head, LinearOutput):
        weights = files.array("head.weight.npy")
        if weights.shape != (sum(known.widths.values()) + 1,) or weights.dtype.kind != "f":
            raise CheckpointError(f"{files.directory / prefix}.weight.npy does not fit the features; fit the predictor anew")
        head.set_weights(weights[:-1], weights[-1])
        return
    check_parameters(head.name, chosen)
    asked = head.parameters()
    head.set_params(**chosen).fit(features, files.array("head.y.npy"))
    head.set_params(**asked)
    _mark_as_fitted(head, known)


def _mark_as_fitted(head: Head, known: HeadDescription) -> None:
    head.widths_, head.constant_ = dict(known.widths), known.constant
    head.n_train_, head.n_refused_, head.n_unlabelled_ = known.counts.n_train, known.counts.n_refused, known.counts.n_unlabelled
