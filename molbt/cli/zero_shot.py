"""The command ``calibrate``: from a twin of molecules and texts to predictions for assays without labels."""

from pathlib import Path
from typing import Annotated

import typer

from molbt.cli.app import app
from molbt.cli.options import Device, Format, Jobs, SmilesColumn, is_quiet
from molbt.cli.progress import progress


@app.command()
def calibrate(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(help="Measured pairs of assays that the model was not trained on.")],
    model: Annotated[Path, typer.Option("--model", help="A run that pairs molecules with texts.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the zero-shot predictor.")],
    target: Annotated[str, typer.Option("--target", help="Column of the labels, 0 and 1.")] = "label",
    text_column: Annotated[str, typer.Option("--text-column", help="Column of the assays' descriptions.")] = "text",
    training: Annotated[
        Path | None,
        typer.Option(
            "--training",
            help="The table the model was pretrained on: predictions name the nearest of its molecules and assays, not of TABLE's.",
        ),
    ] = None,
    smiles_column: SmilesColumn = None,
    format: Format = None,
    jobs: Jobs = 1,
    device: Device = "auto",
) -> None:
    """Turn a twin of molecules and texts into a predictor for assays without labels: molbt predict --predictor P --text "…"."""
    from molbt.data.files import check_new_directory
    from molbt.data.tables import numeric_column, read_table, require_column
    from molbt.predict.saved_zero_shot import save_zero_shot
    from molbt.predict.zero_shot import ZeroShotPredictor

    check_new_directory(output)
    with progress(quiet=is_quiet(context)) as display:
        read, known = read_table(table, format=format), read_table(training) if training is not None else None
        column = smiles_column or "smiles"
        for name, option in ((column, "--smiles-column"), (text_column, "--text-column"), (target, "--target")):
            require_column(read.frame.columns, name, read.source, option)
            if known is not None and name != target:
                require_column(known.frame.columns, name, known.source, option)
        labels = numeric_column(read, target, option="--target")
        display("calibrating", 0, len(read.frame))
        predictor = ZeroShotPredictor.calibrate(
            model,
            read.frame[column].tolist(),
            read.frame[text_column].tolist(),
            labels,
            training=(known.frame[column].tolist(), known.frame[text_column].tolist()) if known is not None else None,
            n_jobs=jobs,
            device=device,
        )
        save_zero_shot(predictor, output)
        display("calibrating", len(read.frame), len(read.frame))
    typer.echo(predictor.ranking.line())
    if predictor.ranking.warning():
        typer.echo(f"warning: {predictor.ranking.warning()}", err=True)
    for line in predictor.calibration.summary.lines("classification"):
        typer.echo(line)
    typer.echo(f"predictor: {output}")
