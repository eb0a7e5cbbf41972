"""``evaluate toxcast``: zero-shot methods on assays and scaffolds that none of them learned from."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from molbt.cli.progress import progress
from molbt.cli.zero_shot_methods import ZeroShotOptions, zero_shot_part, zero_shot_told

if TYPE_CHECKING:
    from molbt.evaluation.benchmarks.fsmol import FSMol
    from molbt.evaluation.benchmarks.toxcast import ToxCast

METRIC = "roc_auc"


def evaluate_toxcast(
    benchmark: "ToxCast",
    *,
    output: Path,
    model: Path | None,
    zero_shot: ZeroShotOptions,
    require_clean: bool,
    random_state: int,
    jobs: int,
    quiet: bool,
) -> None:
    """Evaluate, write ``results.csv``, ``zero_shot.csv``, ``leakage.csv`` and ``report.html``, and print the tables."""
    from molbt.evaluation.few_shot.protocol import evaluate_few_shot
    from molbt.evaluation.leakage import find_leakage
    from molbt.evaluation.zero_shot.comparison import CONTROLS
    from molbt.predict.training_pairs import TrainingPairs
    from molbt.report.page import write_report

    pairs = TrainingPairs.of(benchmark.training_rows(), benchmark.data.texts)
    with progress(quiet=quiet) as display:
        leakage = find_leakage(benchmark, model, n_jobs=jobs)
        leakage.save(output / "leakage.csv")
        if require_clean:
            leakage.require_clean()
        part = zero_shot_part(zero_shot, pairs, benchmark.data.texts, model=model, output=output, random_state=random_state, jobs=jobs)
        results = evaluate_few_shot(
            cast("FSMol", benchmark),  # it is read in the same way
            [],
            [],
            zero_shot=part.callables(),
            random_state=random_state,
            n_jobs=jobs,
            progress=display,
            results_path=output / "results.csv",
            identities=part.identities(),
        )
        # Readouts of one component share molecules and wells, so they are one witness.
        results["data_set"] = results["task"].map(benchmark.component)
        tasks = {assay: benchmark.read(assay) for assay in benchmark.assays}
        assays = {assay: (task.frame["smiles"].tolist(), task.y) for assay, task in tasks.items()}
        lines, sections = zero_shot_told([part], results, assays, output)
    lines.append(f"* {leakage.sentence()}\n")
    typer.echo("\n".join(lines))
    notes = benchmark.notes()
    for note in notes:
        typer.echo(note)
    cells = list(dict.fromkeys(zip(results["features"], results["head"], strict=True)))
    report = write_report(
        output / "report.html",
        title=f"toxcast: {model or 'controls'}",
        results=results,
        control=CONTROLS[0] if CONTROLS[0] in cells else cells[0],
        metric=METRIC,
        leakage=leakage,
        sections=sections,
        notes=notes,
    )
    typer.echo(f"report: {report}")
