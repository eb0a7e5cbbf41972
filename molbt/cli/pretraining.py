"""Commands that make encoders: ``prepare``, ``pretrain``, ``info``."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molbt.cli.app import app
from molbt.cli.options import (
    Changes,
    Config,
    DataDir,
    Exclude,
    ExcludeOverlap,
    ExecutorName,
    Format,
    Jobs,
    ModelName,
    Preset,
    SmilesColumn,
    is_quiet,
)
from molbt.cli.progress import progress

if TYPE_CHECKING:
    from molbt.config import RunConfig
    from molbt.data.exclusions import Exclusion


def _configuration(
    config: Path | None, preset: str | None, changes: Sequence[str], smiles_column: str | None, init: Path | None = None
) -> "RunConfig":
    from molbt.config import RunConfig
    from molbt.errors import ConfigError

    if config is not None and preset is not None:
        raise ConfigError(f"expected --config or --preset, received both ({config} and {preset}); give one of them")
    if config is not None:
        settings = RunConfig.from_yaml(config, changes=changes)
    elif init is not None and preset is None:
        from molbt.model.checkpoint import find_model, read_config

        directory = find_model(init)
        settings = RunConfig.from_dict(read_config(directory)["run_config"], source=str(directory / "config.json"), changes=changes)
    else:
        settings = RunConfig.from_preset(preset or "default", changes=changes)
    return settings.with_smiles_column(smiles_column) if smiles_column else settings


def _exclusions(tables: Sequence[str] | None, benchmarks: str | None, data_dir: Path | None) -> "list[Exclusion]":
    """Resolve --exclude and --exclude-overlap, before any work."""
    from molbt.data.exclusions import as_exclusions

    found = as_exclusions(tables or [])
    if benchmarks:
        from molbt.evaluation.leakage import benchmark_exclusions

        found += benchmark_exclusions([name.strip() for name in benchmarks.split(",") if name.strip()], data_dir)
    return found


@app.command()
def prepare(
    context: typer.Context,
    molecules: Annotated[Path, typer.Argument(help="csv, tsv, smi, sdf or parquet, also .gz and .zst; - is standard input.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the corpus.")],
    config: Config = None,
    preset: Preset = None,
    changes: Changes = None,
    exclude: Exclude = None,
    exclude_overlap: ExcludeOverlap = None,
    data_dir: DataDir = None,
    smiles_column: SmilesColumn = None,
    format: Format = None,
    executor: ExecutorName = "local",
    jobs: Jobs = 1,
) -> None:
    """Read molecules once and turn them into columns that many runs can train on.

    Stopped or killed, the same command goes on behind the last whole shard.
    """
    settings = _configuration(config, preset, changes or [], smiles_column)
    from molbt.data.corpus import prepare as prepare_corpus
    from molbt.data.executors import open_executor
    from molbt.data.quarantine import summarise_use

    excluded = _exclusions(exclude, exclude_overlap, data_dir)
    with progress(quiet=is_quiet(context)) as display, open_executor(executor) as shards:
        corpus = prepare_corpus(
            molecules, settings, directory=output, format=format, exclude=excluded, n_jobs=jobs, progress=display, executor=shards
        )
    typer.echo(summarise_use(corpus, corpus.samples(settings)))
    typer.echo(f"corpus: {corpus.directory}")


@app.command()
def pretrain(
    context: typer.Context,
    molecules: Annotated[Path, typer.Argument(help="A table of molecules, - for standard input, or a directory from molbt prepare.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the run.")],
    config: Config = None,
    preset: Preset = None,
    changes: Changes = None,
    init: Annotated[Path | None, typer.Option("--init", help="Start from this run or model: adapt it to these molecules.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence of the molecules, for the model's card.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output directory.")] = False,
    exclude: Exclude = None,
    exclude_overlap: ExcludeOverlap = None,
    data_dir: DataDir = None,
    smiles_column: SmilesColumn = None,
    format: Format = None,
    jobs: Jobs = 1,
) -> None:
    """Pretrain an encoder on a file of molecules."""
    from molbt.training.trainer import pretrain as pretrain_model

    if resume and config is None and preset is None and (output / "config.yaml").is_file():
        config = output / "config.yaml"
    settings = _configuration(config, preset, changes or [], smiles_column, init)
    excluded = _exclusions(exclude, exclude_overlap, data_dir)
    with progress(quiet=is_quiet(context)) as display:
        result = pretrain_model(
            molecules,
            output,
            config=settings,
            init=init,
            resume=resume,
            format=format,
            exclude=excluded,
            licence=licence,
            n_jobs=jobs,
            progress=display,
        )
    if os.environ.get("RANK", "0") != "0":  # under torchrun every process comes here; one of them tells
        return
    last = result.metrics.iloc[-1]
    typer.echo(f"{int(last['epoch'])} epochs, {int(last['samples_seen']):,} molecules seen, loss {last['loss']:.4g}")
    for name in (name for name in last.index if name.startswith("embedding_rank.")):
        typer.echo(f"effective rank of the embedding of view {name.split('.', 1)[1]}: {last[name]:.0f}")
    typer.echo(f"model: {result.model}")


@app.command()
def export(
    model: ModelName,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the copy; new or empty.")],
    half_precision: Annotated[bool, typer.Option("--half-precision", help="Store weight matrices as float16: half the size.")] = False,
) -> None:
    """Copy a model on its own, for handing it on: weights, description, card and the record of what it saw."""
    from molbt.model.export import export_model

    exported = export_model(model, output, half_precision=half_precision)
    size = sum(path.stat().st_size for path in exported.iterdir())
    typer.echo(f"model: {exported} ({size / 1e6:.1f} MB)")


@app.command()
def info(
    path: Annotated[Path | None, typer.Argument(help="A run, a model, a corpus or a predictor.")] = None,
    presets: Annotated[bool, typer.Option("--presets", help="Print the configurations that come with molbt.")] = False,
) -> None:
    """Tell what a directory holds, or what this installation offers."""
    from molbt import describe

    if presets:
        from importlib import resources

        for entry in sorted((resources.files("molbt") / "presets").iterdir(), key=lambda entry: entry.name):
            typer.echo(f"# --preset {entry.name.removesuffix('.yaml')}\n{entry.read_text(encoding='utf-8')}")
        return
    typer.echo(describe.directory(path) if path is not None else describe.installation())
