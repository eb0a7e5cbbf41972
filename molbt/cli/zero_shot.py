"""The command ``calibrate``: from a twin of molecules and texts to predictions for assays without labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from molbt.cli.app import app
from molbt.cli.options import Device, Format, Jobs, SmilesColumn, is_quiet
from molbt.cli.progress import progress

if TYPE_CHECKING:
    from molbt.predict.zero_shot import ZeroShotPredictor


@app.command()
def calibrate(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(help="Measured pairs of assays that the model was not trained on.")],
    model: Annotated[Path, typer.Option("--model", help="A run that pairs molecules with texts.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the zero-shot predictor.")],
    head: Annotated[
        str,
        typer.Option(
            "--head",
            help="Where scores come from: twin (how well the two match), or lightgbm (trees on the twin's frozen embeddings, their "
            "product, difference and cosine, which learn from the labelled pairs of --training).",
        ),
    ] = "twin",
    target: Annotated[str, typer.Option("--target", help="Column of the labels, 0 and 1.")] = "label",
    text_column: Annotated[str, typer.Option("--text-column", help="Column of the assays' descriptions.")] = "text",
    training: Annotated[
        Path | None,
        typer.Option(
            "--training",
            help="The table the model was pretrained on: predictions name the nearest of its molecules and assays, not of TABLE's. With "
            "--head lightgbm what the trees learn from: labelled pairs, of none of TABLE's assays.",
        ),
    ] = None,
    max_pairs: Annotated[
        int | None, typer.Option("--max-pairs", min=2, help="Most pairs that trees learn from, drawn at random; 200,000 by default.")
    ] = None,
    random_state: Annotated[
        int | None, typer.Option("--random-state", min=0, help="Seed of that draw and of the trees; 0 by default.")
    ] = None,
    smiles_column: SmilesColumn = None,
    format: Format = None,
    jobs: Jobs = 1,
    device: Device = "auto",
) -> None:
    """Turn a twin of molecules and texts into a predictor for assays without labels: molbt predict --predictor P --text "…".

    With --head lightgbm, molbt explain --predictor P --text "…" shows what a prediction rests on.
    """
    from molbt.data.files import check_new_directory
    from molbt.predict.saved_zero_shot import save_zero_shot
    from molbt.predict.zero_shot import ZeroShotPredictor

    check_new_directory(output)
    with progress(quiet=is_quiet(context)) as display:
        columns = smiles_column or "smiles", text_column
        smiles, texts, labels = _pairs(table, *columns, target, format)
        known = None if training is None else _pairs(training, *columns, target if head == "lightgbm" else None, None)
        display("calibrating", 0, len(smiles))
        predictor = ZeroShotPredictor.calibrate(
            model,
            smiles,
            texts,
            labels,
            head=head,
            training=known,
            max_pairs=max_pairs,
            random_state=random_state,
            n_jobs=jobs,
            device=device,
        )
        save_zero_shot(predictor, output)
        display("calibrating", len(smiles), len(smiles))
    for line in _told(predictor):
        typer.echo(line)
    if predictor.ranking.warning():
        typer.echo(f"warning: {predictor.ranking.warning()}", err=True)
    for line in predictor.calibration.summary.lines("classification"):
        typer.echo(line)
    typer.echo(f"predictor: {output}")


def _pairs(path: Path, smiles_column: str, text_column: str, target: str | None, format: str | None) -> tuple[Any, ...]:
    """Return the SMILES and texts of a table, and with a target its labels."""
    from molbt.data.tables import numeric_column, read_table, require_column

    read = read_table(path, format=format)
    options = {smiles_column: "--smiles-column", text_column: "--text-column", **({target: "--target"} if target is not None else {})}
    for name, option in options.items():
        require_column(read.frame.columns, name, read.source, option)
    columns = read.frame[smiles_column].tolist(), read.frame[text_column].tolist()
    return columns if target is None else (*columns, numeric_column(read, target, option="--target"))


def _told(predictor: "ZeroShotPredictor") -> list[str]:
    lines = [predictor.ranking.line()]
    if predictor.boosted is not None:
        head, pairs = predictor.boosted.head, predictor.boosted.pairs
        refused = f"; {head.n_refused_:,} cannot be used" if head.n_refused_ else ""
        lines = [f"LightGBM learned from {head.n_train_:,} pairs of {len(pairs.assays):,} assays{refused}", *lines]
        lines += [predictor.ranking.twin_line()] if predictor.ranking.twin is not None else []
    return lines
