"""Errors are in the unit of the labels: those of tasks in different units have no mean, and are shown task by task."""

from collections.abc import Iterable, Mapping
from html import escape

import pandas as pd

from molbt.evaluation.metrics import find_metric
from molbt.report.wording import IN_LABEL_UNITS, NONE, metric_name

UNKNOWN = "unknown unit"

_WITHOUT_UNIT = "r2"


def has_mean(results: pd.DataFrame, metric: str, units: Mapping[str, str]) -> bool:
    """Return whether values of a metric may be averaged over the tasks that have it.

    Parameters
    ----------
    results : DataFrame
        With the columns task and metric.
    metric : str
    units : mapping of task to unit
        Of the labels; ``""`` where it is unknown, which may be any. Tasks that are not there share one unit.
    """
    return _base(metric) not in IN_LABEL_UNITS or share_unit(results.loc[results["metric"] == metric, "task"].unique(), units)


def share_unit(tasks: Iterable[str], units: Mapping[str, str]) -> bool:
    """Return whether what is in the unit of the labels may be averaged over these tasks; ``units`` as in ``has_mean``."""
    found = [units.get(task) for task in tasks]
    return len(found) < 2 or (len(set(found)) == 1 and "" not in found)


def headline_metrics(results: pd.DataFrame, units: Mapping[str, str]) -> list[str]:
    """Return the first metric of each type of task, which share none and so no table; R² in the place of an error that has no mean."""
    first: dict[str, str] = {}
    for metric in results["metric"].unique():
        first.setdefault(find_metric(metric)[0].task_type, metric)
    measured = set(results["metric"])
    return [metric if has_mean(results, metric, units) or _WITHOUT_UNIT not in measured else _WITHOUT_UNIT for metric in first.values()]


def metrics_without_mean(results: pd.DataFrame, units: Mapping[str, str]) -> list[str]:
    """Return the metrics to be shown task by task."""
    return [metric for metric in results["metric"].unique() if not has_mean(results, metric, units)]


def values_by_task(results: pd.DataFrame, metric: str, units: Mapping[str, str]) -> pd.DataFrame:
    """Return one metric with a column per task, its unit in the name: repeats averaged, undefined values left out of the mean.

    Returns
    -------
    DataFrame
        Columns features, head, and ``task (unit)`` for each task in the order of the results.
    """
    chosen = results[results["metric"] == metric]
    values = chosen.groupby(["features", "head", "task"], sort=False)["value"].mean().unstack("task")
    values = values.reindex(columns=list(dict.fromkeys(chosen["task"])))
    names = {task: f"{task} ({units[task] or UNKNOWN})" if task in units else str(task) for task in values.columns}
    return values.rename(columns=names).rename_axis(columns=None).reset_index()


def task_table(results: pd.DataFrame, metric: str, units: Mapping[str, str], control: tuple[str, str]) -> str:
    """Return ``values_by_task`` as an HTML table, the control's row highlighted."""
    table = values_by_task(results, metric, units)
    head = "".join(f'<th scope="col"{"" if place < 2 else _NUMBER}>{escape(str(name))}</th>' for place, name in enumerate(table.columns))
    body = "".join(
        f'<tr class="{"the-control" if row[:2] == tuple(control) else "control"}"><td>{escape(row[0])}</td><td>{escape(row[1])}</td>'
        + "".join(f"<td{_NUMBER}>{NONE if pd.isna(value) else f'{value:.3f}'}</td>" for value in row[2:])
        + "</tr>"
        for row in table.itertuples(index=False, name=None)
    )
    return (
        f'<div class="scroll"><table class="comparison"><caption>{escape(no_mean_caption(metric))}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def no_mean_caption(metric: str) -> str:
    """Return what such a table is of, which way is better, and why it has no mean."""
    better = "higher" if find_metric(metric)[0].larger_is_better else "lower"
    return f"{metric_name(metric)} by task, {better} is better; no mean, because the units are not the same"


_NUMBER = ' class="number"'


def _base(metric: str) -> str:
    _, group = find_metric(metric)
    return metric.removesuffix(f"_{group}") if group else metric
