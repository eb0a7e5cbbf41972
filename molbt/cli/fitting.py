"""Commands about predictors: ``fit``, ``predict``."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from molbt.cli.app import app
from molbt.cli.options import (
    HEADS_HELP,
    Device,
    Format,
    Jobs,
    Layer,
    OptionalModelName,
    RandomState,
    SmilesColumn,
    is_quiet,
)
from molbt.cli.progress import progress
from molbt.cli.rows import beside, refuse_own_input, warn_if_all_refused

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from molbt.data.tables import Table
    from molbt.predict.labels import LabelPolicy, Labels
    from molbt.predict.predictor import Predictor

_LABELS = "Labels"


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
    smiles_column: SmilesColumn = None,
    task_type: Annotated[str, typer.Option("--task-type", help="auto, regression or classification.", rich_help_panel=_LABELS)] = "auto",
    target_unit: Annotated[
        str | None, typer.Option("--target-unit", help="Unit of the column: M, mM, uM, nM, pM, g/L, ug/mL, …", rich_help_panel=_LABELS)
    ] = None,
    to: Annotated[
        str, typer.Option("--to", help="Learn pIC50, pEC50, pKi, pKd, … (−log10 of mol/L), log10 or -log10.", rich_help_panel=_LABELS)
    ] = "none",
    active_above: Annotated[
        float | None, typer.Option("--active-above", help="Class 1 is at or above this value, after --to.", rich_help_panel=_LABELS)
    ] = None,
    active_below: Annotated[
        float | None, typer.Option("--active-below", help="Class 1 is at or below this value, after --to.", rich_help_panel=_LABELS)
    ] = None,
    censored: Annotated[
        str, typer.Option("--censored", help="Bounds such as >10000: drop, or value to use them as measured.", rich_help_panel=_LABELS)
    ] = "drop",
    relation_column: Annotated[
        str | None,
        typer.Option("--relation-column", help="Column of <, >, =, ~ beside the target; one for each target.", rich_help_panel=_LABELS),
    ] = None,
    duplicates: Annotated[
        str, typer.Option("--duplicates", help="Molecules measured more than once: median, mean, first or keep.", rich_help_panel=_LABELS)
    ] = "median",
    conflicts: Annotated[
        str, typer.Option("--conflicts", help="Where their values lie too far apart: drop, mean or keep.", rich_help_panel=_LABELS)
    ] = "drop",
    max_spread: Annotated[
        float | None,
        typer.Option(
            "--max-spread",
            help="Too far, in units of the label: by default 1 with --to, otherwise the standard deviation of all labels.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    folds: Annotated[int, typer.Option("--folds", help="Folds of the comparison with plain fingerprints; 0 leaves it out.")] = 5,
    format: Format = None,
    jobs: Jobs = 1,
    random_state: RandomState = 0,
    device: Device = "auto",
) -> None:
    """Fit a predictor, and show beside it what plain fingerprints reach in the same folds."""
    import pandas as pd

    from molbt.data.tables import read_table, require_column, write_table
    from molbt.predict.label_policy import LabelPolicy
    from molbt.predict.predictor import Predictor
    from molbt.predict.saved_predictor import check_new_directory

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
    read = read_table(table, format=format)
    column = smiles_column or "smiles"
    require_column(read.frame.columns, column, read.source, "--smiles-column")
    smiles = read.frame[column].tolist()
    labels = _read_labels(read, target, relation_column, smiles, policy)
    for entry in labels:
        typer.echo(entry.summary())
    predictor = Predictor(
        head=head,
        head_parameters=_head_parameters(set_head or []),
        features=features,
        model=model,
        layer=layer,
        task_type={entry.name: entry.task_type for entry in labels},
        random_state=random_state,
        n_jobs=jobs,
        device=device,
    )
    y = pd.DataFrame({entry.name: entry.values for entry in labels})
    with progress(quiet=is_quiet(context)) as display:
        display("fitting", 0, 1)
        predictor.fit(smiles, y, units={entry.name: entry.unit for entry in labels})
        shown = list(dict.fromkeys(["counts", features]))
        scores = predictor.cross_validate(smiles, y, features=shown, n_splits=folds) if folds else {}
        display("fitting", 1, 1)
    facts = {
        "table": read.source,
        "policy": asdict(policy),
        "labels": {entry.name: entry.facts() for entry in labels},
        "folds": {name: {key: values.tolist() for key, values in of_target.items()} for name, of_target in scores.items()},
    }
    predictor.save(output, facts=facts)
    left_out = _left_out(read, predictor, smiles, labels)
    if len(left_out):
        write_table(left_out, output / "left_out.csv")
    for name, fitted in predictor.heads_.items():
        typer.echo(f"{name}: {fitted.n_train_:,} rows used, {fitted.n_refused_:,} refused; head {head}, features {features}")
        _show_folds(name, fitted.task_type, scores.get(name, {}), features)
    typer.echo(f"predictor: {output}" + (f"; rows left out, with reasons: {output / 'left_out.csv'}" if len(left_out) else ""))


@app.command()
def predict(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(help="A table of molecules; - is standard input.")],
    predictor: Annotated[Path, typer.Option("--predictor", help="A directory that molbt fit wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="csv, tsv or parquet.")],
    smiles_column: SmilesColumn = None,
    format: Format = None,
    jobs: Jobs = 1,
    device: Device = "auto",
) -> None:
    """Predict every row: the input's columns, the predictions with their unit in the name, and a reason for each refused row."""
    import numpy as np
    import pandas as pd

    from molbt.data.tables import output_format, read_table, require_column, write_table
    from molbt.predict.predictor import Predictor

    output_format(output)
    refuse_own_input(table, output)
    with progress(quiet=is_quiet(context)) as display:
        loaded = Predictor.load(predictor, n_jobs=jobs, device=device)
        read = read_table(table, format=format)
        column = smiles_column or "smiles"
        require_column(read.frame.columns, column, read.source, "--smiles-column")
        values = read.frame[column].tolist()
        display("predicting", 0, len(values))
        predictions = loaded.predict(values).reshape(len(values), len(loaded.targets_))
        refused = ~np.isfinite(predictions).all(axis=1) | np.isin(np.arange(len(values)), list(read.problems))
        predictions[refused] = np.nan
        reasons = _refusals(loaded, read, values, refused)
        display("predicting", len(values), len(values))
        added = pd.DataFrame(predictions, columns=_prediction_names(loaded)).assign(molbt_reason=reasons)
        write_table(beside(read.frame, added), output)
    warn_if_all_refused(reasons)
    typer.echo(f"{len(values):,} rows, {refused.sum():,} refused (no prediction, with a reason in molbt_reason): {output}")


