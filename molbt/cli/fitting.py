"""The command ``fit``."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molbt.cli.app import app
from molbt.cli.fit_options import FOLDS, calibration_of, refuse_what_has_no_effect, settings_of, tell_what_had_no_effect
from molbt.cli.fit_outcome import show_folds, show_head, show_validation
from molbt.cli.label_options import (
    ActiveAbove,
    ActiveBelow,
    Censored,
    Conflicts,
    Duplicates,
    MaxSpread,
    RelationColumn,
    TargetUnit,
    TaskType,
    To,
)
from molbt.cli.options import (
    HEADS_HELP,
    Device,
    Format,
    Jobs,
    Layer,
    MemoryLimit,
    OptionalModelName,
    RandomState,
    SmilesColumn,
    is_quiet,
)
from molbt.cli.progress import progress
from molbt.cli.rows import reasons_of_refusal

if TYPE_CHECKING:
    import pandas as pd

    from molbt.data.tables import Table
    from molbt.predict.labels import Labels
    from molbt.predict.predictor import Predictor


@app.command()
def fit(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(help="A table of molecules and measured values.")],
    target: Annotated[str, typer.Option("--target", help="Column to predict, or several separated by commas.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the predictor.")],
    model: OptionalModelName = None,
    layer: Layer = "embedding",
    features: Annotated[
        str | None,
        typer.Option("--features", help="counts, descriptors, embedding, joined with +; by default counts+embedding with a model."),
    ] = None,
    head: Annotated[str, typer.Option("--head", help=HEADS_HELP)] = "lightgbm",
    set_head: Annotated[list[str] | None, typer.Option("--set-head", help="Parameter of the head: n_trees=200. Repeatable.")] = None,
    finetune: Annotated[
        bool,
        typer.Option(
            "--finetune", help="Train the encoder of --model with a linear output; --head on --features is then compared with it."
        ),
    ] = False,
    set_finetune: Annotated[
        list[str] | None, typer.Option("--set-finetune", help="Setting of fine-tuning: epochs=50. Repeatable; implies --finetune.")
    ] = None,
    smiles_column: SmilesColumn = None,
    task_type: TaskType = "auto",
    target_unit: TargetUnit = None,
    to: To = "none",
    active_above: ActiveAbove = None,
    active_below: ActiveBelow = None,
    censored: Censored = "drop",
    relation_column: RelationColumn = None,
    duplicates: Duplicates = "median",
    conflicts: Conflicts = "drop",
    max_spread: MaxSpread = None,
    search: Annotated[
        int,
        typer.Option(
            "--search", help="Trials of a search for the head's parameters by inner validation (pip install molbt\\[hpo]).", min=0
        ),
    ] = 0,
    calibrate: Annotated[
        str,
        typer.Option(
            "--calibrate",
            help="For intervals and sets: cross (all rows teach; about five more fits), a share of the molecules to keep from the head "
            "such as 0.2 (a firmer promise), or none.",
        ),
    ] = "cross",
    applicability: Annotated[
        bool, typer.Option(help="Keep the labelled molecules in the predictor, to show the nearest one beside each prediction.")
    ] = True,
    memory_limit: MemoryLimit = None,
    folds: Annotated[
        int, typer.Option("--folds", help="Folds of the comparison with plain fingerprints, two or more; 0 leaves it out.", min=0)
    ] = FOLDS,
    format: Format = None,
    jobs: Jobs = 1,
    random_state: RandomState = 0,
    device: Device = "auto",
) -> None:
    """Fit a predictor, and show beside it what plain fingerprints reach in the same folds."""
    import pandas as pd

    from molbt.data.files import check_new_directory
    from molbt.data.tables import read_table, require_column, write_table
    from molbt.describe import bound_in_words, course_in_words
    from molbt.predict.label_hints import label_hints
    from molbt.predict.label_policy import LabelPolicy
    from molbt.predict.predictor import Predictor
    from molbt.predict.table_labels import learnable_labels, named_columns, table_labels

    check_new_directory(output)
    policy = LabelPolicy(
        task_type=task_type,
        unit=target_unit,
        scale=to,
        active_above=active_above,
        active_below=active_below,
        censored=censored,
        duplicates=duplicates,
        conflicts=conflicts,
        max_spread=max_spread,
    )
    features = features or ("counts" if model is None else "counts+embedding")
    predictor = Predictor(
        head=head,
        head_parameters=settings_of(set_head or [], "--set-head n_trees=200"),
        features=features,
        model=model,
        layer=layer,
        task_type=policy.known_task_type,
        finetune=settings_of(set_finetune, "--set-finetune epochs=50") if set_finetune else finetune,
        calibration=calibration_of(calibrate),
        applicability=applicability,
        random_state=random_state,
        n_jobs=jobs,
        device=device,
        memory_limit=memory_limit,
    )
    predictor.check_settings()  # before the table: a wrong name costs no pass over it
    refuse_what_has_no_effect(predictor, policy, folds, search)
    read = read_table(table, format=format)
    column = smiles_column or "smiles"
    require_column(read.frame.columns, column, read.source, "--smiles-column")
    smiles = read.frame[column].tolist()
    targets = named_columns(target, read.frame.columns)
    beside = [name.strip() for name in relation_column.split(",")] if relation_column else []
    found_labels = table_labels(read, targets, smiles, policy, relation_columns=beside)
    for entry in found_labels:
        typer.echo("\n".join([entry.summary(), *(f"{entry.name}: {hint}" for hint in label_hints(entry, policy))]))
    tell_what_had_no_effect(policy, found_labels)
    labels, unlearnable = learnable_labels(found_labels)
    for entry in unlearnable:
        typer.echo(f"{entry.name}: left out: {entry.problem}")
    predictor.set_params(task_type={entry.name: entry.task_type for entry in labels})
    y = pd.DataFrame({entry.name: entry.values for entry in labels})
    with progress(quiet=is_quiet(context)) as display:
        found = predictor.search(smiles, y, n_trials=search) if search else None
        display("fitting", 0, 1)
        predictor.fit(smiles, y, units={entry.name: entry.unit for entry in labels}, progress=display)
        shown = _compared(predictor, features)
        finetuned = predictor.finetuned_
        scores = predictor.cross_validate(smiles, y, features=shown, n_splits=folds) if folds and finetuned is None else {}
        validation = predictor.compare_finetuned(smiles) if finetuned is not None and finetuned.folds else {}
        display("fitting", 1, 1)
    facts = {
        "table": read.source,
        "policy": asdict(policy),
        "labels": {entry.name: entry.facts() for entry in labels},
        "folds": {name: {key: values.tolist() for key, values in of_target.items()} for name, of_target in scores.items()},
    }
    if unlearnable:
        facts["left_out"] = {entry.name: entry.problem for entry in unlearnable}
    if found is not None:
        facts["search"] = {"trials": len(found.scores), "score": found.score, "default_score": found.default_score}
        said = ", ".join(f"{name} {value}" for name, value in found.parameters.items()) or "nothing better than the defaults"
        typer.echo(f"search of {len(found.scores)} trials: {said} ({found.score:.4f}, defaults {found.default_score:.4f}, inner folds)")
        if found.parameters:
            typer.echo("the search has seen all rows: folds and coverage below look a little better than new molecules will")
    if finetuned is not None:
        held_out = {name: {of: entry.score for of, entry in of_target.items()} for name, of_target in validation.items()}
        facts["finetuning"] = {"epochs": finetuned.epochs, "losses": finetuned.losses, "scores": held_out}
    predictor.save(output, facts=facts)
    left_out = _left_out(read, predictor, smiles, found_labels)
    if len(left_out):
        write_table(left_out, output / "left_out.csv")
    for name, fitted in predictor.heads_.items():
        made_of = f"head {head}, features {features}" if finetuned is None else course_in_words(finetuned.epochs)
        bounded = bound_in_words(fitted.n_train_, fitted.parameters())
        typer.echo(f"{name}: {fitted.n_train_:,} rows used{bounded}, {fitted.n_refused_:,} refused; {made_of}")
        show_head(name, fitted)
        show_folds(name, fitted.task_type, scores.get(name, {}), features)
        if name in scores and "counts" not in scores[name]:
            typer.echo(f"{name}: the head {head} takes no counts, and so has no control; --head tanimoto_svm shows what they reach")
        show_validation(name, fitted.task_type, validation.get(name, {}))
        if name in predictor.calibrations_:
            lines = predictor.calibrations_[name].summary.lines(fitted.task_type, predictor.units_.get(name))
            typer.echo("\n".join(f"{name}: {line}" for line in lines))
    if predictor.calibrations_:
        typer.echo(
            "this is the coverage of molecules like these; that of others is lower (predict shows how far they are: distance_percentile)"
        )
    typer.echo(f"predictor: {output}" + (f"; rows left out, with reasons: {output / 'left_out.csv'}" if len(left_out) else ""))


def _compared(predictor: "Predictor", features: str) -> list[str]:
    """The features to show scores of: plain counts first, where the head can use them at all."""
    from molbt.predict.features import feature_builders

    counts = feature_builders(["counts"])["counts"]([])
    control = ["counts"] if all(head.supports(counts) for head in predictor.heads_.values()) else []
    return list(dict.fromkeys([*control, features]))


def _left_out(read: "Table", predictor: "Predictor", smiles: Sequence[object], labels: "Sequence[Labels]") -> "pd.DataFrame":
    """Row, target and reason of everything that did not teach the predictor; a refused molecule has no target."""
    import pandas as pd

    refused = [(row, "", reason) for row, reason in enumerate(reasons_of_refusal(predictor, read, smiles, predictor.refused_)) if reason]
    unlabelled = [(row, entry.name, reason) for entry in labels for row, reason in enumerate(entry.reasons) if reason]
    unlearnable = [
        (row, entry.name, entry.problem)
        for entry in labels
        if entry.name not in predictor.heads_
        for row, value in enumerate(entry.values.tolist())
        if value == value
    ]
    return pd.DataFrame([*refused, *unlabelled, *unlearnable], columns=["row", "target", "reason"]).sort_values("row", kind="stable")
