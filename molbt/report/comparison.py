"""What every table, figure and verdict of a report is made from: one metric of one benchmark, each features × head beside the control."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from molbt.errors import DataError, suggestion
from molbt.evaluation.metrics import find_metric
from molbt.evaluation.statistics import FEWEST_UNITS, TOO_FEW, GroupOf, data_set_of, paired_differences, summarise
from molbt.report.wording import cell_name, decimals_for

COLUMNS = ("benchmark", "task", "split", "repeat", "features", "head", "metric", "value")
"""What a results table must have; other columns are shown in the full table only."""

ENCODER_PARTS = ("embedding", "twin embeddings", "twin projections")
"""Parts of a features name that stand for a pretrained encoder; ``untrained`` and ``pca`` are controls."""

PUBLISHED = " (published)"

_CELL = ["features", "head"]


@dataclass(frozen=True)
class Row:
    """One features × head beside the control.

    Attributes
    ----------
    role : str
        "the control", "control" (another one), "encoder" or "published".
    mean, standard_error : float
        Over the tasks with a value; NaN where undefined.
    n_tasks, n_undefined : int
        Units with a value, and results whose value is NaN.
    difference, ci_low, ci_high : float
        Mean paired difference, value − control, and its 95 % interval.
    wins, losses, n_paired : int
        Units better and worse than the control, and units where both have a value.
    claim : str
        "better", "worse", "no difference shown", "too few data sets to tell (2)" (fewer than ``FEWEST_UNITS`` in common with the control)
        or "the control".
    """

    features: str
    head: str
    role: str
    mean: float
    standard_error: float
    n_tasks: int
    n_undefined: int
    difference: float
    ci_low: float
    ci_high: float
    wins: int
    losses: int
    n_paired: int
    claim: str

    @property
    def cell(self) -> tuple[str, str]:
        return self.features, self.head

    @property
    def name(self) -> str:
        return cell_name(self.features, self.head)


@dataclass(frozen=True)
class PairedDifference:
    """A mean paired difference, its 95 % interval (NaN where there is none), and what may be claimed."""

    mean: float
    ci_low: float
    ci_high: float
    claim: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """One metric of one benchmark.

    Attributes
    ----------
    benchmark, metric : str
    rows : tuple of Row
        Best mean first.
    task_differences : DataFrame
        Value − control: one row per task (repeats averaged), or per repeat when there is one task; one column per (features, head).
    results : DataFrame
        The results, published ones included, that all this was computed from.
    encoders : tuple of str
        Parts of a features name that stand for a pretrained encoder.
    group_of : callable or None
        How tasks were averaged into units; None where each task is one.
    """

    benchmark: str
    metric: str
    rows: tuple[Row, ...]
    task_differences: pd.DataFrame
    results: pd.DataFrame
    encoders: tuple[str, ...]
    group_of: GroupOf | None

    @property
    def control(self) -> Row:
        return next(row for row in self.rows if row.role == "the control")

    @property
    def larger_is_better(self) -> bool:
        return find_metric(self.metric)[0].larger_is_better

    @property
    def unit(self) -> str:
        """What the intervals are over."""
        return _unit(self.group_of)

    @property
    def decimals(self) -> int:
        """How many decimals its numbers deserve."""
        if self.control.n_tasks < FEWEST_UNITS:  # an interval over two data sets is as wide as it likes
            return decimals_for([], [], [row.mean for row in self.rows])
        half_widths = [(row.ci_high - row.ci_low) / 2 for row in self.rows]
        return decimals_for(half_widths, [row.standard_error for row in self.rows], [row.mean for row in self.rows])

    def between(self, cell: tuple[str, str], other: tuple[str, str]) -> PairedDifference:
        """Return the mean paired difference of one features × head to another, with its interval and claim."""
        table = paired_differences(self.results, other, group_of=self.group_of)
        row = table[(table["features"] == cell[0]) & (table["head"] == cell[1])].iloc[0]
        claim = _claim_in_words(str(row["claim"]), int(row["n_tasks"]), self.unit)
        return PairedDifference(float(row["mean_difference"]), float(row["ci_low"]), float(row["ci_high"]), claim)

    def with_role(self, role: str) -> list[Row]:
        """Return the rows of a role that have a difference to the control, the most favourable first.

        By the difference and not by the mean, because means of rows with undefined values are over other tasks.
        """
        rows = [row for row in self.rows if row.role == role and math.isfinite(row.difference)]
        return sorted(rows, key=lambda row: row.difference, reverse=self.larger_is_better)


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
        One of the metrics in the results. Values with fewer than all training labels (column ``fraction``) are left out.
    published : DataFrame, optional
        Published values per task, with the same columns where they exist. Only tasks that the results have are used.
    encoders : sequence of str
        Parts of a features name that stand for a pretrained encoder.
    group_of : callable, optional
        From a task to the unit it is averaged into before intervals are computed, as in ``summarise``; by default its ``data_set``.

    Raises
    ------
    DataError
        If columns are missing, the table is empty, or the metric or the control is not in it.
    """
    check_results(results)
    chosen = with_all_labels(results)
    chosen = chosen[chosen["metric"] == metric]
    if chosen.empty:
        raise DataError(f"the metric {metric!r} is not in the results{suggestion(metric, set(results['metric']))}")
    comparisons = []
    for benchmark in chosen["benchmark"].unique():
        own = chosen[chosen["benchmark"] == benchmark]
        together = own if published is None else pd.concat([own[[*COLUMNS]], published_rows(published, own)], ignore_index=True)
        comparisons.append(_compare_one(together, own, control, encoders, group_of or data_set_of(own)))
    return comparisons


