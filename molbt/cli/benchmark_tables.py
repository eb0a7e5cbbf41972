"""``evaluate`` on tasks with training and test rows: the printed tables, ``results.csv``, ``leakage.csv`` and the page."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from molbt.cli.progress import progress

if TYPE_CHECKING:
    from molbt.evaluation.benchmarks.base import Benchmark

_DATA_SETS_SHOWN = 12
"""Most data sets that have a column of their own below the table."""


def evaluate_benchmark(
    benchmark: "Benchmark",
    *,
    output: Path,
    model: Path | None,
    layer: str,
    heads: Sequence[str],
    only: Sequence[str] | None,
    fractions: Sequence[float],
    coverage: bool,
    require_clean: bool,
    write_card: bool,
    random_state: int,
    jobs: int,
    quiet: bool,
) -> None:
    """Evaluate, write the files and print the tables."""
    from molbt.data.files import atomic_write
    from molbt.evaluation.bounded_training import bounded_training
    from molbt.evaluation.controls import CONTROL, control_features
    from molbt.evaluation.coverage import NOT_COUNTED, measure_coverage
    from molbt.evaluation.embedding_map import embedding_map
    from molbt.evaluation.encoder_features import encoder_features
    from molbt.evaluation.leakage import find_leakage
    from molbt.evaluation.protocol import evaluate
    from molbt.evaluation.split_differences import FEWEST_SPLITS
    from molbt.evaluation.statistics import values_by_data_set
    from molbt.model.checkpoint import add_results, run_of
    from molbt.report.label_units import headline_metrics, metrics_without_mean, no_mean_caption, share_unit, values_by_task
    from molbt.report.page import write_report
    from molbt.report.split_table import split_table
    from molbt.report.tables import text_table

    with progress(quiet=quiet) as display:
        leakage = find_leakage(benchmark, model, n_jobs=jobs)
        leakage.save(output / "leakage.csv")
        if require_clean:
            leakage.require_clean()
        features = encoder_features(model, output, layer=layer, random_state=random_state, n_jobs=jobs) if model is not None else None
        results = evaluate(
            benchmark,
            control_features(
                features.learned if features else None,
                only,
                policy=features.policy if features else None,
                n_jobs=jobs,
            ),
            heads,
            fractions=fractions,
            random_state=random_state,
            n_jobs=jobs,
            results_path=output / "results.csv",
            identities=features.identities if features else None,
            progress=display.line,
        )
        covered = measure_coverage(benchmark, random_state=random_state, n_jobs=jobs) if coverage else None
    if not_counted := covered is not None and covered.empty:
        covered = None
    if covered is not None:
        with atomic_write(output / "coverage.csv") as file:
            covered.to_csv(file, index=False)
    cells = set(zip(results["features"], results["head"], strict=True))
    control = CONTROL if CONTROL in cells else ("counts", str(results["head"].iloc[0]))
    units = benchmark.label_units()
    metrics = headline_metrics(results, units)
    published = benchmark.published()
    notes = [*(features.notes if features else []), *benchmark.notes(), *bounded_training(results)]
    if layer != "embedding":
        notes = [*notes, f"The features called embedding, and their controls, are the encoder's output {layer}."]
    if not_counted:
        notes = [*notes, NOT_COUNTED]
    report = write_report(
        output / "report.html",
        title=f"{benchmark.name}: {model or 'controls'}",
        results=results,
        control=control,
        metric=metrics,
        published=published,
        run_directory=run_of(model) if model is not None else None,
        leakage=leakage,
        coverage=covered,
        embedding_map=embedding_map(benchmark, features.learned, policy=features.policy) if features else None,
        notes=notes,
        label_unit=benchmark.label_unit,
        label_units=units,
    )
    lines = []
    for metric in metrics:
        for fraction in sorted(results["fraction"].unique().tolist()):
            chosen = results[(results["metric"] == metric) & (results["fraction"] == fraction)]
            if fraction < 1:
                lines.append(f"{fraction:g} of the training labels")
            shown = published if fraction == 1 else None
            lines.append(text_table(chosen, control, metric, published=shown, label_unit=benchmark.label_unit))
            lines.append(f"* {leakage.sentence()}\n")
            if over_splits := split_table(chosen, control, metric, benchmark.label_unit):
                lines.append(f"{over_splits}\n")
            elif chosen["data_set"].nunique() == 1 and "repeats" in inspect.signature(type(benchmark)).parameters:
                lines.append(f"* for an interval over splits of this data set: --split scaffold_random --repeats {FEWEST_SPLITS}\n")
            if 1 < chosen["data_set"].nunique() <= _DATA_SETS_SHOWN:
                values = values_by_data_set(chosen, metric).round(3).rename_axis(columns=None).reset_index()
                lines.append(f"{metric} by data set\n{values.to_string(index=False)}\n")
    for metric in metrics_without_mean(results, units)[:1]:
        for fraction in sorted(results["fraction"].unique().tolist()):
            values = values_by_task(results[results["fraction"] == fraction], metric, units).round(3)
            share = f", {fraction:g} of the training labels" if fraction < 1 else ""
            shown_tasks = values.to_string(index=False) if values.shape[1] <= _DATA_SETS_SHOWN + 2 else "many tasks: see the report"
            lines.append(f"{no_mean_caption(metric)}{share}\n{shown_tasks}\n")
    if covered is not None:
        means = covered.groupby(["task_type", "confidence"], sort=False)[["coverage", "width"]].mean().round(3).reset_index()
        if not share_unit(covered.loc[covered["task_type"] == "regression", "task"].unique(), units):
            means["width"] = means["width"].where(means["task_type"] != "regression")  # of different units: coverage.csv has each
        lines.append(f"held on test rows by the intervals and sets of {' × '.join(CONTROL)}, mean over tasks")
        lines.append(f"{means.to_string(index=False, na_rep='-')}\n")
    typer.echo("\n".join(lines))
    if write_card and model is not None:
        add_results(model, "\n".join(lines))
    for note in notes:
        typer.echo(note)
    typer.echo(f"report: {report}")
