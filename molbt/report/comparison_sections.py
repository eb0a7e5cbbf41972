"""The sections of a page that compare: verdict, tables, and the differences drawn."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from molbt.report.comparison import Comparison
from molbt.report.document import figure
from molbt.report.figures import MAX_SERIES, drawn_rows, forest_plot, task_plot
from molbt.report.score_matrix import score_matrix
from molbt.report.split_table import split_section
from molbt.report.tables import CROWDED, caption_of, html_table, shown_rows
from molbt.report.verdict import Contrast, contrasts, protocol_sentence, verdict
from molbt.report.wording import interval, number

if TYPE_CHECKING:
    from molbt.evaluation.leakage import Leakage


def verdict_section(comparison: Comparison, label_unit: str, leakage: "Leakage | None") -> str:
    said = verdict(comparison, label_unit)
    overlaps = f'<p class="protocol">Overlaps: {escape(leakage.sentence())}</p>' if leakage is not None else ""
    return (
        f'<div class="verdict"><p><strong>{escape(said.headline)}</strong> {escape(said.detail)}</p>'
        f'<p class="protocol">{escape(protocol_sentence(comparison))}</p>{overlaps}</div>'
    )


def table_section(comparisons: Sequence[Comparison], others: Sequence[Comparison], label_unit: str) -> Iterator[str]:
    yield "<h2>Table</h2>"
    yield (
        '<p class="note">Δ is value − control on the same tasks. A row is better or worse only when its 95 % interval over five or more '
        "excludes zero. "
        "The control is tinted, rows that use the encoder have a bar at the left, published values are in italics.</p>"
    )
    for comparison in comparisons:
        if len(comparison.rows) > CROWDED:
            yield score_matrix(comparison)
        yield html_table(comparison, label_unit)
        yield split_section(comparison.results, comparison.control.cell, comparison.metric, label_unit)
        found = contrasts(comparison)
        if found:
            yield f"<h3>The encoder, taken apart</h3>{_contrast_table(found, comparison.decimals)}"
    for comparison in others:
        table = html_table(comparison, label_unit)
        if len(comparison.rows) > CROWDED:
            table = f"<details><summary>{escape(caption_of(comparison, label_unit))}</summary>{table}</details>"
        yield f"<h3>Also measured</h3>{table}"


def _contrast_table(found: Sequence[Contrast], decimals: int) -> str:
    rows = "".join(
        f"<tr><td>{escape(row.question)}</td><td>{escape(row.first)}</td><td>{escape(row.second)}</td>"
        f'<td class="number">{number(row.difference.mean, decimals, sign=True)}</td>'
        f'<td class="number">{interval(row.difference.ci_low, row.difference.ci_high, decimals)}</td>'
        f"<td>{escape(row.difference.claim)}</td></tr>"
        for row in found
    )
    box = "scroll tall" if len(found) > CROWDED else "scroll"
    return (
        f'<div class="{box}"><table class="comparison"><thead><tr><th>question</th><th>this</th><th>minus this</th>'
        f'<th class="number">difference</th><th class="number">95 % interval</th><th>claim</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def drawing_section(comparisons: Sequence[Comparison], label_unit: str) -> Iterator[str]:
    yield "<h2>Differences to the control, drawn</h2>"
    for comparison in comparisons:
        forest = forest_plot(comparison, label_unit)
        if not forest:
            yield f"<p>{escape(comparison.benchmark)}: nothing has a value on a task of the control.</p>"
            continue
        has_interval = comparison.control.n_tasks > 1
        bars = f"bars are paired 95 % intervals over {comparison.unit}" if has_interval else "one task, so no interval over tasks exists"
        left_out = sum(math.isfinite(row.difference) for row in shown_rows(comparison)) - len(drawn_rows(comparison))
        more = f" The best are drawn, {left_out} more are in the table." if left_out else ""
        yield figure(forest, f"{comparison.benchmark}: mean paired difference to the control; {bars}.{more}")
        tasks = task_plot(comparison, label_unit)
        if tasks:
            by_task = comparison.task_differences.index.name == "task"
            row = "a task, its repeats averaged" if by_task else "a repeat of the one task"
            yield figure(tasks, f"Each row is {row}; drawn are the best combinations with the encoder, at most {MAX_SERIES}.")
