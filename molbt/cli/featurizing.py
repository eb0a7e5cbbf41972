"""The command ``featurize``."""

from pathlib import Path
from typing import Annotated

import typer

from molbt.cli.app import app
from molbt.cli.options import Device, Format, Jobs, Layer, ModelName, SmilesColumn, is_quiet
from molbt.cli.progress import progress
from molbt.cli.rows import beside, refuse_own_input, warn_if_all_refused


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
    jobs: Jobs = 1,
    device: Device = "auto",
) -> None:
    """Write the frozen embedding of every row: the input's columns, a reason for each refused row, and the features."""
    import numpy as np
    import pandas as pd

    from molbt.data.tables import output_format, read_table, require_column, write_table
    from molbt.featurizer import MoleculeFeaturizer

    output_format(output)
    refuse_own_input(table, output)
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
        write_table(beside(read.frame, pd.concat([pd.DataFrame({"molbt_reason": reasons}), learned], axis=1)), output)
    warn_if_all_refused(reasons)
    refused = sum(bool(reason) for reason in reasons)
    typer.echo(
        f"{len(values):,} rows, {features.shape[1]} features, {refused:,} rows refused (NaN, with a reason in molbt_reason): {output}"
    )
