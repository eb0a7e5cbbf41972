"""What a predictor learns: one column of numbers per target, from whatever holds them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from molbt.errors import ConfigError, DataError, MolbtError, ShapeError


def target_columns(y: Any, n_molecules: int) -> tuple[list[str], np.ndarray]:
    """Return the names and the labels of the targets.

    Parameters
    ----------
    y : sequence of n numbers, Series, array of shape (n,) or (n, targets), or DataFrame
        NaN (or a missing value) where there is no label. Columns without names are called ``target`` (one) or ``target_0``, ``target_1``, …
    n_molecules : int

    Returns
    -------
    names : list of str
    labels : ndarray of shape (n, targets), float64

    Raises
    ------
    ConfigError
        If two columns have the same name.
    DataError
        If labels are no numbers.
    ShapeError
        If there are more or fewer labels than molecules, or no target.
    """
    labels = _numbers(y)
    columns = labels[:, None] if labels.ndim == 1 else labels
    if columns.ndim != 2 or len(columns) != n_molecules or not columns.shape[1]:
        raise ShapeError(f"expected one label for each of {n_molecules} molecules, or a column per target, received shape {labels.shape}")
    names = _names(y, columns.shape[1])
    if len(set(names)) < len(names):
        raise ConfigError(f"expected targets of different names, received {', '.join(names)}; rename the columns")
    return names, columns


def infer_task_type(labels: np.ndarray) -> str:
    """Return ``"classification"`` when every label is 0 or 1 (NaN aside), else ``"regression"``."""
    known = labels[np.isfinite(labels)]
    return "classification" if len(known) and np.isin(known, (0.0, 1.0)).all() else "regression"


@contextmanager
def naming(target: str) -> Iterator[None]:
    """Say in an error which target it is about."""
    try:
        yield
    except MolbtError as error:
        raise type(error)(f"target {target!r}: {error}") from error


def _numbers(y: Any) -> np.ndarray:
    try:
        return y.to_numpy(np.float64, na_value=np.nan) if isinstance(y, pd.Series | pd.DataFrame) else np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"labels must be numbers, NaN where there is none: {error}; molbt.predict.labels.make_labels reads classes, bounds and units"
        ) from error


def _names(y: Any, n_targets: int) -> list[str]:
    if isinstance(y, pd.DataFrame):
        return [str(name) for name in y.columns]
    if n_targets == 1:
        name = y.name if isinstance(y, pd.Series) else None
        return ["target" if name is None else str(name)]
    return [f"target_{number}" for number in range(n_targets)]
