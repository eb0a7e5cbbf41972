"""Random folds and their scores, inside heads and for a first look at a feature set; benchmarks have their own splits and metrics."""

import math

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score, root_mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold

from molbt.errors import ConfigError, DataError

Folds = list[tuple[np.ndarray, np.ndarray]]
"""Train and test positions of each fold."""


def random_folds(labels: np.ndarray, task_type: str, n_splits: int, random_state: int, molecules: np.ndarray | None = None) -> Folds:
    """Return train and test positions of each fold; classes keep their shares.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Without NaN.
    task_type : {"regression", "classification"}
    n_splits : int
        Lowered to the number of molecules, or of those of the smaller class.
    random_state : int
    molecules : ndarray of shape (n,), int64, optional
        Which molecule a row is, where several rows may be the same: all rows of one are then on the same side, and its class is that of
        its first row. Where every molecule stands once, the folds are those of the rows.

    Raises
    ------
    ConfigError
        If fewer than two folds were asked for.
    DataError
        If there are fewer than three labels, or fewer than two of a class, not counting those of the same molecule twice.
    """
    is_regression = task_type == "regression"
    molecule, labels = _distinct(labels, molecules)
    most = _most_folds(labels, task_type)
    if n_splits < 2:
        raise ConfigError(f"cross-validation needs two or more folds, received {n_splits}; ask for more, or leave it out (--folds 0)")
    if len(labels) < 3 or most < 2:
        needed = "three or more labelled rows" if is_regression else "two or more rows of each class"
        remedy = "label more rows" if is_regression else "label more rows, or move the threshold if there is one"
        raise DataError(
            f"cross-validation needs {needed}, received {len(labels)} labels"
            f"{'' if is_regression else f', {most} of the smaller class'}; {remedy}, or leave it out (--folds 0)"
        )
    return _rows_of(_split(labels, task_type, min(n_splits, most), random_state), molecule)


def inner_folds(labels: np.ndarray, task_type: str, n_splits: int, random_state: int, molecules: np.ndarray | None = None) -> Folds:
    """Return train and test positions of each fold, as ``random_folds`` does, or none where there are too few rows for a choice.

    There are no folds for fewer than four molecules, for a class of a single one, and for ``n_splits`` below 2.
    """
    molecule, labels = _distinct(labels, molecules)
    n_folds = min(n_splits, _most_folds(labels, task_type))
    return _rows_of(_split(labels, task_type, n_folds, random_state), molecule) if n_folds > 1 and len(labels) > 3 else []


def fold_score(labels: np.ndarray, predicted: np.ndarray, task_type: str) -> float:
    """Return the RMSE or the ROC AUC over the rows that have a prediction; NaN where it is undefined."""
    kept = np.isfinite(predicted)
    if task_type == "regression":
        return float(root_mean_squared_error(labels[kept], predicted[kept])) if kept.any() else math.nan
    return float(roc_auc_score(labels[kept], predicted[kept])) if len(np.unique(labels[kept])) == 2 else math.nan


def _distinct(labels: np.ndarray, molecules: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The place of each row's molecule among the distinct ones, in the order of their first rows, and the label of that row."""
    if molecules is None:
        return np.arange(len(labels)), labels
    molecule, _ = pd.factorize(molecules)
    return molecule, labels[np.unique(molecule, return_index=True)[1]]


def _rows_of(folds: Folds, molecule: np.ndarray) -> Folds:
    return [(np.flatnonzero(np.isin(molecule, train)), np.flatnonzero(np.isin(molecule, test))) for train, test in folds]


def _most_folds(labels: np.ndarray, task_type: str) -> int:
    return len(labels) if task_type == "regression" else min(int((labels == 0).sum()), int((labels == 1).sum()))


def _split(labels: np.ndarray, task_type: str, n_folds: int, random_state: int) -> Folds:
    splitter = KFold if task_type == "regression" else StratifiedKFold
    return list(splitter(n_folds, shuffle=True, random_state=random_state).split(labels[:, None], labels))
