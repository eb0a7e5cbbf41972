"""What a results table says: means over tasks with 95 % intervals, and paired differences to a control.

The unit is the data set: repeats of a task are averaged first, then the tasks of one data set, which share molecules and so are no
independent witnesses. A task is a data set of its own unless the results, or a caller, say otherwise. Intervals are Student's t over these
units; they are not corrected for the number of comparisons. Low-label results (column ``fraction``) are never averaged with others.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from molbt.errors import DataError
from molbt.evaluation.metrics import find_metric

CONFIDENCE = 0.95
FEWEST_UNITS = 5
"""With fewer data sets nothing is claimed: a t-interval over two or three stands on the assumption that they are normally distributed."""
TOO_FEW = "too few to tell"
GroupOf = Callable[[str], str]
"""From the name of a task to the name of the unit it is averaged into."""


def summarise(results: pd.DataFrame, *, group_of: GroupOf | None = None) -> pd.DataFrame:
    """Return the mean of each metric over tasks, per features and head.

    Parameters
    ----------
    results : DataFrame
        As ``evaluate`` returns it.
    group_of : callable, optional
        Tasks with the same group are averaged into one unit first. By default those of the same ``data_set`` are; where the results lack
        that column, each task is a unit.

    Returns
    -------
    DataFrame
        Columns benchmark, metric, fraction, features, head, mean, standard_error, ci_low, ci_high (95 % t-interval), n_tasks (units with
        a defined value) and n_undefined (rows of ``results`` whose value is NaN, left out). With one unit the standard error and the
        interval are NaN. Within a benchmark, a metric and a fraction the best mean comes first.
    """
    units = _task_values(results, group_of).groupby(level=[*_CELL, "unit"]).mean()
    undefined = results["value"].isna().groupby(_cell_columns(results)).sum()
    rows = []
    key: Any
    for key, values in units.groupby(level=_CELL, sort=True):
        mean, error, low, high = _interval(values.dropna().to_numpy())
        rows.append((*key, mean, error, low, high, int(values.notna().sum()), int(undefined[key])))
    table = pd.DataFrame(rows, columns=[*_CELL, "mean", "standard_error", "ci_low", "ci_high", "n_tasks", "n_undefined"])
    signs = table["metric"].map(_sign).astype(float)
    order = table.assign(rank=-signs * table["mean"]).sort_values([*_TABLE, "rank", "features", "head"], kind="stable")
    return order.drop(columns="rank").reset_index(drop=True)


def paired_differences(results: pd.DataFrame, control: tuple[str, str], *, group_of: GroupOf | None = None) -> pd.DataFrame:
    """Return the difference of each features and head to a control, task by task, averaged within each data set.

    Parameters
    ----------
    results : DataFrame
        As ``evaluate`` returns it.
    control : (features, head)
        What the others are compared with.
    group_of : callable, optional
        As in ``summarise``.

    Returns
    -------
    DataFrame
        Columns benchmark, metric, fraction, features, head, control, mean_difference (value − control, in the metric's own direction),
        ci_low, ci_high (95 % paired t-interval over units), n_tasks (units with a task where both have a value), wins and losses (units
        better and worse than the control; ties are neither), claim. ``claim`` is ``TOO_FEW`` with fewer than ``FEWEST_UNITS`` units,
        "better" or "worse" when the interval excludes zero, and otherwise "no difference shown". With one unit there is no interval.

    Raises
    ------
    DataError
        If the control is not in the results.
    """
    tasks = _task_values(results, group_of)
    cells = set(zip(results["features"], results["head"], strict=True))
    if tuple(control) not in cells:
        listed = ", ".join(f"{features} × {head}" for features, head in sorted(cells))
        raise DataError(
            f"the control {control[0]} × {control[1]} is not in the results ({listed or 'which are empty'}); choose one of these"
        )
    rows = []
    key: Any
    for key, values in tasks.groupby(level=_TABLE, sort=True):
        metric = key[1]
        wide: Any = values.droplevel(_TABLE).unstack(["features", "head"])
        if tuple(control) not in wide.columns:
            continue
        others: list[Any] = sorted(set(wide.columns) - {tuple(control)})
        for features, head in others:
            # Paired before it is averaged: a column where only one of the two has a value must not count for either.
            difference = (wide[features, head] - wide[tuple(control)]).dropna().groupby(level="unit").mean().to_numpy()
            mean, _, low, high = _interval(difference)
            gains = _sign(metric) * difference
            claim = _claim(_sign(metric), low, high) if len(difference) >= FEWEST_UNITS else TOO_FEW
            counts = len(difference), int((gains > 0).sum()), int((gains < 0).sum())
            rows.append((*key, features, head, " × ".join(control), mean, low, high, *counts, claim))
    names = ["control", "mean_difference", "ci_low", "ci_high", "n_tasks", "wins", "losses", "claim"]
    return pd.DataFrame(rows, columns=[*_CELL, *names])


def data_set_of(results: pd.DataFrame) -> GroupOf | None:
    """Return the function from a task to its data set, or None where each task is a data set of its own."""
    if "data_set" not in results.columns or (results["data_set"] == results["task"]).all():
        return None
    return dict(zip(results["task"], results["data_set"], strict=True)).__getitem__


def values_by_data_set(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return one metric per data set: repeats averaged within a task, then tasks within a data set.

    Returns
    -------
    DataFrame
        One row per (features, head), one column per data set in the order of the results. Undefined values are left out of each mean.
    """
    chosen = results[results["metric"] == metric]
    values = _task_values(chosen, None).groupby(level=["features", "head", "unit"], sort=False).mean()
    return values.unstack("unit").reindex(columns=list(dict.fromkeys(chosen["data_set"])))


_TABLE: list[Any] = ["benchmark", "metric", "fraction"]
_CELL: list[Any] = [*_TABLE, "features", "head"]


def _cell_columns(results: pd.DataFrame) -> list[pd.Series]:
    complete = results if "fraction" in results.columns else results.assign(fraction=1.0)
    return [complete[column] for column in _CELL]


def _task_values(results: pd.DataFrame, group_of: GroupOf | None) -> pd.Series:
    """One value per cell, unit and task: the mean of its repeats, undefined ones left out."""
    of_task = group_of or data_set_of(results)
    units = results["task"].map(of_task) if of_task else results["task"]
    return results["value"].groupby([*_cell_columns(results), units.rename("unit"), results["task"]], sort=True).mean()


def _interval(values: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, standard error, and the bounds of the t-interval; NaN where there are too few values."""
    if len(values) == 0:
        return np.nan, np.nan, np.nan, np.nan
    mean = float(values.mean())
    if len(values) == 1:
        return mean, np.nan, np.nan, np.nan
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
    return mean, error, mean - half, mean + half


def _claim(sign: int, low: float, high: float) -> str:
    if not (low > 0 or high < 0):
        return "no difference shown"
    return "better" if (low > 0) == (sign > 0) else "worse"


def _sign(metric: str) -> int:
    return 1 if find_metric(metric)[0].larger_is_better else -1
