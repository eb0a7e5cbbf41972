"""How often intervals and sets held the labels of rows that took no part in their calibration: counted, kept, and said in words."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt

from molbt.predict.conformal import Conformal, rows_needed
from molbt.predict.coverage import Coverage, interval_coverage, set_coverage

CONFIDENCES = (0.8, 0.9, 0.95)
"""Levels that coverage is reported at."""

Share = Annotated[float, Field(ge=0, le=1)]


class ObservedShare(BaseModel):
    """How often a label was held.

    Attributes
    ----------
    n : int
        Rows that were counted.
    covered, low, high : float
        The share of them whose label was held, and its 95 % interval: Clopper and Pearson's for so many rows. Where assays are the units,
        the mean over assays, and Student's t.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    n: PositiveInt
    covered: Share
    low: Share
    high: Share

    def side(self, confidence: float) -> int:
        """Return −1 or 1 where the whole interval lies below or above a nominal level, and 0 where it holds it."""
        return int(self.low > confidence) - int(self.high < confidence)

    def __str__(self) -> str:
        return f"{100 * self.covered:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


class ClassCoverage(ObservedShare):
    """How often sets held the label of the rows of one class: what calibration within each class promises."""

    label: Annotated[int, Field(ge=0, le=1)]


class ObservedCoverage(ObservedShare):
    """How often intervals or sets held the label, at one level.

    Attributes
    ----------
    confidence : float
        The nominal level.
    width : float
        Mean width of the intervals, in units of the label, or mean number of classes in the sets.
    by_class : list of ClassCoverage
        Of sets: the classes that have rows.
    """

    confidence: Annotated[float, Field(gt=0, lt=1)]
    width: NonNegativeFloat
    by_class: list[ClassCoverage] = []


class CalibrationSummary(BaseModel):
    """How a head was calibrated, and how well that covered.

    Attributes
    ----------
    how : {"cross", "held out"}
        Whether the calibration rows were predicted by copies of the head that learned from the other folds, or kept from the head.
    n_rows : int
    n_assays : int, optional
        Where the folds are of whole assays: how many, and then they are the units of the coverage.
    observed : list of ObservedCoverage
        Counted in each fold of the calibration rows, with the other folds as calibration. It tells what to expect of molecules, or
        assays, that are like these, because the folds are random. Every row is counted and calibrates the others, so that of rows that
        are exchangeable the share lies nearer to the level than its interval tells. Levels that have too few rows are left out.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    how: Literal["cross", "held out"]
    n_rows: PositiveInt
    n_assays: PositiveInt | None = None
    observed: list[ObservedCoverage]

    def lines(self, task_type: str, unit: str | None = None) -> list[str]:
        """Return it in words, with a warning where a nominal level lies outside of the interval."""
        what = "intervals" if task_type == "regression" else "sets"
        return [self._start(), *(f"  {_level(level, what, unit)}" for level in self.observed), *self._warnings(what)]

    def _start(self) -> str:
        if self.n_assays is not None:
            return (
                f"calibrated on {self.n_rows:,} rows of {self.n_assays:,} assays; on assays that took no part, each by the calibration of "
                "the others (means over assays, 95 % intervals over assays by Student's t):"
            )
        of = "kept from the head" if self.how == "held out" else "predicted out of fold"
        return (
            f"calibrated on {self.n_rows:,} rows {of}; random parts of them, each by the calibration of the others (95 % "
            "intervals over rows):"
        )

    def _warnings(self, what: str) -> Iterator[str]:
        """One line for what held too few labels, and one for what held too many."""
        units = "rows" if self.n_assays is None else "assays"
        remedies = {
            -1: f"they promise too much: ask for a higher confidence, or calibrate on more {units} that are like the new ones",
            1: "they are wider than they need be, as happens with few rows of a class or many equal predictions",
        }
        for side, remedy in remedies.items():
            missed = [
                f"{100 * level.confidence:g} %{of}"
                for level in self.observed
                for share, of in [(level, ""), *((share, f" of class {share.label}") for share in level.by_class)]
                if share.side(level.confidence) == side
            ]
            if missed:
                than = "fewer" if side < 0 else "more"
                yield f"warning: {what} held {than} labels than they say (outside of the 95 % interval) at {', '.join(missed)}: {remedy}"


def observe_coverage(
    predictions: np.ndarray, labels: np.ndarray, fold: np.ndarray, task_type: str, *, assays: np.ndarray | None = None
) -> list[ObservedCoverage]:
    """Return the coverage of each fold by the others, over all folds; levels that have too few rows are left out.

    Parameters
    ----------
    predictions, labels : ndarray of shape (n,), float64
    fold : ndarray of shape (n,), int
    task_type : {"regression", "classification"}
    assays : ndarray of shape (n,), int, optional
        Number of the assay of each row, where assays and not rows are the units; only for classification.
    """
    numbers = np.unique(fold)
    fewest = min(int((fold != number).sum()) for number in numbers)
    levels = [confidence for confidence in CONFIDENCES if len(numbers) > 1 and fewest >= rows_needed(confidence)]
    return [_observed(predictions, labels, fold, task_type, confidence, assays) for confidence in levels]


def _observed(
    predictions: np.ndarray, labels: np.ndarray, fold: np.ndarray, task_type: str, confidence: float, assays: np.ndarray | None
) -> ObservedCoverage:
    intervals, p_values = np.full((2, len(labels), 2), np.nan)
    sets = np.zeros((len(labels), 2), dtype=bool)
    for number in np.unique(fold):
        inside = fold == number
        conformal = Conformal.fit(predictions[~inside], labels[~inside], task_type)
        if task_type == "regression":
            intervals[inside] = conformal.intervals(predictions[inside], confidence)
        else:
            p_values[inside] = conformal.p_values(predictions[inside])
            sets[inside] = conformal.sets(predictions[inside], confidence)
    if task_type == "regression":
        held = interval_coverage(labels, intervals)
        return ObservedCoverage(confidence=confidence, width=held.mean_width, **_share(held))
    found = set_coverage(labels, p_values, sets, assays=assays)
    of_classes = [ClassCoverage(label=label, **_share(share)) for label, share in enumerate(found.by_class) if share.n]
    return ObservedCoverage(confidence=confidence, width=found.single + 2 * found.both, by_class=of_classes, **_share(found))


def _share(found: Coverage) -> dict[str, Any]:
    return {"n": found.n, "covered": found.covered, "low": found.low, "high": found.high}


def _level(level: ObservedCoverage, what: str, unit: str | None) -> str:
    classes = "".join(f"; class {share.label} {share}" for share in level.by_class)
    width = f"mean width {level.width:.3g} {unit or ''}".rstrip() if what == "intervals" else f"{level.width:.3g} classes on average"
    return f"{100 * level.confidence:g} % {what} held {level} of the labels{classes}; {width}"
