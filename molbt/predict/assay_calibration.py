"""Probabilities from scores, learned on some assays and meant for others: Platt's sigmoid, and folds of whole assays."""

import logging
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

FOLDS = 5

logger = logging.getLogger(__name__)


class Sigmoid(NamedTuple):
    """Probability of activity from a score: ``1 / (1 + exp(−(slope · score + intercept)))``."""

    slope: float
    intercept: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return expit(self.slope * np.asarray(scores, dtype=np.float64) + self.intercept)


def fit_sigmoid(table: pd.DataFrame) -> Sigmoid:
    """Return Platt's sigmoid, in which every assay counts the same whatever its number of rows.

    Parameters
    ----------
    table : DataFrame
        ``assay``, ``score`` and ``label`` (0 or 1), a row for each scored pair.
    """
    weights = 1 / table.groupby("assay")["label"].transform("size").to_numpy()
    fitted = LogisticRegression(C=1e6).fit(table[["score"]].to_numpy(), table["label"].to_numpy(), sample_weight=weights)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:
        rate = float(np.average(table["label"], weights=weights))
        logger.warning(
            "the scores do not rank actives of held-out assays first (slope %.3g): every probability is the mean hit rate", slope
        )
        return Sigmoid(0.0, float(np.log(rate / (1 - rate))))
    return Sigmoid(slope, intercept)


def assay_folds(assay: np.ndarray, n_assays: int) -> np.ndarray:
    """Return a fold for each row, all rows of an assay in one: assays by turns, the largest first, so that folds are of like size.

    Parameters
    ----------
    assay : ndarray of shape (rows,), int
        Numbers of assays, from 0 on.
    n_assays : int
    """
    sizes = np.bincount(assay, minlength=n_assays)
    fold_of_assay = np.empty(n_assays, dtype=np.int64)
    fold_of_assay[np.argsort(-sizes, kind="stable")] = np.arange(n_assays) % FOLDS
    return fold_of_assay[assay]


def held_out_probabilities(table: pd.DataFrame, fold: np.ndarray) -> np.ndarray:
    """Return a probability for each row, by the sigmoid of the other folds' rows: ``(rows,)`` float64."""
    probabilities = np.empty(len(table))
    for number in np.unique(fold):
        probabilities[fold == number] = fit_sigmoid(table[fold != number])(table["score"].to_numpy()[fold == number])
    return probabilities
