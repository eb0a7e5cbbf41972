"""Commands that use encoders: ``featurize``, ``fit``, ``predict``."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molbt.cli.app import app
from molbt.cli.options import HEADS_HELP, Device, Format, Jobs, Model, OptionalModel, RandomState, SmilesColumn, is_quiet
from molbt.cli.progress import progress

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

logger = logging.getLogger(__name__)


@app.command()
def featurize(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(help="A table of molecules; - is standard input.")],
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="csv, tsv or parquet.")],
    smiles_column: SmilesColumn = None,
    view: Annotated[str | None, typer.Option("--view", help="Encoder of this view; by default all encoders of molecules.")] = None,
    layer: Annotated[str, typer.Option("--layer", help="embedding, or an earlier layer such as hidden_1.")] = "embedding",
    format: Format = None,
    jobs: Jobs = 1,
    device: Device = "auto",
) -> None:
    """Write the frozen embedding of every row: the input's columns, a reason for each refused row, and the features."""
    import numpy as np
    import pandas as pd

    from molbt.data.tables import output_format, read_table, require_column, write_table
    from molbt.featurizer import MoleculeFeaturizer

    output_format(output)
    _refuse_own_input(table, output)
    with progress(quiet=is_quiet(context)) as display:
        featurizer = MoleculeFeaturizer(model, view=view, output=layer, on_invalid="nan", n_jobs=jobs, device=device).fit()
        read = read_table(table, format=format)
        column = smiles_column or "smiles"
        require_column(read.frame.columns, column, read.source, "--smiles-column")
        display("featurizing", 0, len(read.frame))
        values = read.frame[column].tolist()
        features = featurizer.transform(values)
        display("featurizing", len(values), len(values))
        reasons = [read.problems.get(row, "") or reason for row, reason in enumerate(featurizer.reasons_)]
        features[[bool(reason) for reason in reasons]] = np.nan
        names = [str(name) for name in featurizer.get_feature_names_out()]
        learned = pd.DataFrame(features, columns=names)
        write_table(_beside(read.frame, pd.concat([pd.DataFrame({"molbt_reason": reasons}), learned], axis=1)), output)
    _warn_if_all_refused(reasons)
    refused = sum(bool(reason) for reason in reasons)
    typer.echo(
        f"{len(values):,} rows, {features.shape[1]} features, {refused:,} rows refused (NaN, with a reason in molbt_reason): {output}"
    )


@app.command()
def fit(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(help="A table of molecules and measured values.")],
    target: Annotated[str, typer.Option("--target", help="Column to predict.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the predictor.")],
    model: OptionalModel = None,
    features: Annotated[
        str | None,
        typer.Option("--features", help="counts, descriptors, embedding, joined with +; by default counts+embedding with a model."),
    ] = None,
    head: Annotated[str, typer.Option("--head", help=HEADS_HELP)] = "lightgbm",
    smiles_column: SmilesColumn = None,
    folds: Annotated[int, typer.Option("--folds", help="Folds of the comparison with plain fingerprints; 0 leaves it out.")] = 5,
    format: Format = None,
    jobs: Jobs = 1,
    random_state: RandomState = 0,
) -> None:
    """Fit a predictor, and show beside it what plain fingerprints reach in the same folds."""
    from molbt.data.tables import numeric_column, read_table, require_column
    from molbt.predict.predictor import Predictor
    from molbt.predict.saved_predictor import check_new_directory

    check_new_directory(output)
    features = features or ("counts" if model is None else "counts+embedding")
    read = read_table(table, format=format)
    column = smiles_column or "smiles"
    require_column(read.frame.columns, column, read.source, "--smiles-column")
    require_column(read.frame.columns, target, read.source, "--target")
    smiles, labels = read.frame[column].tolist(), numeric_column(read, target)
    predictor = Predictor(head=head, features=features, model=model, random_state=random_state, n_jobs=jobs)
    with progress(quiet=is_quiet(context)) as display:
        display("fitting", 0, 1)
        predictor.fit(smiles, labels)
        shown = list(dict.fromkeys(["counts", features]))
        scores = predictor.cross_validate(smiles, labels, features=shown, n_splits=folds) if folds else {}
        display("fitting", 1, 1)
    facts = {"table": read.source, "target": target, "folds": {name: values.tolist() for name, values in scores.items()}}
    predictor.save(output, facts=facts)
    fitted = predictor.head_
    typer.echo(
        f"{predictor.task_type_} of {target}: {fitted.n_train_:,} rows used, {fitted.n_refused_:,} refused, {fitted.n_unlabelled_:,} "
        f"without a label; head {head}, features {features}"
    )
    metric = "RMSE" if predictor.task_type_ == "regression" else "ROC AUC"
    for name, values in scores.items():
        control = "  (control)" if name == "counts" and len(scores) > 1 else ""
        typer.echo(
            f"{metric} in {len(values)} random folds, {name}: {values.mean():.4f} (fold to fold sd {values.std(ddof=1):.4f}){control}"
        )
    if len(scores) > 1 and _is_better(scores["counts"], scores[features], predictor.task_type_):
        typer.echo(f"plain counts did better in these folds than {features}: consider --features counts")
    typer.echo(f"predictor: {output}")


