"""The comparison as a table: plain text for a terminal, HTML for the page; the same numbers in both."""

from collections.abc import Sequence
from html import escape

import pandas as pd

from molbt.evaluation.statistics import FEWEST_UNITS, GroupOf
from molbt.report.comparison import ENCODER_PARTS, Comparison, Row, compare
from molbt.report.wording import NONE, interval, metric_name, number

HEADINGS = ("features", "head", "mean", "±se", "Δ to control", "95 % interval", "better/worse/tasks", "claim")
N_PUBLISHED = 5
"""Published methods shown; the best by mean, and how many are left out is said."""

CROWDED = 24
"""With more rows than this, a table scrolls in a box of its own under its headings and the control, and a matrix of means precedes it."""

_LEFT = ("features", "head", "claim")


def text_table(
    results: pd.DataFrame,
    control: tuple[str, str],
    metric: str,
    *,
    published: pd.DataFrame | None = None,
    encoders: Sequence[str] = ENCODER_PARTS,
    group_of: GroupOf | None = None,
    label_unit: str = "",
) -> str:
    """Return the comparison with the control as aligned plain text, one table per benchmark, best mean first.

    Parameters are those of ``molbt.report.comparison.compare``; ``label_unit`` is the unit of the labels (for example "pKi").

    Raises
    ------
    DataError
        If columns are missing, the table is empty, or the metric or the control is not in it.
    """
    comparisons = compare(results, control, metric, published=published, encoders=encoders, group_of=group_of)
    return "\n\n".join(_one_text_table(comparison, label_unit) for comparison in comparisons)


def html_table(comparison: Comparison, label_unit: str = "") -> str:
    """Return the comparison as an HTML table with caption and footnotes; the control's row is highlighted, published rows are marked.

    With more than ``CROWDED`` rows it scrolls in a box where the headings and the control stay in sight.
    """
    rows = shown_rows(comparison)
    head = "".join(f'<th scope="col"{_align(name)}>{escape(name)}</th>' for name in HEADINGS)
    body = "".join(
        f'<tr class="{row.role.replace(" ", "-")} {row.claim if row.claim in ("better", "worse") else "unclaimed"}">'
        + "".join(f"<td{_align(name)}>{escape(cell)}</td>" for name, cell in zip(HEADINGS, cells, strict=True))
        + "</tr>"
        for row, cells in zip(rows, _cells(rows, comparison.decimals), strict=True)
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in footnotes(comparison))
    caption = escape(caption_of(comparison, label_unit))
    box = "scroll tall" if len(rows) > CROWDED else "scroll"
    return (
        f'<div class="{box}"><table class="comparison"><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>" + (f'<ul class="footnotes">{notes}</ul>' if notes else "")
    )


def shown_rows(comparison: Comparison) -> list[Row]:
    """Return the rows of a comparison without published methods beyond the best ``N_PUBLISHED``."""
    published = [row for row in comparison.rows if row.role == "published"]
    return [row for row in comparison.rows if row not in published[N_PUBLISHED:]]


def caption_of(comparison: Comparison, label_unit: str = "") -> str:
    """Return what the table is of, and which way is better."""
    better = "higher" if comparison.larger_is_better else "lower"
    n_tasks = comparison.control.n_tasks
    over = f"mean over {n_tasks} {comparison.unit}" if n_tasks > 1 else f"one {comparison.unit.removesuffix('s')}, so no interval"
    return f"{comparison.benchmark}: {metric_name(comparison.metric, label_unit)}, {better} is better; {over}"


def footnotes(comparison: Comparison) -> list[str]:
    """Return what a reader of the table must know: undefined values, means over fewer tasks, too few of them, methods not shown."""
    notes = []
    n_tasks = comparison.control.n_tasks
    for row in comparison.rows:
        if row.n_undefined:
            values = "value is" if row.n_undefined == 1 else "values are"
            notes.append(f"{row.name}: {row.n_undefined} {values} undefined and left out")
        if row.n_tasks != n_tasks:
            notes.append(f"{row.name}: its mean is over {row.n_tasks} {comparison.unit}, that of the control over {n_tasks}")
    if 1 < n_tasks < FEWEST_UNITS:
        notes.append(f"nothing is claimed over fewer than {FEWEST_UNITS} {comparison.unit}: their intervals stand on an assumption")
    left_out = len(comparison.rows) - len(shown_rows(comparison))
    if left_out:
        notes.append(f"the best {N_PUBLISHED} published methods are shown, {left_out} more are left out")
    return notes


def _one_text_table(comparison: Comparison, label_unit: str) -> str:
    rows = shown_rows(comparison)
    lines = [list(HEADINGS), *_cells(rows, comparison.decimals)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    aligned = [
        "  ".join(
            cell.ljust(width) if name in _LEFT else cell.rjust(width) for name, cell, width in zip(HEADINGS, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    rule = "-" * max(len(line) for line in aligned)
    return "\n".join([caption_of(comparison, label_unit), aligned[0], rule, *aligned[1:], *(f"* {note}" for note in footnotes(comparison))])


def _cells(rows: Sequence[Row], decimals: int) -> list[list[str]]:
    """Return the text of each row, by ``HEADINGS``."""
    return [
        [
            _one_line(row.features),
            _one_line(row.head),
            number(row.mean, decimals),
            number(row.standard_error, decimals),
            number(row.difference, decimals, sign=True),
            interval(row.ci_low, row.ci_high, decimals),
            f"{row.wins}/{row.losses}/{row.n_paired}" if row.n_paired else NONE,
            row.claim,
        ]
        for row in rows
    ]


def _one_line(text: str) -> str:
    """Names come from users: a line break in one must not break the table."""
    return " ".join(str(text).split())


def _align(name: str) -> str:
    return "" if name in _LEFT else ' class="number"'
