"""One self-contained HTML page: whether the encoder earned its place, the table, drawings, training, configuration, all values."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from molbt.data.files import atomic_write
from molbt.evaluation.statistics import GroupOf
from molbt.report.comparison import ENCODER_PARTS, Comparison, compare, published_rows, with_all_labels
from molbt.report.coverage_figure import coverage_figure, coverage_table
from molbt.report.document import html_document
from molbt.report.embedding_figure import embedding_figure
from molbt.report.figures import MAX_SERIES, drawn_rows, forest_plot, task_plot
from molbt.report.label_curves import MAX_HEADS, label_curves
from molbt.report.leakage_section import leakage_section
from molbt.report.run_record import RunRecord, read_run
from molbt.report.score_matrix import score_matrix
from molbt.report.tables import CROWDED, caption_of, html_table, shown_rows
from molbt.report.training_figures import spectrum_figure, training_figure
from molbt.report.verdict import Contrast, contrasts, protocol_sentence, verdict
from molbt.report.wording import NONE, interval, number

if TYPE_CHECKING:
    from molbt.evaluation.leakage import Leakage

MAX_VALUES_SHOWN = 20_000
"""Rows of the full table on the page: more would make a page that no browser scrolls."""


def write_report(
    path: str | Path,
    *,
    title: str,
    results: pd.DataFrame,
    control: tuple[str, str],
    metric: str | Sequence[str],
    published: pd.DataFrame | None = None,
    encoders: Sequence[str] = ENCODER_PARTS,
    group_of: GroupOf | None = None,
    label_unit: str = "",
    run_directory: str | Path | None = None,
    leakage: "Leakage | None" = None,
    coverage: pd.DataFrame | None = None,
    embedding_map: tuple[pd.DataFrame, str] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write the report of an evaluation, and return its path.

    The page needs nothing beside it: style and drawings are inside, and there is no script. The same input gives the same bytes.

    Parameters
    ----------
    path : path
        The HTML file; written whole or not at all. Its directory must exist.
    title : str
    results : DataFrame
        Columns benchmark, task, split, repeat, features, head, metric, value, and any others (n_train, n_test). Controls are rows too.
    control : (features, head)
        What the others are compared with.
    metric : str or sequence of str
        The metrics of the verdicts and the drawings, such as one for values and one for classes; the other metrics in the results get a
        table each.
    published : DataFrame, optional
        Published values per task, in the same columns where they exist.
    encoders : sequence of str
        Parts of a features name that stand for a pretrained encoder.
    group_of : callable, optional
        From a task to the unit it is averaged into before intervals are computed (correlated columns of one data set).
    label_unit : str
        Unit of the labels, such as "pKi"; errors are in it.
    run_directory : path, optional
        The run whose encoder was evaluated: training curves, configuration, versions and hardware come from it.
    leakage : Leakage, optional
        Overlaps with the pretraining; their sentence stands under the verdict, and each task in a section of its own.
    coverage : DataFrame, optional
        Of intervals or prediction sets: ``molbt.report.coverage_figure.COVERAGE_COLUMNS``; with ``task_type``, a part for each.
    embedding_map : (points, value name), optional
        As ``molbt.evaluation.embedding_map.embedding_map`` returns it.
    notes : sequence of str
        Sentences for the reader, for example how many rows were refused.

    Raises
    ------
    DataError
        If the results lack columns, rows, the metric or the control, or the run's files cannot be read.
    """
    headline = [metric] if isinstance(metric, str) else list(metric)
    comparisons = [
        comparison
        for name in headline
        for comparison in compare(results, control, name, published=published, encoders=encoders, group_of=group_of)
    ]
    full = with_all_labels(results)
    others = [
        comparison
        for other in full["metric"].unique()
        if other not in headline and len(measured := _beside_control(full, control, other))
        for comparison in compare(measured, control, other, published=published, encoders=encoders, group_of=group_of)
    ]
    record = read_run(run_directory) if run_directory is not None else None
    sections = [
        f"<h1>{escape(title)}</h1>",
        *(_verdict_section(comparison, label_unit, leakage) for comparison in comparisons),
        *_table_section(comparisons, others, label_unit),
        *_drawing_section(comparisons, label_unit),
        *_label_section(results, headline, label_unit),
        *(_coverage_section(coverage) if coverage is not None else ()),
        *(leakage_section(leakage) if leakage is not None else ()),
        *(_map_section(*embedding_map) if embedding_map is not None else ()),
        *(_training_section(record) if record else ()),
        *_settings_section(record, notes),
        *_values_section(results, published),
    ]
    path = Path(path)
    with atomic_write(path) as file:
        file.write(html_document(title, sections).encode())
    return path


def _beside_control(results: pd.DataFrame, control: tuple[str, str], metric: str) -> pd.DataFrame:
    """Return the rows of a metric on the benchmarks where the control has it too; other values are in the full table only."""
    rows = results[results["metric"] == metric]
    of_control = rows[(rows["features"] == control[0]) & (rows["head"] == control[1])]
    return rows[rows["benchmark"].isin(of_control["benchmark"].unique())]


def _verdict_section(comparison: Comparison, label_unit: str, leakage: "Leakage | None") -> str:
    said = verdict(comparison, label_unit)
    overlaps = f'<p class="protocol">Overlaps: {escape(leakage.sentence())}</p>' if leakage is not None else ""
    return (
        f'<div class="verdict"><p><strong>{escape(said.headline)}</strong> {escape(said.detail)}</p>'
        f'<p class="protocol">{escape(protocol_sentence(comparison))}</p>{overlaps}</div>'
    )