@app.command()
def predict(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(help="A table of molecules; - is standard input.")],
    predictor: Annotated[Path, typer.Option("--predictor", help="A directory that molbt fit wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="csv, tsv or parquet.")],
    smiles_column: SmilesColumn = None,
    format: Format = None,
    jobs: Jobs = 1,
) -> None:
    """Predict every row: the input's columns, the prediction, and a reason for each refused row."""
    import numpy as np
    import pandas as pd

    from molbt.data.molecules import ParsePolicy, parse_molecules
    from molbt.data.tables import output_format, read_table, require_column, write_table
    from molbt.predict.predictor import Predictor

    output_format(output)
    _refuse_own_input(table, output)
    with progress(quiet=is_quiet(context)) as display:
        loaded = Predictor.load(predictor, n_jobs=jobs)
        read = read_table(table, format=format)
        column = smiles_column or "smiles"
        require_column(read.frame.columns, column, read.source, "--smiles-column")
        values = read.frame[column].tolist()
        display("predicting", 0, len(values))
        predictions = loaded.predict(values)
        refused = np.flatnonzero(~np.isfinite(predictions) | np.isin(np.arange(len(values)), list(read.problems)))
        predictions[refused] = np.nan
        reasons = [""] * len(values)
        policy = loaded.featurizer_.policy_ if loaded.featurizer_ is not None else ParsePolicy()
        for row, (_, reason) in zip(refused.tolist(), parse_molecules([values[row] for row in refused], policy), strict=True):
            reasons[row] = read.problems.get(row) or reason or "its features cannot be computed"
        display("predicting", len(values), len(values))
        write_table(_beside(read.frame, pd.DataFrame({"prediction": predictions, "molbt_reason": reasons})), output)
    _warn_if_all_refused(reasons)
    typer.echo(f"{len(values):,} rows, {len(refused):,} refused (no prediction, with a reason in molbt_reason): {output}")


def _refuse_own_input(table: Path, output: Path) -> None:
    """Raise ConfigError when the output would replace the input: the text of rows that the reader refused is nowhere else."""
    from molbt.errors import ConfigError

    if output.exists() and table.exists() and output.samefile(table):
        raise ConfigError(f"expected another file for the output, {output} is the input itself; choose another name")


def _warn_if_all_refused(reasons: Sequence[str]) -> None:
    if reasons and all(reasons):
        logger.warning("every row was refused, the first because: %s; is --smiles-column or --format the right one?", reasons[0])


def _is_better(scores: "np.ndarray", others: "np.ndarray", task_type: str) -> bool:
    """Return whether the mean score is better: a lower RMSE, a higher ROC AUC."""
    return bool(scores.mean() < others.mean()) if task_type == "regression" else bool(scores.mean() > others.mean())


def _beside(read: "pd.DataFrame", added: "pd.DataFrame") -> "pd.DataFrame":
    """Return the input's columns and the new ones; an input column with the name of a new one (from an earlier call) is replaced."""
    import pandas as pd

    replaced = [name for name in read.columns if name in set(added.columns)]
    if replaced:
        logger.warning("columns of the input that are written anew: %s", ", ".join(map(str, replaced[:5])))
    return pd.concat([read.drop(columns=replaced), added], axis=1)
