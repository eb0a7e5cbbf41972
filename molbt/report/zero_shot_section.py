"""Zero-shot methods beside their controls: as plain text for a terminal, as sections of the page."""

from collections.abc import Iterator
from html import escape

import pandas as pd

from molbt.report.coverage_figure import coverage_figure, coverage_table
from molbt.report.document import figure
from molbt.report.wording import NONE, interval, metric_name, number

TITLE = "Without a support set"
NOTE = (
    "Differences are paired over assays, with 95 % intervals. frequent_hitters ignores the text: what does not beat it learned nothing "
    "from texts. lightgbm_pairs has the same molecules and texts as plain features: what does not beat it did not need its pretraining."
)
COVERAGE_NOTE = (
    "Each assay by probabilities and sets that were calibrated on other assays. The promise is for assays that are like those; a single "
    "one may be far from the mean."
)
_DECIMALS = 3


def comparison_text(table: pd.DataFrame, title: str = TITLE) -> str:
    """Return ``compare_methods`` as aligned plain text, a part for each metric and group."""
    parts = [title]
    for (metric, group), rows in table.groupby(["metric", "group"], sort=False):
        lines = [headings(rows), *cells(rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        parts.append(f"{metric_name(str(metric))}, {group}, assays: {rows['n_tasks'].max()}")
        parts += [
            "  ".join(
                cell.rjust(width) if 2 <= place <= 4 else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
    return "\n".join(parts)


def comparison_section(table: pd.DataFrame, title: str = TITLE) -> Iterator[str]:
    """Yield a section of the page: a table per metric and group; those of all assays are open."""
    yield f'<h2>{escape(title)}</h2><p class="note">{escape(NOTE)}</p>'
    first_group = table["group"].iloc[0]
    for (metric, group), rows in table.groupby(["metric", "group"], sort=False):
        head = "".join(f'<th scope="col"{_align(place)}>{escape(name)}</th>' for place, name in enumerate(headings(rows)))
        body = "".join(
            f'<tr class="{"the-control" if "the control" in line else "unclaimed"}">'
            + "".join(f"<td{_align(place)}>{escape(cell)}</td>" for place, cell in enumerate(line))
            + "</tr>"
            for line in cells(rows)
        )
        yield (
            f"<details{' open' if group == first_group else ''}><summary>{escape(metric_name(str(metric)))}, {escape(str(group))}, assays: "
            f'{rows["n_tasks"].max()}</summary><div class="scroll"><table class="comparison"><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div></details>"
        )


def coverage_section(coverage: pd.DataFrame) -> Iterator[str]:
    """Yield a section of the page from ``held_out_coverage`` of several methods (``head``): numbers for each, and a drawing."""
    yield f'<h2>Coverage on held-out assays</h2><p class="note">{escape(COVERAGE_NOTE)}</p>'
    for number_of, (head, own) in enumerate(coverage.groupby("head", sort=False)):
        drawn = figure(coverage_figure(own, kind=f"zero_shot_{number_of}"), "Mean width is the mean number of classes in a set.")
        yield f"<details{' open' if not number_of else ''}><summary>{escape(str(head))}</summary>{drawn}{coverage_table(own)}</details>"


def coverage_text(coverage: pd.DataFrame) -> str:
    """Return the mean coverage over assays and the mean number of classes in a set, per method and level, as plain text."""
    means = coverage.groupby(["head", "confidence"], sort=False)[["coverage", "width"]].mean()
    wide = means.round(_DECIMALS).reset_index().rename(columns={"head": "method", "width": "classes in a set"})
    return f"sets on assays that took no part in their calibration, mean over assays\n{wide.to_string(index=False)}"


def headings(rows: pd.DataFrame) -> list[str]:
    """Return the columns: a difference with its interval, and a claim, for each control."""
    controls = [name for name in dict.fromkeys(rows["control"]) if name]
    return ["features", "method", "mean", "±se", "assays", *(part for name in controls for part in (f"Δ to {name}", "claim"))]


def cells(rows: pd.DataFrame) -> list[list[str]]:
    """Return the text of each method's row, by ``headings``."""
    lines = []
    for (features, head), own in rows.groupby(["features", "head"], sort=False):
        first = own.iloc[0]
        line = [str(features), str(head), number(first["mean"], _DECIMALS), number(first["standard_error"], _DECIMALS)]
        line.append(str(first["n_tasks"]))
        for row in own.to_dict("records"):
            if row["control"]:
                told = f"{number(row['difference'], _DECIMALS, sign=True)} ({interval(row['ci_low'], row['ci_high'], _DECIMALS)})"
                line += [told if pd.notna(row["difference"]) else NONE, str(row["claim"])]
        lines.append(line)
    return lines


def _align(place: int) -> str:
    return ' class="number"' if 2 <= place <= 4 else ""
