"""Do intervals and sets hold the truth as often as they say? Observed coverage against the nominal one, drawn and in numbers."""

from collections.abc import Mapping
from html import escape

import numpy as np
import pandas as pd

from molbt.errors import DataError
from molbt.report.drawing import BLUE, GRID, INK, MUTED, drawing, plain_axes
from molbt.report.wording import number

COVERAGE_COLUMNS = ("task", "confidence", "coverage", "width", "n")
"""One row per task and confidence: the nominal level, the share of rows covered, the mean width (or size of the set), the rows."""

TOLERANCE = 0.02
"""How far the mean over tasks may lie from the nominal level and still be called right."""


def check_coverage(coverage: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a coverage.

    Raises
    ------
    DataError
        If columns are missing or no row has a coverage.
    """
    missing = [column for column in COVERAGE_COLUMNS if column not in coverage.columns]
    if missing:
        raise DataError(
            f"a table of coverage needs the columns {', '.join(COVERAGE_COLUMNS)}; {missing} are missing from {list(coverage.columns)}"
        )
    defined = coverage[coverage["coverage"].notna() & (coverage["n"] > 0)]
    if defined.empty:
        raise DataError("expected rows with an observed coverage, found none; leave the section out, or calibrate on more rows")
    return defined


def coverage_figure(coverage: pd.DataFrame, *, kind: str = "") -> str:
    """Return observed against nominal coverage as SVG: a dot per task, the mean over tasks, and the band of the tolerance.

    ``kind`` tells several such drawings on one page apart.
    """
    table = check_coverage(coverage)
    means = table.groupby("confidence")["coverage"].mean()
    with drawing(f"coverage{kind}", 3.6, f"Observed against nominal coverage of {table['task'].nunique()} tasks") as result:
        axes = result.figure.add_subplot()
        low = float(np.floor(10 * min(table["confidence"].min(), table["coverage"].min()) - 0.5) / 10)
        ends = np.array([low, 1.0])
        axes.fill_between(ends, ends - TOLERANCE, ends + TOLERANCE, color=GRID, linewidth=0, label=f"nominal ± {TOLERANCE:g}")
        axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle="--", label="nominal")
        axes.plot(table["confidence"], table["coverage"], "o", color=BLUE, markersize=4.5, alpha=0.6, markeredgewidth=0, label="a task")
        axes.plot(means.index, means, "D-", color=INK, markersize=6, label="mean over tasks")
        axes.set_xlabel("nominal coverage")
        axes.set_ylabel("observed on test rows")
        axes.set_xlim(table["confidence"].min() - 0.05, 1.005)
        axes.set_ylim(low - 0.02, 1.02)
        plain_axes(axes)
        result.figure.legend(loc="outside upper left", ncols=4)
    return result.svg


def coverage_table(coverage: pd.DataFrame, *, widths_have_mean: bool = True) -> str:
    """Return, per confidence, the mean, lowest and highest coverage over tasks and the mean width, as HTML.

    Widths of intervals are in the unit of the labels: those of tasks in different units have no mean, and none is shown.
    """
    headings = ("confidence", "mean coverage", "lowest", "highest", "mean width", "tasks", "rows", f"mean within ± {TOLERANCE:g}")
    rows = []
    for confidence, of_level in check_coverage(coverage).groupby("confidence"):
        mean, width = of_level["coverage"].mean(), of_level["width"].mean() if widths_have_mean else np.nan
        values = (confidence, mean, of_level["coverage"].min(), of_level["coverage"].max(), width)
        within = "yes" if abs(mean - float(str(confidence))) <= TOLERANCE + 1e-9 else "no"
        counts = (f"{of_level['task'].nunique():,}", f"{int(of_level['n'].sum()):,}", within)
        rows.append([*(number(float(str(value)), 3) for value in values), *counts])
    head = "".join(f'<th class="number">{escape(name)}</th>' for name in headings)
    body = "".join("<tr>" + "".join(f'<td class="number">{cell}</td>' for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def task_coverage_table(coverage: pd.DataFrame, units: Mapping[str, str]) -> str:
    """Return, per task and confidence, the coverage and the width with its unit, as HTML; repeats are averaged."""
    means = check_coverage(coverage).groupby(["task", "confidence"], sort=False)[["coverage", "width"]].mean().reset_index()
    rows = ""
    for task, *values in means.itertuples(index=False, name=None):
        cells = "".join(f'<td class="number">{number(float(value), 3)}</td>' for value in values)
        rows += f"<tr><td>{escape(str(task))}</td>{cells}<td>{escape(units.get(str(task), ''))}</td></tr>"
    return (
        '<div class="scroll"><table><thead><tr><th>task</th><th class="number">confidence</th><th class="number">coverage</th>'
        f'<th class="number">mean width</th><th>unit</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )
