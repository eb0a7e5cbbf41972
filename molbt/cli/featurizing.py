"""The command ``featurize``."""

from pathlib import Path
from typing import Annotated

import typer

from molbt.cli.app import app
from molbt.cli.options import (
    SHARD_ROWS,
    Device,
    ExecutorName,
    Format,
    Jobs,
    Layer,
    ModelName,
    ShardRows,
    SmilesColumn,
    is_quiet,
)
from molbt.cli.progress import progress
from molbt.cli.rows import refuse_own_input, warn_if_all_refused


@app.command()
def featurize(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(help="A table of molecules; - is standard input.")],
    model: ModelName,
    output: Annotated[Path, typer.Option("--output", "-o", help="csv, tsv or parquet.")],
    smiles_column: SmilesColumn = None,
    view: Annotated[str | None, typer.Option("--view", help="Encoder of this view; by default all encoders of molecules.")] = None,
    layer: Layer = "embedding",
    format: Format = None,
    executor: ExecutorName = "local",
    shard_rows: ShardRows = SHARD_ROWS,
    jobs: Jobs = 1,
    device: Device = "auto",
) -> None:
    """Write the frozen embedding of every row: the input's columns, a reason for each refused row, and the features.

    The table may be larger than memory. Stopped or killed, the same command goes on behind the last whole shard.
    """
    from molbt.data.executors import open_executor
    from molbt.data.sharded_tables import add_columns
    from molbt.data.tables import output_format
    from molbt.predict.added_columns import EmbeddingColumns

    output_format(output)
    refuse_own_input(table, output)
    with progress(quiet=is_quiet(context)) as display, open_executor(executor) as shards:
        written = add_columns(
            table,
            output,
            EmbeddingColumns.of(model, view=view, layer=layer, n_jobs=jobs, device=device),
            column=smiles_column or "smiles",
            format=format,
            shard_rows=shard_rows,
            executor=shards,
            label="featurizing",
            progress=display,
        )
    warn_if_all_refused(written.rows, written.refused, written.first_reason)
    typer.echo(
        f"{written.rows:,} rows, {len(written.added) - 1} features, {written.refused:,} rows refused (NaN, with a reason in molbt_reason): "
        f"{output}"
    )
