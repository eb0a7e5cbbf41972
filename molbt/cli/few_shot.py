"""``evaluate fsmol``: few-shot tables per support size, by stratum of seen molecules and by enzyme class, with published results beside."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from molbt.cli.progress import progress
from molbt.cli.zero_shot_methods import ZeroShotOptions, fs_mol_parts, zero_shot_told

if TYPE_CHECKING:
    import pandas as pd

    from molbt.evaluation.benchmarks.fsmol import FSMol
    from molbt.evaluation.leakage import Leakage

METRIC = "delta_auprc"
CONTROL = ("counts", "tanimoto_logistic")
"""What few-shot results are compared with: the strongest method that learns from nothing but the support set."""

STRATA_TITLE = "By share of molecules that are labelled in the training tasks"
CLASS_TITLE = "By enzyme class of the target"
_NOTE = (
    "The lookup is the mean label of the same molecule in the training tasks, without any chemistry: a gain that is confined to assays of "
    "seen molecules is remembered, not learned."
)


def sizes_of(text: str) -> list[int]:
    """Return the sizes of support sets written with commas or spaces between them."""
    from molbt.errors import ConfigError

    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise ConfigError(f"--support must be whole numbers separated by commas, got {text!r}; such as 16,32,64,128") from error


def evaluate_fsmol(
    benchmark: "FSMol",
    *,
    output: Path,
    model: Path | None,
    layer: str,
    heads: Sequence[str],
    only: Sequence[str] | None,
    regime: str,
    require_clean: bool,
    write_card: bool,
    random_state: int,
    jobs: int,
    quiet: bool,
    zero_shot: ZeroShotOptions,
) -> None:
    """Evaluate, write ``results.csv``, ``seen.csv``, ``leakage.csv`` and ``report.html``, and print the tables."""
    import pandas as pd

    from molbt.data.assay_texts import assay_texts
    from molbt.data.fs_mol_pairs import TEXT_FILE
    from molbt.data.tables import write_table
    from molbt.errors import ConfigError
    from molbt.evaluation.benchmarks.fsmol import FSMol
    from molbt.evaluation.encoder_features import encoder_features
    from molbt.evaluation.few_shot.feature_sets import FewShotFeatures, few_shot_features
    from molbt.evaluation.few_shot.protocol import evaluate_few_shot
    from molbt.evaluation.few_shot.regimes import LOOKUP, training_sets, write_exclusions
    from molbt.evaluation.few_shot.strata import results_by_group, seen_shares
    from molbt.evaluation.few_shot.training_labels import TrainingLabels
    from molbt.evaluation.leakage import find_leakage
    from molbt.model.checkpoint import add_results
    from molbt.report.few_shot_section import group_text
    from molbt.report.tables import text_table

    if zero_shot.max_pairs is not None and zero_shot.methods is None and 0 not in benchmark.support:
        raise ConfigError("--max-pairs is for methods without a support set, received no size 0 and no --methods; add --support 0")
    sizes = {benchmark.table_name(size): size for size in benchmark.support}
    notes = benchmark.notes()
    with progress(quiet=quiet) as display:
        labels = TrainingLabels.read(benchmark.data, n_jobs=jobs, progress=display)
        sets = training_sets(benchmark, labels, regime, random_state=random_state)
        if regime == "clean":
            paths = write_exclusions(output, labels, sets)
            notes.append(
                f"Clean regime: {paths['clean']} holds the training molecules that occur in an evaluated task, {paths['random']} as many "
                "rows' worth of molecules drawn at random, its control. Pretrain with molbt pretrain --exclude FILE for each."
            )
        seen = seen_shares(benchmark, labels)
        write_table(seen, output / "seen.csv")
        # Which draw is looked at changes nothing that an encoder has seen.
        one_draw = FSMol(
            benchmark.data.directory.parent,
            part=benchmark.part,
            support=[min(size for size in benchmark.support if size) if any(benchmark.support) else 0],
            draws=1,
            assays=benchmark.assays,
        )
        leakage = find_leakage(one_draw, model, n_jobs=jobs)
        leakage.save(output / "leakage.csv")
        if require_clean or regime == "clean":
            leakage.require_clean()
        few_shot = any(benchmark.support)
        encoder = (
            encoder_features(model, output, layer=layer, random_state=random_state, n_jobs=jobs) if model is not None and few_shot else None
        )
        parts = (
            fs_mol_parts(
                zero_shot,
                benchmark.data.directory,
                benchmark.data.usable_rows("train"),
                sets,
                model=model,
                output=output,
                random_state=random_state,
                jobs=jobs,
            )
            if 0 in benchmark.support or zero_shot.methods is not None
            else []
        )
        texts = zero_shot.texts or benchmark.data.directory / TEXT_FILE
        described = assay_texts(texts) if texts.is_file() else None
        features = (
            few_shot_features(encoder, list(only) if only else None, model=model, texts=described, n_jobs=jobs)
            if few_shot
            else FewShotFeatures([], None, {})
        )
        identities = features.identities | {name: known.identity for name, known in sets.items()}
        methods: dict[tuple[str, str], Any] = {(name, LOOKUP): known.lookup() for name, known in sets.items()}
        for each in parts:
            methods |= each.callables()
            identities |= each.identities()
        results = evaluate_few_shot(
            benchmark,
            features.sets,
            heads,
            zero_shot=methods,
            text_scores=features.text_scores,
            control=CONTROL,
            random_state=random_state,
            n_jobs=jobs,
            progress=display,
            results_path=output / "results.csv",
            identities=identities,
        )
    notes += encoder.notes if encoder else []
    published = benchmark.published()
    together = pd.concat([results, published], ignore_index=True)
    stratum_of = dict(zip(seen["task"], seen["stratum"], strict=True))
    by_stratum = results_by_group(together, stratum_of, CONTROL, METRIC, sizes)
    by_class = results_by_group(together, benchmark.enzyme_classes(), CONTROL, METRIC, sizes)
    write_table(by_stratum, output / "by_stratum.csv")
    write_table(by_class, output / "by_class.csv")
    notes.append("Results by enzyme class of the target stand in by_class.csv and on the page.")
    lines = []
    for name in sizes:
        of_size = results[(results["benchmark"] == name) & (results["metric"] == METRIC)]
        lines.append(text_table(of_size, _control_of(of_size), METRIC, published=published) + "\n")
    lines += [f"* {leakage.sentence()}\n", group_text(by_stratum, STRATA_TITLE), f"* {_NOTE}\n"]
    sections: list[str] = []
    if parts and 0 in benchmark.support:
        tasks = {assay: benchmark.read(assay) for assay in benchmark.assays}
        assays = {assay: (task.frame["smiles"].tolist(), task.y) for assay, task in tasks.items()}
        without = together[together["benchmark"] == benchmark.table_name(0)]
        told, sections = zero_shot_told(parts, without, assays, output, group_of=stratum_of)
        lines += told
    typer.echo("\n".join(lines))
    if write_card and model is not None:
        add_results(model, "\n".join(lines))
    for note in notes:
        typer.echo(note)
    report = _write_page(output, benchmark, model, results, published, by_stratum, by_class, leakage, sections, notes)
    typer.echo(f"report: {report}")


def _control_of(results: "pd.DataFrame") -> tuple[str, str]:
    """The control, or at size 0, where nothing is fitted, the molecules without a text or the lookup."""
    from molbt.evaluation.zero_shot.comparison import CONTROLS

    cells = list(dict.fromkeys(zip(results["features"], results["head"], strict=True)))
    return next((control for control in (CONTROL, CONTROLS[0]) if control in cells), cells[0])


def _write_page(
    output: Path,
    benchmark: "FSMol",
    model: Path | None,
    results: "pd.DataFrame",
    published: "pd.DataFrame",
    by_stratum: "pd.DataFrame",
    by_class: "pd.DataFrame",
    leakage: "Leakage",
    zero_shot: Sequence[str],
    notes: Sequence[str],
) -> Path:
    """Write the page; results of size 0, which have another control, stand in the tables by group."""
    from molbt.model.checkpoint import run_of
    from molbt.report.few_shot_section import group_section
    from molbt.report.page import write_report

    names = [benchmark.table_name(size) for size in benchmark.support if size] or [benchmark.table_name(0)]
    shown = results[results["benchmark"].isin(names)]
    return write_report(
        output / "report.html",
        title=f"fsmol, {benchmark.part} tasks: {model or 'controls'}",
        results=shown,
        control=_control_of(shown),
        metric=METRIC,
        published=published,
        run_directory=run_of(model) if model is not None else None,
        leakage=leakage,
        sections=[
            *zero_shot,
            *group_section(by_stratum, STRATA_TITLE, _NOTE),
            *group_section(by_class, CLASS_TITLE, "As FS-Mol's tables are."),
        ],
        notes=notes,
    )