def with_all_labels(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results with the largest share of the training labels: all of them, in a table that has no other."""
    if "fraction" not in results.columns:
        return results
    return results[results["fraction"] == results["fraction"].max()]


def published_rows(published: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return the published values, with ``COLUMNS``, of the benchmarks, tasks and metrics that the results have.

    Raises
    ------
    DataError
        If ``published`` lacks a column other than split and repeat.
    """
    missing = [column for column in COLUMNS if column not in {*published.columns, "split", "repeat"}]
    if missing:
        raise DataError(f"published results need the columns {', '.join(COLUMNS)}; {missing} are missing from {list(published.columns)}")
    tasks = set(zip(results["benchmark"], results["task"], results["metric"], strict=True))
    keys = zip(published["benchmark"], published["task"], published["metric"], strict=True)
    kept = published.loc[[key in tasks for key in keys], :]  # without loc a list without entries would choose columns
    features = kept["features"].astype(str)
    marked = features.where(features.str.endswith(PUBLISHED), features + PUBLISHED)
    return kept.assign(features=marked).reindex(columns=COLUMNS).fillna({"split": "", "repeat": 0})


def _compare_one(
    together: pd.DataFrame, own: pd.DataFrame, control: tuple[str, str], encoders: Sequence[str], group_of: GroupOf | None
) -> Comparison:
    summary = summarise(together, group_of=group_of)
    differences = paired_differences(together, control, group_of=group_of)
    by_cell = {(str(row["features"]), str(row["head"])): row for row in differences.to_dict("records")}
    own_cells = set(zip(own["features"], own["head"], strict=True))
    rows = []
    for row in summary.to_dict("records"):
        cell = str(row["features"]), str(row["head"])
        rows.append(_row(row, by_cell.get(cell), _role(cell, control, own_cells, encoders), _unit(group_of)))
    return Comparison(
        benchmark=str(own["benchmark"].iloc[0]),
        metric=str(own["metric"].iloc[0]),
        rows=tuple(rows),
        task_differences=_task_differences(together, control),
        results=together,
        encoders=tuple(encoders),
        group_of=group_of,
    )


def _row(summary: dict[Hashable, Any], difference: dict[Hashable, Any] | None, role: str, unit: str) -> Row:
    own = {name: summary[name] for name in ("features", "head", "mean", "standard_error", "n_tasks", "n_undefined")}
    if difference is None:
        nothing = math.nan
        return Row(**own, role=role, difference=nothing, ci_low=nothing, ci_high=nothing, wins=0, losses=0, n_paired=0, claim=role)
    n_paired = int(difference["n_tasks"])
    paired = {name: difference[name] for name in ("ci_low", "ci_high", "wins", "losses")}
    claim = _claim_in_words(difference["claim"], n_paired, unit)
    return Row(**own, **paired, role=role, difference=difference["mean_difference"], n_paired=n_paired, claim=claim)


def _unit(group_of: GroupOf | None) -> str:
    return "tasks" if group_of is None else "data sets"


def _claim_in_words(claim: str, n_paired: int, unit: str) -> str:
    return f"too few {unit} to tell ({n_paired})" if claim == TOO_FEW else claim


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
