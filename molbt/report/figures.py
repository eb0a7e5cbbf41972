"""The comparison drawn: mean paired differences with their intervals, and the differences task by task."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from molbt.report.comparison import Comparison, Row
from molbt.report.drawing import BLUE, GRID, INK, MARKERS, MUTED, ORANGE, PAPER, SERIES, drawing, plain_axes, shorten
from molbt.report.tables import shown_rows
from molbt.report.wording import cell_name, metric_name

MAX_LABELLED_TASKS = 60
"""With more tasks than this, the task-by-task drawing shows their order and leaves out their names."""
MAX_SERIES = 3
MAX_DRAWN = 30
"""Rows of the drawing of intervals: the best, and the best of each role; the table has all."""

_ROLES = {
    "encoder": (BLUE, "o", "uses the encoder"),
    "control": (INK, "s", "another control"),
    "published": (ORANGE, "D", "published"),
}


def forest_plot(comparison: Comparison, label_unit: str = "") -> str:
    """Return the mean paired difference of each features × head to the control with its 95 % interval, as SVG; "" where there is none.

    A filled marker is a claim: the interval excludes zero.
    """
    rows = drawn_rows(comparison)
    if not rows:
        return ""
    with drawing(f"forest-{comparison.benchmark}-{comparison.metric}", 1.35 + 0.27 * len(rows), _describe_forest(comparison)) as result:
        axes = result.figure.add_subplot()
        for position, row in enumerate(rows):
            color, marker, _ = _ROLES[row.role]
            if math.isfinite(row.ci_low):
                axes.plot([row.ci_low, row.ci_high], [position, position], color=color, linewidth=2, solid_capstyle="butt")
            face = color if row.claim in ("better", "worse") else PAPER
            axes.plot(row.difference, position, marker, color=color, markerfacecolor=face, markersize=6.5, markeredgewidth=1.6)
        axes.set_yticks(range(len(rows)), [shorten(row.name) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        _difference_axis(axes, comparison, label_unit)
        handles = [
            Line2D([], [], color=color, marker=marker, linewidth=2, label=label)
            for role, (color, marker, label) in _ROLES.items()
            if any(row.role == role for row in rows)
        ]
        hollow = Line2D(
            [], [], color=MUTED, marker="o", markerfacecolor=PAPER, markeredgewidth=1.6, linewidth=0, label="hollow: no difference claimed"
        )
        result.figure.legend(handles=[*handles, hollow], loc="outside upper left", ncols=len(handles) + 1)
    return result.svg


def drawn_rows(comparison: Comparison) -> list[Row]:
    """Return the rows with a difference to the control that are drawn, in the order of the table."""
    rows = [row for row in shown_rows(comparison) if math.isfinite(row.difference)]
    if len(rows) <= MAX_DRAWN:
        return rows
    best_of_role = [row for role in _ROLES for row in comparison.with_role(role)[:5]]
    chosen = [*best_of_role, *(row for row in rows if row not in best_of_role)][:MAX_DRAWN]
    return [row for row in rows if row in chosen]


def task_plot(comparison: Comparison, label_unit: str = "") -> str:
    """Return the difference to the control on each task (on each repeat, when there is one task) for the best features × head that use
    the encoder, as SVG; "" where there is none. The tasks where the first of these gains most are at the top.
    """
    cells = [row.cell for row in comparison.with_role("encoder")[:MAX_SERIES]]
    if not cells:
        return ""
    table = comparison.task_differences[cells].dropna(how="all")
    by_repeat = table.index.name == "repeat"
    if not by_repeat:
        table = table.sort_values(cells[0], ascending=not comparison.larger_is_better, kind="stable")
    labelled = len(table) <= MAX_LABELLED_TASKS
    height = 1.5 + 0.21 * len(table) if labelled else 7.0
    with drawing(f"tasks-{comparison.benchmark}-{comparison.metric}", height, _describe_tasks(comparison, table)) as result:
        axes = result.figure.add_subplot()
        positions = np.arange(len(table))
        if labelled:
            low, high = table.min(axis=1).clip(upper=0), table.max(axis=1).clip(lower=0)
            axes.hlines(positions, low, high, color=GRID, linewidth=1.5)
        for cell, color, marker in zip(cells, SERIES, MARKERS, strict=False):
            axes.plot(table[cell], positions, marker, color=color, markersize=5.5 if labelled else 3.5, label=shorten(cell_name(*cell)))
        names = [f"repeat {name}" if by_repeat else shorten(name, 36) for name in table.index]
        axes.set_yticks(positions if labelled else [], names if labelled else [])
        axes.set_ylabel("" if labelled else f"{len(table)} tasks, sorted")
        axes.set_ylim(len(table) - 0.4, -0.6)
        _difference_axis(axes, comparison, label_unit)
        result.figure.legend(loc="outside upper left", ncols=len(cells))
    return result.svg


def _difference_axis(axes: Axes, comparison: Comparison, label_unit: str) -> None:
    plain_axes(axes, grid="x")
    axes.axvline(0, color=INK, linewidth=1.2)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.05 * (high - low)), max(high, 0.05 * (high - low)))
    left, right = ("worse", "better") if comparison.larger_is_better else ("better", "worse")
    what = f"difference in {metric_name(comparison.metric, label_unit)} to {shorten(comparison.control.name)}"
    axes.set_xlabel(f"← {left}  ·  {what}  ·  {right} →")


def _describe_forest(comparison: Comparison) -> str:
    what = f"Mean paired differences in {comparison.metric} to the control on {comparison.benchmark}"
    return f"{what}, with 95 % intervals; the numbers are in the table above"


def _describe_tasks(comparison: Comparison, table: pd.DataFrame) -> str:
    return f"Differences in {comparison.metric} to the control on {comparison.benchmark}, one row per {table.index.name}, {len(table)} rows"