def _read_labels(
    read: "Table", target: str, relation_column: str | None, smiles: Sequence[object], policy: "LabelPolicy"
) -> "list[Labels]":
    """The labels of each target, its relations beside it."""
    from molbt.data.tables import require_column
    from molbt.errors import ConfigError
    from molbt.predict.labels import make_labels

    targets = [target] if target in read.frame.columns else [name.strip() for name in target.split(",")]
    relations = [name.strip() for name in relation_column.split(",")] if relation_column else []
    if relations and len(relations) != len(targets):
        raise ConfigError(f"expected a relation column for each of {len(targets)} targets, received {len(relations)} (--relation-column)")
    if len(set(targets)) < len(targets):
        raise ConfigError(f"expected different targets, received {', '.join(targets)}; name each once (--target)")
    for names, option in ((targets, "--target"), (relations, "--relation-column")):
        for name in names:
            require_column(read.frame.columns, name, read.source, option)
    marks = {name: read.frame[beside].tolist() for name, beside in zip(targets, relations, strict=False)}
    return [make_labels(read.frame[name].tolist(), smiles, policy, name=name, relations=marks.get(name)) for name in targets]


def _head_parameters(changes: Sequence[str]) -> dict[str, Any]:
    from molbt.config_text import parse_yaml
    from molbt.errors import ConfigError

    parameters = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"expected NAME=VALUE, received {change!r}; for example --set-head n_trees=200")
        parameters[name.strip()] = parse_yaml(text, source=f"the value in {change!r}")
    return parameters


def _refusals(predictor: "Predictor", read: "Table", smiles: Sequence[object], refused: "np.ndarray") -> list[str]:
    """Why each refused row was refused, and "" for the others."""
    from molbt.data.molecules import ParsePolicy, parse_molecules

    reasons = [""] * len(smiles)
    rows = refused.nonzero()[0].tolist()
    policy = predictor.featurizer_.policy_ if predictor.featurizer_ is not None else ParsePolicy()
    for row, (_, reason) in zip(rows, parse_molecules([smiles[row] for row in rows], policy), strict=True):
        reasons[row] = read.problems.get(row) or reason or "its features cannot be computed"
    return reasons


def _left_out(read: "Table", predictor: "Predictor", smiles: Sequence[object], labels: "Sequence[Labels]") -> "pd.DataFrame":
    """Row, target and reason of everything that did not teach the predictor; a refused molecule has no target."""
    import pandas as pd

    refused = [(row, "", reason) for row, reason in enumerate(_refusals(predictor, read, smiles, predictor.refused_)) if reason]
    unlabelled = [(row, entry.name, reason) for entry in labels for row, reason in enumerate(entry.reasons) if reason]
    return pd.DataFrame([*refused, *unlabelled], columns=["row", "target", "reason"]).sort_values("row", kind="stable")


def _show_folds(target: str, task_type: str, scores: "dict[str, np.ndarray]", features: str) -> None:
    metric = "RMSE" if task_type == "regression" else "ROC AUC"
    for name, values in scores.items():
        control = "  (control)" if name == "counts" and len(scores) > 1 else ""
        typer.echo(
            f"{target}: {metric} in {len(values)} random folds, {name}: {values.mean():.4f} "
            f"(fold to fold sd {values.std(ddof=1):.4f}){control}"
        )
    if len(scores) > 1 and _is_better(scores["counts"], scores[features], task_type):
        typer.echo(f"{target}: plain counts did better in these folds than {features}: consider --features counts")


def _is_better(scores: "np.ndarray", others: "np.ndarray", task_type: str) -> bool:
    """Return whether the mean score is better: a lower RMSE, a higher ROC AUC."""
    return bool(scores.mean() < others.mean()) if task_type == "regression" else bool(scores.mean() > others.mean())


def _prediction_names(predictor: "Predictor") -> list[str]:
    """``prediction``, with the target where there are several, and with the unit where it is known."""
    several = len(predictor.targets_) > 1
    return ["_".join(["prediction", *[name] * several, *filter(None, [predictor.units_.get(name)])]) for name in predictor.targets_]
