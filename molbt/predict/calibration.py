"""Fitting a head together with its calibration, and the files of that."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from molbt.data.files import atomic_write, sha256_of
from molbt.data.json_files import parse_json
from molbt.errors import ConfigError, DataError
from molbt.predict.conformal import Conformal, rows_needed
from molbt.predict.features import FeatureSet
from molbt.predict.head import Head
from molbt.predict.observed_coverage import CalibrationSummary, observe_coverage
from molbt.predict.out_of_fold import OutOfFold, out_of_fold_predictions
from molbt.predict.replicates import molecule_folds
from molbt.predict.saved_heads import Sha256
from molbt.predict.verified_files import VerifiedFiles

CROSS = "cross"

FEWEST_ROWS = rows_needed(0.9)
"""With fewer calibration rows a head is fitted without calibration: no interval at 0.9 would have ends."""

_FILE = "calibration.json"
# Held-out rows are so many folds' worth: whole molecules, and classes in their shares.
_PARTS = 20

logger = logging.getLogger(__name__)


class CalibrationDescription(CalibrationSummary):
    """What stands in ``predictor.json`` about a calibration; anything else there is refused."""

    sha256: Sha256


@dataclass(frozen=True)
class Calibration:
    """The calibrated uncertainty of a head; make it with ``fit_calibrated``.

    Parameters
    ----------
    conformal : Conformal
    summary : CalibrationSummary
    """

    conformal: Conformal
    summary: CalibrationSummary

    def save(self, directory: Path) -> dict[str, Any]:
        """Write ``calibration.json`` into a directory that exists, and return the JSON values that ``load`` needs."""
        with atomic_write(directory / _FILE) as file:
            file.write(json.dumps(self.conformal.to_dict()).encode())
        return {**self.summary.model_dump(), "sha256": sha256_of(directory / _FILE)}

    @classmethod
    def load(cls, description: Mapping[str, Any], directory: Path) -> Self:
        """Return what ``save`` wrote, from a description that was checked.

        Raises
        ------
        CheckpointError
            If the file is missing, changed, too large or no calibration.
        """
        known = CalibrationDescription.model_validate(description)
        content = VerifiedFiles(directory, {_FILE: known.sha256}).read(_FILE)
        content = parse_json(content, directory / _FILE, remedy="copy it again or fit the predictor anew")
        return cls(Conformal.from_dict(content), CalibrationSummary(**known.model_dump(exclude={"sha256"})))


class CalibratedFit(NamedTuple):
    """A calibration, or None where there is none, and the labels that the head learned from: NaN in the rows kept from it."""

    calibration: Calibration | None
    learned: np.ndarray


def check_calibration(calibration: object) -> None:
    """Raise ConfigError unless it is ``"cross"``, a share of the rows above 0 and up to 0.5, or None."""
    is_share = isinstance(calibration, float) and 0 < calibration <= 0.5
    if not (calibration is None or calibration == CROSS or is_share):
        raise ConfigError(
            f"expected the calibration 'cross', None, or a share of the rows to hold out up to 0.5, such as 0.2, received {calibration!r}"
        )


def fit_calibrated(
    head: Head, features: FeatureSet, y: np.ndarray, smiles: Sequence[object], calibration: float | str | None, *, name: str
) -> CalibratedFit:
    """Fit a head, and calibrate it on predictions of molecules that the predicting head did not learn from.

    Parameters
    ----------
    head : Head
        Is fitted: on all rows, or on those that are not held out.
    features, y : FeatureSet of n rows, ndarray of shape (n,)
        As for ``Head.fit``.
    smiles : sequence of n str
        All rows of a molecule are held out together.
    calibration : float, "cross" or None
        ``"cross"``: every row is predicted by a copy of the head that learned from the other four fifths; no row is lost, and fitting
        takes about five times as long (see ``out_of_fold_predictions`` for what is promised). A number: that share of the rows, in steps of
        a twentieth, is kept from the head, and the promise of ``Conformal`` holds. None: no calibration.
    name : str
        Of the target, for messages.

    Notes
    -----
    With too few rows or one label only there is nothing to calibrate: the head learns from all rows, and that is said in the log.

    Raises
    ------
    ConfigError, DataError, ShapeError
        As ``Head.fit`` does.
    """
    y = np.asarray(y, dtype=np.float64)
    held_out = None if calibration is None else _held_out(head, features, y, smiles, calibration, name)
    if held_out is None or calibration == CROSS:
        head.fit(features, y)
        learned = y
    else:
        rows = held_out.fold >= 0
        learned = np.where(rows, np.nan, y)
        head.fit(features, learned)
        head.n_unlabelled_ -= int(rows.sum())  # they have a label; it is kept for calibration
        held_out.predictions[rows] = head.predict(features.rows(rows))
    if held_out is None:
        return CalibratedFit(None, learned)
    return CalibratedFit(calibrated(held_out, y, head.task_type, how="cross" if calibration == CROSS else "held out"), learned)


def calibrated(
    held_out: OutOfFold, y: np.ndarray, task_type: str, *, how: Literal["cross", "held out"], assays: np.ndarray | None = None
) -> Calibration:
    """Return the calibration on the rows of the folds, with its coverage in each fold.

    Parameters
    ----------
    held_out : OutOfFold
    y : ndarray of shape (n,)
    task_type : {"regression", "classification"}
    how : {"cross", "held out"}
    assays : ndarray of shape (n,), int, optional
        Number of the assay of each row, where the folds are of whole assays: coverage is then counted by assay.
    """
    rows = held_out.fold >= 0
    predictions, labels, fold = held_out.predictions[rows], y[rows], held_out.fold[rows]
    assay = None if assays is None else assays[rows]
    summary = CalibrationSummary(
        how=how,
        n_rows=len(labels),
        n_assays=None if assay is None else len(np.unique(assay)),
        observed=observe_coverage(predictions, labels, fold, task_type, assays=assay),
    )
    return Calibration(Conformal.fit(predictions, labels, task_type), summary)


def _held_out(
    head: Head, features: FeatureSet, y: np.ndarray, smiles: Sequence[object], calibration: float | str, name: str
) -> OutOfFold | None:
    """The rows to calibrate on, with their predictions if those are known before the head is; None where there are too few."""
    usable = np.flatnonzero(features.valid & np.isfinite(y))
    share = 1.0 if calibration == CROSS else float(calibration)
    problem = ""
    if len(usable) * share < FEWEST_ROWS:
        problem = f"calibration {calibration} leaves {int(len(usable) * share)} of {len(usable)} rows, {FEWEST_ROWS} or more are needed"
    elif (y[usable] == y[usable[0]]).all():
        problem = f"all {len(usable)} labels are {y[usable[0]]:g}"
    else:
        try:
            if calibration == CROSS:
                return out_of_fold_predictions(head, features, y, smiles)
            folds = molecule_folds(y[usable], [smiles[row] for row in usable.tolist()], head.task_type, _PARTS, head.random_state)
        except DataError as error:
            problem = str(error)
        else:
            fold = np.full(features.n_rows, -1)
            for number, (_, rows) in enumerate(folds[: max(round(share * len(folds)), 1)]):
                fold[usable[rows]] = number
            return OutOfFold(np.full(features.n_rows, np.nan), fold)
    logger.warning("%s: not calibrated, so there will be no intervals or sets: %s", name, problem)
    return None
