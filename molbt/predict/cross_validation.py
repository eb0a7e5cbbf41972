"""Random folds and their scores, inside heads and for a first look at a feature set; benchmarks have their own splits and metrics."""

import math

import numpy as np
from sklearn.metrics import roc_auc_score, root_mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold

from molbt.errors import ConfigError, DataError


def random_folds(labels: np.ndarray, task_type: str, n_splits: int, random_state: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return train and test positions of each fold; classes keep their shares.

    ``n_splits`` is lowered to the number of labels, or of the smaller class.

    Raises
    ------
    ConfigError
        If fewer than two folds were asked for.
    DataError
        If there are fewer than three labels, or fewer than two of a class.
    """
    is_regression = task_type == "regression"
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
    return _split(labels, task_type, min(n_splits, most), random_state)


def inner_folds(labels: np.ndarray, task_type: str, n_splits: int, random_state: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return train and test positions of each fold, as ``random_folds`` does, or none where there are too few rows for a choice.

    There are no folds for fewer than four rows, for a class of a single row, and for ``n_splits`` below 2.
    """
    n_folds = min(n_splits, _most_folds(labels, task_type))
    return _split(labels, task_type, n_folds, random_state) if n_folds > 1 and len(labels) > 3 else []


def fold_score(labels: np.ndarray, predicted: np.ndarray, task_type: str) -> float:
    """Return the RMSE or the ROC AUC over the rows that have a prediction; NaN where it is undefined."""
    kept = np.isfinite(predicted)
    if task_type == "regression":
        return float(root_mean_squared_error(labels[kept], predicted[kept])) if kept.any() else math.nan
    return float(roc_auc_score(labels[kept], predicted[kept])) if len(np.unique(labels[kept])) == 2 else math.nan


def _most_folds(labels: np.ndarray, task_type: str) -> int:
    return len(labels) if task_type == "regression" else min(int((labels == 0).sum()), int((labels == 1).sum()))


def _split(labels: np.ndarray, task_type: str, n_folds: int, random_state: int) -> list[tuple[np.ndarray, np.ndarray]]:
    splitter = KFold if task_type == "regression" else StratifiedKFold
    return list(splitter(n_folds, shuffle=True, random_state=random_state).split(labels[:, None], labels))
