"""Options that several commands share."""

import re
from pathlib import Path
from typing import Annotated

import typer


def _check_jobs(jobs: int) -> int:
    if jobs < 1 and jobs != -1:
        raise typer.BadParameter(f"expected 1 or more worker processes, or -1 for all cores, received {jobs}")
    return jobs


_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]*)", text.strip().lower())
    if found is None or found[2] not in _UNITS or not (size := int(float(found[1]) * _UNITS[found[2]])):
        raise typer.BadParameter(f"expected a size such as 500MB or 2GB, received {text!r}")
    return size


# Written out: asking the package for the names would load scikit-learn for every --help. A test compares.
HEADS_HELP = "auto, lightgbm, tanimoto_svm, gp, tanimoto_logistic, knn, ridge, logistic, svm, forest, prototypes or prototypes_mahalanobis."
SHARD_ROWS = 65_536  # likewise
# Likewise; a test compares.
DATASETS_HELP = "bbbp, esol and freesolv by default; sider, tox21, cyp450, hiv, toxcast and muv take long."

Model = Annotated[Path, typer.Option("--model", help="A run, a model directory, or default: the encoder that comes with molbt.")]
OptionalModel = Annotated[
    Path | None, typer.Option("--model", help="A run, a model directory, or default: the encoder that comes with molbt.")
]
# A text, not a path: it may also be the name of an encoder that comes with molbt.
ModelName = Annotated[str, typer.Option("--model", help="A run, a model directory, or default: the encoder that comes with molbt.")]
OptionalModelName = Annotated[
    str | None, typer.Option("--model", help="A run, a model directory, or default: the encoder that comes with molbt.")
]
Layer = Annotated[str, typer.Option("--layer", help="embedding, or an earlier layer such as hidden_1.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Worker processes for reading molecules; -1 uses all cores.", callback=_check_jobs)]
ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor", help="Where shards of rows are worked on: local, or a Dask scheduler, dask://HOST:PORT (pip install molbt\\[dask])."
    ),
]
ShardRows = Annotated[
    int, typer.Option("--shard-rows", help="Rows worked on at a time: what is kept after a kill, and what memory is needed for.", min=1)
]
MemoryLimit = Annotated[
    int | None,
    typer.Option(
        "--memory-limit",
        parser=_bytes,
        metavar="SIZE",
        help="For features, such as 2GB: dense ones that take more are kept in a file, from which lightgbm learns.",
    ),
]
SmilesColumn = Annotated[str | None, typer.Option("--smiles-column", help="Column that holds the SMILES; smiles by default.")]
Format = Annotated[str | None, typer.Option("--format", help="csv, tsv, smi, sdf or parquet, where the name does not tell it.")]
Config = Annotated[Path | None, typer.Option("--config", help="The run's YAML file.")]
Preset = Annotated[str | None, typer.Option("--preset", help="A configuration that comes with molbt; see molbt info --presets.")]
Changes = Annotated[list[str] | None, typer.Option("--set", help="Change a setting: trainer.epochs=20. Repeatable.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="FILE[:COLUMN]", help="Table whose molecules are not trained on (column smiles). Repeatable."),
]
ExcludeOverlap = Annotated[
    str | None,
    typer.Option(
        "--exclude-overlap",
        metavar="NAMES",
        help="Benchmarks whose molecules are not trained on, separated by commas: moleculeace,table:my.csv.",
    ),
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder of the public data sets; or the variable MOLBT_DATA.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, …")]
RandomState = Annotated[int, typer.Option("--random-state", help="Seed of splits, heads and controls.")]


def is_quiet(context: typer.Context) -> bool:
    """Return whether the user asked for results only."""
    return bool((context.find_root().obj or {}).get("quiet"))
