"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer


def _check_jobs(jobs: int) -> int:
    if jobs < 1 and jobs != -1:
        raise typer.BadParameter(f"expected 1 or more worker processes, or -1 for all cores, received {jobs}")
    return jobs


# Written out: asking the package for the names would load scikit-learn for every --help. A test compares.
HEADS_HELP = "lightgbm, tanimoto_svm, ridge, logistic, svm or forest."

Model = Annotated[Path, typer.Option("--model", help="A run or model directory.")]
OptionalModel = Annotated[Path | None, typer.Option("--model", help="A run or model directory.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Worker processes for reading molecules; -1 uses all cores.", callback=_check_jobs)]
SmilesColumn = Annotated[str | None, typer.Option("--smiles-column", help="Column that holds the SMILES; smiles by default.")]
Format = Annotated[str | None, typer.Option("--format", help="csv, tsv, smi, sdf or parquet, where the name does not tell it.")]
Config = Annotated[Path | None, typer.Option("--config", help="The run's YAML file.")]
Preset = Annotated[str | None, typer.Option("--preset", help="A configuration that comes with molbt; see molbt info --presets.")]
Changes = Annotated[list[str] | None, typer.Option("--set", help="Change a setting: trainer.epochs=20. Repeatable.")]
Exclude = Annotated[
    list[Path] | None, typer.Option("--exclude", help="Table whose molecules are not trained on (column smiles). Repeatable.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, …")]
RandomState = Annotated[int, typer.Option("--random-state", help="Seed of splits, heads and controls.")]


def is_quiet(context: typer.Context) -> bool:
    """Return whether the user asked for results only."""
    return bool((context.find_root().obj or {}).get("quiet"))
