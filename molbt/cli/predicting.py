"""The command ``predict``."""

from pathlib import Path
from typing import Annotated

import typer

from molbt.cli.app import app
from molbt.cli.options import SHARD_ROWS, Device, ExecutorName, Format, Jobs, ShardRows, SmilesColumn, is_quiet
from molbt.cli.progress import progress
from molbt.cli.rows import refuse_own_input, warn_if_all_refused


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
    text: Annotated[str | None, typer.Option("--text", help="Description of an assay, for a predictor of molbt calibrate.")] = None,
    texts: Annotated[Path | None, typer.Option("--texts", help="Table of descriptions: one column of probabilities for each.")] = None,
    text_column: Annotated[str, typer.Option("--text-column", help="Column of --texts that holds the descriptions.")] = "text",
    smiles_column: SmilesColumn = None,
    format: Format = None,
    executor: ExecutorName = "local",
    shard_rows: ShardRows = SHARD_ROWS,
    jobs: Jobs = 1,
    device: Device = "auto",
) -> None:
    """Predict every row: the input's columns, predictions with their unit in the name, their uncertainty, and a reason if refused.

    Beside a prediction stand the ends of its interval (regression) or its set of classes and their p-values, and the nearest training
    molecule: its row, its similarity, and the percentage of training molecules that are nearer to the others than this one is.

    The table may be larger than memory. Stopped or killed, the same command goes on behind the last whole shard.
    """
    from molbt.data.executors import open_executor
    from molbt.data.sharded_tables import add_columns
    from molbt.data.tables import output_format
    from molbt.errors import ConfigError
    from molbt.predict.added_columns import PredictionColumns
    from molbt.predict.saved_zero_shot import is_zero_shot
    from molbt.predict.zero_shot_columns import ZeroShotColumns, texts_of_table

    output_format(output)
    refuse_own_input(table, output)
    work: PredictionColumns | ZeroShotColumns
    if text is None and texts is None and not is_zero_shot(predictor):
        work = PredictionColumns.of(predictor, confidence=confidence, nearest=nearest, n_jobs=jobs, device=device)
    else:
        if (text is None) == (texts is None):
            raise ConfigError("this predictor works from descriptions of assays: give either --text TEXT or --texts FILE")
        asked, names = texts_of_table(texts, text_column) if texts is not None else ((str(text),), ())
        level = 0.9 if confidence is None else confidence
        work = ZeroShotColumns.of(predictor, texts=asked, names=names, confidence=level, nearest=nearest, n_jobs=jobs, device=device)
    with progress(quiet=is_quiet(context)) as display, open_executor(executor) as shards:
        written = add_columns(
            table,
            output,
            work,
            column=smiles_column or "smiles",
            format=format,
            shard_rows=shard_rows,
            executor=shards,
            label="predicting",
            progress=display,
        )
    warn_if_all_refused(written.rows, written.refused, written.first_reason)
    for line in work.told() if isinstance(work, ZeroShotColumns) else []:
        typer.echo(line)
    typer.echo(f"{written.rows:,} rows, {written.refused:,} refused (no prediction, with a reason in molbt_reason): {output}")
