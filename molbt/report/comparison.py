"""What every table, figure and verdict of a report is made from: one metric of one benchmark, each features × head beside the control."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from molbt.errors import DataError, suggestion
from molbt.evaluation.statistics import GroupOf, paired_differences, summarise

COLUMNS = ("benchmark", "task", "split", "repeat", "features", "head", "metric", "value")
"""What a results table must have; other columns are shown in the full table only."""

ENCODER_PARTS = ("embedding",)
"""Parts of a features name that stand for a pretrained encoder; ``untrained`` and ``pca`` are controls."""

PUBLISHED = " (published)"
NO_INTERVAL = "no interval"

_CELL = ["features", "head"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """One metric of one benchmark.

    Attributes
    ----------
    benchmark, metric : str
    control : (features, head)
    rows : DataFrame
        One row per features and head, best mean first: features, head, role ("the control", "control", "encoder" or "published"), mean,
        standard_error, n_tasks, n_undefined, difference (value − control), ci_low, ci_high, wins, losses, n_paired, claim.
        ``claim`` is "better", "worse", "no difference shown", "no interval" (fewer than two tasks in common with the control), or
        "the control".
    task_differences : DataFrame
        Value − control: one row per task (repeats averaged), or per repeat when there is one task; one column per (features, head).
    n_tasks : int
        Units the control has a value on.
    unit : str
        What the intervals are over: "tasks", or "groups of tasks" where tasks were averaged first.
    results : DataFrame
        The rows of the results, published ones included, that all this was computed from.
    """

    benchmark: str
    metric: str
    control: tuple[str, str]
    rows: pd.DataFrame
    task_differences: pd.DataFrame
    n_tasks: int
    unit: str
    results: pd.DataFrame

    def best(self, role: str) -> pd.Series | None:
        """Return the row of a role with the best defined mean, or None."""
        rows = self.rows[(self.rows["role"] == role) & self.rows["mean"].notna()]
        return rows.iloc[0] if len(rows) else None


def check_results(results: pd.DataFrame) -> None:
    """Raise DataError unless these are results that a report can be made from."""
    missing = [column for column in COLUMNS if column not in results.columns]
    if missing:
        raise DataError(f"a results table needs the columns {', '.join(COLUMNS)}; {missing} are missing from {list(results.columns)}")
    if results.empty:
        raise DataError("a report needs at least one result, got a table without rows; run the evaluation first")


def compare(
    results: pd.DataFrame,
    control: tuple[str, str],
    metric: str,
    *,
    published: pd.DataFrame | None = None,
    encoders: Sequence[str] = ENCODER_PARTS,
    group_of: GroupOf | None = None,
) -> list[Comparison]:
    """Return one comparison per benchmark that has the metric, in the order of the results.

    Parameters
    ----------
    results : DataFrame
        With ``COLUMNS``; the controls are rows too.
    control : (features, head)
        What the others are compared with.
    metric : str
        One of the metrics in the results.
    published : DataFrame, optional
        Published values per task, with the same columns where they exist. Only tasks that the results have are used.
    encoders : sequence of str
        Parts of a features name that stand for a pretrained encoder.
    group_of : callable, optional
        From a task to the unit it is averaged into before intervals are computed, as in ``summarise``.

    Raises
    ------
    DataError
        If columns are missing, the table is empty, or the metric or the control is not in it.
    """
    check_results(results)
    chosen = results[results["metric"] == metric]
    if chosen.empty:
        raise DataError(f"the metric {metric!r} is not in the results{suggestion(metric, set(results['metric']))}")
    comparisons = []
    for benchmark in chosen["benchmark"].unique():
        own = chosen[chosen["benchmark"] == benchmark]
        together = own if published is None else pd.concat([own[[*COLUMNS]], published_rows(published, own)], ignore_index=True)
        comparisons.append(_compare_one(together, own, control, encoders, group_of))
    return comparisons


def published_rows(published: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return the published values, with ``COLUMNS``, of the benchmarks, tasks and metrics that the results have."""
    tasks = set(zip(results["benchmark"], results["task"], results["metric"], strict=True))
    keys = zip(published["benchmark"], published["task"], published["metric"], strict=True)
    kept = published[[key in tasks for key in keys]]
    features = kept["features"].astype(str)
    marked = features.where(features.str.endswith(PUBLISHED), features + PUBLISHED)
    return kept.assign(features=marked).reindex(columns=COLUMNS).fillna({"split": "", "repeat": 0})


def _compare_one(
    together: pd.DataFrame, own: pd.DataFrame, control: tuple[str, str], encoders: Sequence[str], group_of: GroupOf | None
) -> Comparison:
    benchmark, metric = own["benchmark"].iloc[0], own["metric"].iloc[0]
    summary = summarise(together, group_of=group_of).drop(columns=["ci_low", "ci_high"])
    differences = paired_differences(together, control, group_of=group_of)
    differences = differences.rename(columns={"mean_difference": "difference", "n_tasks": "n_paired"}).drop(columns="control")
    rows = summary.merge(differences, on=["benchmark", "metric", *_CELL], how="left").drop(columns=["benchmark", "metric"])
    for count in ("wins", "losses", "n_paired"):
        rows[count] = rows[count].fillna(0).astype(int)
    own_cells = set(zip(own["features"], own["head"], strict=True))
    cells = list(zip(rows["features"], rows["head"], strict=True))
    roles = [_role(cell, control, own_cells, encoders) for cell in cells]
    claims = rows["claim"].where(rows["n_paired"] >= 2, NO_INTERVAL)
    rows["claim"] = claims.where([cell != tuple(control) for cell in cells], "the control")
    rows.insert(2, "role", roles)
    return Comparison(
        benchmark=str(benchmark),
        metric=str(metric),
        control=(control[0], control[1]),
        rows=rows,
        task_differences=_task_differences(together, control),
        n_tasks=int(rows.loc[rows["role"] == "the control", "n_tasks"].iloc[0]),
        unit="tasks" if group_of is None else "groups of tasks",
        results=together,
    )


def _role(cell: tuple[str, str], control: tuple[str, str], own_cells: set[tuple[str, str]], encoders: Sequence[str]) -> str:
    if cell == tuple(control):
        return "the control"
    if cell not in own_cells:
        return "published"
    return "encoder" if set(feature_parts(cell[0])) & set(encoders) else "control"


def feature_parts(features: str) -> list[str]:
    """Return the parts of a features name such as ``counts+embedding``."""
    return [part.strip() for part in features.split("+")]


def _task_differences(together: pd.DataFrame, control: tuple[str, str]) -> pd.DataFrame:
    by = "task" if together["task"].nunique() > 1 else "repeat"
    wide = together.pivot_table(index=by, columns=_CELL, values="value", aggfunc="mean", dropna=False)
    return wide.sub(wide[tuple(control)], axis=0).drop(columns=[tuple(control)])