def _table_section(comparisons: Sequence[Comparison], others: Sequence[Comparison], label_unit: str) -> Iterator[str]:
    yield "<h2>Table</h2>"
    yield (
        '<p class="note">Δ is value − control on the same tasks. A row is better or worse only when its 95 % interval excludes zero. '
        "The control is tinted, rows that use the encoder have a bar at the left, published values are in italics.</p>"
    )
    for comparison in comparisons:
        if len(comparison.rows) > CROWDED:
            yield score_matrix(comparison)
        yield html_table(comparison, label_unit)
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


def _drawing_section(comparisons: Sequence[Comparison], label_unit: str) -> Iterator[str]:
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
        yield _figure(forest, f"{comparison.benchmark}: mean paired difference to the control; {bars}.{more}")
        tasks = task_plot(comparison, label_unit)
        if tasks:
            by_task = comparison.task_differences.index.name == "task"
            row = "a task, its repeats averaged" if by_task else "a repeat of the one task"
            yield _figure(tasks, f"Each row is {row}; drawn are the best combinations with the encoder, at most {MAX_SERIES}.")


def _label_section(results: pd.DataFrame, metrics: Sequence[str], label_unit: str) -> Iterator[str]:
    tables = [of_one for _, of_one in results.groupby("benchmark", sort=False)]
    drawn = [label_curves(of_one, metric, label_unit=label_unit) for of_one in tables for metric in metrics]
    if any(drawn):
        yield "<h2>With fewer labels</h2>"
        note = (
            f"Mean over data sets with a share of the training labels; the test rows are the same. The {MAX_HEADS} heads that do best "
            "with all labels; heavy lines use the encoder."
        )
        yield from (_figure(svg, note) for svg in drawn if svg)


def _coverage_section(coverage: pd.DataFrame) -> Iterator[str]:
    yield "<h2>Coverage</h2>"
    note = (
        "Calibrated on rows that took no part in fitting, and counted on test rows, which took part in neither. The promise is for test "
        "molecules that are like the others; a split by scaffold, cluster or time makes them unlike, and fewer may be covered."
    )
    kinds = coverage.groupby("task_type", sort=False) if "task_type" in coverage.columns else [("", coverage)]
    for kind, of_kind in kinds:
        widths = {"regression": " Widths are in units of the label.", "classification": " Widths are numbers of classes."}.get(
            str(kind), ""
        )
        yield _figure(coverage_figure(of_kind, kind=str(kind)), note + widths)
        yield coverage_table(of_kind)


def _map_section(points: pd.DataFrame, value_name: str) -> Iterator[str]:
    yield "<h2>Map of the evaluated molecules</h2>"
    yield _figure(
        embedding_figure(points, value_name),
        "Two principal components of each features; untrained is the same encoder as it was initialised, pca the components of its inputs. "
        "Order that all of them show was in the inputs already.",
    )


def _training_section(record: RunRecord) -> Iterator[str]:
    yield "<h2>Training</h2>"
    table = record.metrics
    figure = training_figure(record)
    if not figure:
        yield "<p>There is no record of a finished epoch here (a model on its own has none), so there is nothing to draw.</p>"
        return
    if {"seconds", "samples_per_second"} <= set(table.columns):
        yield (
            f'<p class="note">{len(table)} epochs in {table["seconds"].sum():,.0f} s; '
            f"median {table['samples_per_second'].median():,.0f} samples per second.{_dead_columns(table)}</p>"
        )
    yield _figure(figure, "Measured once per epoch; the probe batch is the same each time, and the networks are in evaluation mode.")
    spectrum = spectrum_figure(record)
    if spectrum:
        yield _figure(
            spectrum,
            "Singular values of the centred embeddings and projections of the probe batch; a curve that falls early uses few directions.",
        )


def _dead_columns(table: pd.DataFrame) -> str:
    dead = [column for column in table.columns if column.startswith("dead_columns.")]
    if not dead or (table[dead] != 0).any(axis=None):
        return ""
    return " No column of the projections was dead at any epoch."


def _settings_section(record: RunRecord | None, notes: Sequence[str]) -> Iterator[str]:
    if not notes and record is None:
        return
    yield "<h2>Configuration and origin</h2>"
    if notes:
        yield f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"
    if record is not None:
        yield f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>' for name, value in record.facts.items())}</dl>"
    if record is not None and record.config:
        yield f"<h3>config.yaml</h3><pre>{escape(record.config)}</pre>"


def _values_section(results: pd.DataFrame, published: pd.DataFrame | None) -> Iterator[str]:
    table = results if published is None else pd.concat([results, published_rows(published, results)], ignore_index=True)
    shown = table.head(MAX_VALUES_SHOWN)
    yield "<h2>All values</h2>"
    if len(shown) < len(table):
        yield f"<p>The first {len(shown):,} of {len(table):,} rows; the results file has all.</p>"
    head = "".join(f"<th>{escape(str(column))}</th>" for column in shown.columns)
    body = "".join(f"<tr>{''.join(_value_cell(value) for value in row)}</tr>" for row in shown.itertuples(index=False, name=None))
    yield (
        f"<details><summary>{len(shown):,} rows</summary>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>'
    )


def _value_cell(value: object) -> str:
    if pd.isna(value):  # type: ignore[call-overload]
        return f"<td>{NONE}</td>"
    if isinstance(value, float):
        return f'<td class="number">{value:.6g}</td>'
    return f"<td>{escape(str(value))}</td>"


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
