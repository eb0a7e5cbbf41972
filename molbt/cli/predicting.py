"""The command ``predict``."""

from pathlib import Path
from typing import Annotated

import typer

from molbt.cli.app import app
from molbt.cli.options import Device, Format, Jobs, SmilesColumn, is_quiet
from molbt.cli.progress import progress
from molbt.cli.rows import beside, reasons_of_refusal, refuse_own_input, warn_if_all_refused


@app.command()
def predict(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(help="A table of molecules; - is standard input.")],
    predictor: Annotated[Path, typer.Option("--predictor", help="A directory that molbt fit wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="csv, tsv or parquet.")],
    confidence: Annotated[
        float | None, typer.Option("--confidence", help="Of intervals and sets; by default 0.9 where the predictor is calibrated.")
    ] = None,
    nearest: Annotated[
        bool | None, typer.Option("--nearest/--no-nearest", help="Show the nearest training molecule; by default, where they were kept.")
    ] = None,
    smiles_column: SmilesColumn = None,
    format: Format = None,
    jobs: Jobs = 1,
    device: Device = "auto",
) -> None:
    """Predict every row: the input's columns, predictions with their unit in the name, their uncertainty, and a reason if refused.

    Beside a prediction stand the ends of its interval (regression) or its set of classes and their p-values, and the nearest training
    molecule: its row, its similarity, and the percentage of training molecules that are nearer to the others than this one is.
    """
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
        # A row that the table's reader refused is refused here, whatever its column holds.
        readable = ["" if row in read.problems else value for row, value in enumerate(values)]
        added = loaded.predict_table(readable, confidence=confidence, nearest=nearest)
        refused = added.iloc[:, 0].isna().to_numpy()  # the first target's prediction; a refused molecule has none of any
        reasons = reasons_of_refusal(loaded, read, values, refused)
        display("predicting", len(values), len(values))
        write_table(beside(read.frame, added.assign(molbt_reason=reasons)), output)
    warn_if_all_refused(reasons)
    typer.echo(f"{len(values):,} rows, {refused.sum():,} refused (no prediction, with a reason in molbt_reason): {output}")
