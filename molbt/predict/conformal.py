"""Conformal prediction: intervals around values and sets of classes that hold the truth with a chosen probability.

The calibration rows must be exchangeable with the rows that are predicted, and the head must not have been fitted on them. Then a new
label lies in its interval or set with at least the probability asked for, averaged over draws of calibration and new rows: whatever the
head, the distribution and the number of rows. Molecules that are unlike the calibration rows have no such promise.

References
----------
Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", Springer 2005, chapter 4 (Mondrian conformal prediction).
Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 113 (2018) 1094–1111, Theorem 2 (split conformal) and section 5.2
(scores divided by a difficulty), https://doi.org/10.1080/01621459.2017.1307116
"""

import logging
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, ValidationError, model_validator

from molbt.config_text import describe_problems
from molbt.errors import CheckpointError, ConfigError, DataError, ShapeError, suggestion
from molbt.predict.head import TASK_TYPES

with warnings.catch_warnings():  # crepes changes the process's warning filters when it is imported
    from crepes import ConformalClassifier, ConformalRegressor

logger = logging.getLogger(__name__)

# crepes cuts (1 − confidence) · (n + 1) to a whole number: in floating point 0.1 · 10 falls just below 1, and the interval would be one
# rank wider than it need be, or infinite. An allowance far below the distance of two ranks undoes that.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Conformal:
    """Calibrated uncertainty of a head; make it with ``Conformal.fit``.

    Parameters
    ----------
    task_type : {"regression", "classification"}
    scores : ndarray of shape (n,), float64
        How far the head was off in each calibration row: the absolute error, divided by the difficulty where one was given, in units
        of the label; or 1 − the probability of the true class.
    categories : ndarray of shape (n,), int64
        Rows are compared within their category only. Regression: the group. Classification: ``2 · group + class``.
    normalised : bool
        Whether a difficulty was given.
    grouped : bool
        Whether groups were given.
    """

    task_type: str
    scores: np.ndarray
    categories: np.ndarray
    normalised: bool = False
    grouped: bool = False

    @classmethod
    def fit(
        cls,
        predictions: np.ndarray,
        labels: np.ndarray,
        task_type: str,
        *,
        difficulty: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> Self:
        """Calibrate on rows that the head was not fitted on.

        Parameters
        ----------
        predictions : ndarray of shape (n,)
            Values, or probabilities of class 1. Rows without a prediction or a label (NaN) are left out.
        labels : ndarray of shape (n,)
            Values, or 0 and 1.
        task_type : {"regression", "classification"}
            Classification is always calibrated within each class, so the promise holds for the rare class too.
        difficulty : ndarray of shape (n,), optional
            Regression only: positive numbers that grow with the error to be expected, such as a distance to the training molecules.
            Intervals are then proportional to it.
        groups : ndarray of shape (n,), integers, none negative, optional
            Mondrian categories: the promise then holds within each group.

        Raises
        ------
        ConfigError
            If the task type is unknown, or a difficulty is given for classification.
        DataError
            If no row has a prediction and a label, a class label is neither 0 nor 1, a probability lies outside [0, 1], a difficulty is
            not positive, or a group is no whole number or is negative.
        ShapeError
            If the arrays differ in length.
        """
        if task_type not in TASK_TYPES:
            raise ConfigError(f"unknown task type {task_type!r}{suggestion(task_type, TASK_TYPES)}")
        is_regression = task_type == "regression"
        if not is_regression and difficulty is not None:
            raise ConfigError("a difficulty scales intervals of regression, got one for classification; use groups, or leave it out")
        predictions, labels = np.asarray(predictions, dtype=np.float64), np.asarray(labels, dtype=np.float64)
        if labels.shape != predictions.shape:
            raise ShapeError(f"expected one label for each prediction, got shapes {labels.shape} and {predictions.shape}")
        known = np.isfinite(predictions) & np.isfinite(labels)
        if not known.any():
            raise DataError(f"calibration needs rows with a prediction and a label, got none among {len(labels)}; hold out labelled rows")
        sigma = _difficulty(difficulty, known)[known]
        category = _groups(groups, known)[known]
        if is_regression:
            scores = np.abs(labels - predictions)[known] / sigma
        else:
            truth = labels[known]
            if not np.isin(truth, (0.0, 1.0)).all():
                odd = truth[~np.isin(truth, (0.0, 1.0))][0]
                raise DataError(f"classification is calibrated with the labels 0 and 1, got {odd:g}; recode them")
            scores = _hinge(predictions[known])[np.arange(len(truth)), truth.astype(int)]
            category = 2 * category + truth.astype(np.int64)
        return cls(task_type, scores, category, difficulty is not None, groups is not None)

    def intervals(
        self, predictions: np.ndarray, confidence: float, *, difficulty: np.ndarray | None = None, groups: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the lower and upper end for each prediction: ``(n, 2)`` float64, in units of the label.

        A missing prediction (NaN) has a missing interval. ``confidence`` c needs ``rows_needed(c)`` calibration rows, in each group where
        there are groups; with fewer, no finite interval keeps the promise, and it is −∞ to ∞ with a warning in the log.

        Raises
        ------
        ConfigError
            If this was calibrated for classification, ``confidence`` is not between 0 and 1, or a difficulty or groups are given here and
            not in calibration, or the other way round.
        DataError, ShapeError
            As in ``fit``.
        """
        self._check("regression", difficulty, groups)
        confidence = _confidence(confidence)
        predictions = np.asarray(predictions, dtype=np.float64)
        known = np.isfinite(predictions)
        sigma, group = _difficulty(difficulty, known), _groups(groups, known)
        intervals = np.full((len(predictions), 2), np.nan)
        for category in np.unique(group[known]):
            rows = known & (group == category)
            scores = self.scores[self.categories == category]
            if len(scores) < rows_needed(confidence):
                logger.warning(
                    "%d predictions have intervals without ends: %g needs %d calibration rows%s, received %d; calibrate on more rows, or "
                    "ask for less",
                    rows.sum(),
                    confidence,
                    rows_needed(confidence),
                    f" in group {category}" if self.grouped else "",
                    len(scores),
                )
                intervals[rows] = -np.inf, np.inf
                continue
            regressor = ConformalRegressor().fit(scores, sigmas=np.ones_like(scores))
            intervals[rows] = regressor.predict_int(predictions[rows], sigmas=sigma[rows], confidence=confidence - _ROUNDING)
        return intervals

    def p_values(self, probabilities: np.ndarray, *, groups: np.ndarray | None = None) -> np.ndarray:
        """Return conformal p-values of class 0 and class 1: ``(n, 2)`` float64, NaN where there is no prediction.

        The p-value of a class is the share of calibration rows of that class, the new row counted among them, that fit no better. It is
        not smoothed at random, so it is the same each time; ties make it larger, never smaller.

        Raises
        ------
        ConfigError
            If this was calibrated for regression, or groups are given here and not in calibration, or the other way round.
        DataError, ShapeError
            As in ``fit``.
        """
        self._check("classification", None, groups)
        probabilities = np.asarray(probabilities, dtype=np.float64)
        known = np.isfinite(probabilities)
        group = _groups(groups, known)[known]
        scores = _hinge(probabilities[known])
        classifier = ConformalClassifier().fit(self.scores, bins=self.categories)
        p_values = np.full((len(probabilities), 2), np.nan)
        for label in (0, 1):
            p_values[known, label] = classifier.predict_p(scores[:, label], bins=2 * group + label, smoothing=False)
        return p_values

    def sets(self, probabilities: np.ndarray, confidence: float, *, groups: np.ndarray | None = None) -> np.ndarray:
        """Return which classes cannot be ruled out: ``(n, 2)`` bool, for class 0 and class 1.

        Both: the calibration rows do not tell them apart here. Neither: the row is unlike the calibration rows of either class. A row
        without a prediction has neither, and its p-values are NaN. A class with fewer than ``rows_needed(confidence)`` calibration rows
        is never ruled out.

        Raises
        ------
        ConfigError, DataError, ShapeError
            As in ``p_values``, and if ``confidence`` is not between 0 and 1.
        """
        return self.p_values(probabilities, groups=groups) > 1 - _confidence(confidence) + _ROUNDING

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values; every number is finite."""
        return {
            "task_type": self.task_type,
            "scores": self.scores.tolist(),
            "categories": self.categories.tolist(),
            "normalised": self.normalised,
            "grouped": self.grouped,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return what ``to_dict`` described.

        Raises
        ------
        CheckpointError
            If anything is missing, unknown or of another kind.
        """
        try:
            known = _Description.model_validate(content)
        except ValidationError as error:
            raise CheckpointError(describe_problems(error, where="the calibration of a predictor")) from error
        return cls(known.task_type, np.array(known.scores), np.array(known.categories), known.normalised, known.grouped)

    def _check(self, task_type: str, difficulty: np.ndarray | None, groups: np.ndarray | None) -> None:
        if self.task_type != task_type:
            method = "intervals" if self.task_type == "regression" else "sets and p_values"
            raise ConfigError(f"expected a calibration for {task_type}, this one is for {self.task_type}; use {method}")
        for name, calibrated, given in (("difficulty", self.normalised, difficulty), ("groups", self.grouped, groups)):
            if calibrated != (given is not None):
                verbs = ("with", "none") if calibrated else ("without", "some")
                raise ConfigError(f"this was calibrated {verbs[0]} {name}, received {verbs[1]}; pass {name} in both places or in neither")


def rows_needed(confidence: float) -> int:
    """Return the smallest number of calibration rows that gives finite intervals: ⌈1 / (1 − confidence)⌉ − 1, so 9 for 0.9."""
    return math.ceil(1 / (1 - _confidence(confidence)) - _ROUNDING) - 1


class _Description(BaseModel):
    """What ``to_dict`` writes; anything else is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    task_type: Literal["regression", "classification"]
    scores: Annotated[list[NonNegativeFloat], Field(min_length=1)]
    categories: list[Annotated[int, Field(ge=0, lt=2**62)]]
    normalised: bool
    grouped: bool

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.categories) != len(self.scores):
            raise ValueError(f"expected one category for each of {len(self.scores)} scores, received {len(self.categories)}")
        return self


def _confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ConfigError(f"expected a confidence between 0 and 1, such as 0.9, received {confidence}")
    return float(confidence)


def _hinge(probabilities: np.ndarray) -> np.ndarray:
    """1 − probability of class 0 and of class 1: (n, 2)."""
    if ((probabilities < 0) | (probabilities > 1)).any():
        odd = probabilities[(probabilities < 0) | (probabilities > 1)][0]
        raise DataError(f"expected probabilities of class 1 between 0 and 1, received {odd:g}; pass what the head predicts")
    return np.column_stack([probabilities, 1 - probabilities])


def _difficulty(difficulty: np.ndarray | None, known: np.ndarray) -> np.ndarray:
    if difficulty is None:
        return np.ones(len(known))
    sigma = np.asarray(difficulty, dtype=np.float64)
    if sigma.shape != known.shape:
        raise ShapeError(f"expected one difficulty for each of {len(known)} predictions, received shape {sigma.shape}")
    if not (np.isfinite(sigma[known]) & (sigma[known] > 0)).all():
        raise DataError("expected difficulties that are positive and finite wherever there is a prediction; add a small constant to them")
    return sigma


def _groups(groups: np.ndarray | None, known: np.ndarray) -> np.ndarray:
    if groups is None:
        return np.zeros(len(known), dtype=np.int64)
    group = np.asarray(groups)
    if group.shape != known.shape:
        raise ShapeError(f"expected one group for each of {len(known)} predictions, received shape {group.shape}")
    if group.dtype.kind not in "iu" or (group < 0).any():
        raise DataError(f"expected groups that are whole numbers from 0 on, received {group.dtype} {group[:5].tolist()}; number them first")
    return group.astype(np.int64)
