"""One self-contained HTML page: whether the encoder earned its place, the table, drawings, training, configuration, all values."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from molbt.data.files import atomic_write
from molbt.evaluation.statistics import GroupOf
from molbt.report.comparison import ENCODER_PARTS, compare, published_rows, with_all_labels
from molbt.report.comparison_sections import drawing_section, table_section, verdict_section
from molbt.report.coverage_figure import coverage_figure, coverage_table, task_coverage_table
from molbt.report.document import figure, html_document
from molbt.report.embedding_figure import embedding_figure
from molbt.report.label_curves import MAX_HEADS, label_curves
from molbt.report.label_units import metrics_without_mean, share_unit, task_table
from molbt.report.leakage_section import leakage_section
from molbt.report.run_record import RunRecord, read_run
from molbt.report.training_figures import spectrum_figure, training_figure
from molbt.report.wording import NONE

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
    label_units: Mapping[str, str] | None = None,
    run_directory: str | Path | None = None,
    leakage: "Leakage | None" = None,
    coverage: pd.DataFrame | None = None,
    embedding_map: tuple[pd.DataFrame, str] | None = None,
    sections: Sequence[str] = (),
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
    label_units : mapping of task to unit, optional
        Where tasks differ in their unit, ``""`` where it is unknown: their errors are shown task by task, without a mean, and neither a
        verdict nor a drawing is made of them.
    run_directory : path, optional
        The run whose encoder was evaluated: training curves, configuration, versions and hardware come from it.
    leakage : Leakage, optional
        Overlaps with the pretraining; their sentence stands under the verdict, and each task in a section of its own.
    coverage : DataFrame, optional
        Of intervals or prediction sets: ``molbt.report.coverage_figure.COVERAGE_COLUMNS``; with ``task_type``, a part for each.
    embedding_map : (points, value name), optional
        As ``molbt.evaluation.embedding_map.embedding_map`` returns it.
    sections : sequence of str
        Further sections, HTML, that belong to one benchmark; they follow the drawings.
    notes : sequence of str
        Sentences for the reader, for example how many rows were refused.

    Raises
    ------
    DataError
        If the results lack columns, rows, the metric or the control, or the run's files cannot be read.
    """
    units = dict(label_units or {})
    alone = metrics_without_mean(results, units)
    headline = [name for name in ([metric] if isinstance(metric, str) else metric) if name not in alone]
    comparisons = [
        comparison
        for name in headline
        for comparison in compare(results, control, name, published=published, encoders=encoders, group_of=group_of)
    ]
    full = with_all_labels(results)
    others = [
        comparison
        for other in full["metric"].unique()
        if other not in (*headline, *alone) and len(measured := _beside_control(full, control, other))
        for comparison in compare(measured, control, other, published=published, encoders=encoders, group_of=group_of)
        if any(row.n_tasks for row in comparison.rows)  # a metric may be undefined by nature: no support set, no share of actives in it
    ]
    record = read_run(run_directory) if run_directory is not None else None
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(verdict_section(comparison, label_unit, leakage) for comparison in comparisons),
        *table_section(comparisons, others, label_unit),
        *(task_table(full, name, units, control) for name in alone),
        *drawing_section(comparisons, label_unit),
        *sections,
        *_label_section(results, headline, label_unit),
        *(_coverage_section(coverage, units) if coverage is not None else ()),
        *(leakage_section(leakage) if leakage is not None else ()),
        *(_map_section(*embedding_map) if embedding_map is not None else ()),
        *(_training_section(record) if record else ()),
        *_settings_section(record, notes),
        *_values_section(results, published),
    ]
    path = Path(path)
    with atomic_write(path) as file:
        file.write(html_document(title, parts).encode())
    return path


def _beside_control(results: pd.DataFrame, control: tuple[str, str], metric: str) -> pd.DataFrame:
    """Return the rows of a metric on the benchmarks where the control has it too; other values are in the full table only."""
    rows = results[results["metric"] == metric]
    of_control = rows[(rows["features"] == control[0]) & (rows["head"] == control[1])]
    return rows[rows["benchmark"].isin(of_control["benchmark"].unique())]


def _label_section(results: pd.DataFrame, metrics: Sequence[str], label_unit: str) -> Iterator[str]:
    tables = [of_one for _, of_one in results.groupby("benchmark", sort=False)]
    drawn = [label_curves(of_one, metric, label_unit=label_unit) for of_one in tables for metric in metrics]
    if any(drawn):
        yield "<h2>With fewer labels</h2>"
        note = (
            f"Mean over data sets with a share of the training labels; the test rows are the same. The {MAX_HEADS} heads that do best "
            "with all labels; heavy lines use the encoder."
        )
        yield from (figure(svg, note) for svg in drawn if svg)


def _coverage_section(coverage: pd.DataFrame, units: Mapping[str, str]) -> Iterator[str]:
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
        heading = {"regression": "Intervals of values", "classification": "Sets of classes"}.get(str(kind), "")
        yield f"<h3>{heading}</h3>" if heading else ""
        yield figure(coverage_figure(of_kind, kind=str(kind)), note + widths)
        tasks = of_kind["task"].unique()
        widths_have_mean = kind == "classification" or share_unit(tasks, units)
        yield coverage_table(of_kind, widths_have_mean=widths_have_mean)
        if not widths_have_mean:
            yield f"<p>Widths are in different units, and so per task:</p>{task_coverage_table(of_kind, units)}"


def _map_section(points: pd.DataFrame, value_name: str) -> Iterator[str]:
    yield "<h2>Map of the evaluated molecules</h2>"
    yield figure(
        embedding_figure(points, value_name),
        "Two principal components of each features; untrained is the same encoder as it was initialised, pca the components of its inputs. "
        "Order that all of them show was in the inputs already.",
    )


def _training_section(record: RunRecord) -> Iterator[str]:
    yield "<h2>Training</h2>"
    table = record.metrics
    curves = training_figure(record)
    if not curves:
        yield "<p>There is no record of a finished epoch here (a model on its own has none), so there is nothing to draw.</p>"
        return
    if {"seconds", "samples_per_second"} <= set(table.columns):
        yield (
            f'<p class="note">{len(table)} epochs in {table["seconds"].sum():,.0f} s; '
            f"median {table['samples_per_second'].median():,.0f} samples per second.{_dead_columns(table)}</p>"
        )
    yield figure(curves, "Measured once per epoch; the probe batch is the same each time, and the networks are in evaluation mode.")
    spectrum = spectrum_figure(record)
    if spectrum:
        yield figure(
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
