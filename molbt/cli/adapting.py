"""The command that adapts a language model to texts: ``adapt-text``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from molbt.cli.app import app
from molbt.cli.options import Device, is_quiet
from molbt.cli.progress import progress


@app.command("adapt-text")
def adapt_text(
    context: typer.Context,
    texts: Annotated[Path, typer.Argument(help="jsonl, txt (a text per line), csv, tsv or parquet; text also .gz and .zst.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the run; the model in it is read by the modality text.")],
    model: Annotated[str, typer.Option("--model", help="minilm, a directory, or owner/name of a hub model.")] = "minilm",
    revision: Annotated[str | None, typer.Option("--revision", help="Commit of a hub model.")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", help="Column or key that holds texts, text by default. Repeatable: wordings of one text."),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="jsonl, txt, csv, tsv or parquet, where the name does not tell it.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the texts.", min=1)] = 3,
    max_steps: Annotated[int | None, typer.Option("--max-steps", help="Stop after so many steps, where these are fewer.", min=1)] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Texts in a step.", min=1)] = 32,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Tokens of a text that are read at once.", min=8)] = 256,
    learning_rate: Annotated[float, typer.Option("--learning-rate", help="Peak of the rate.")] = 1e-4,
    shuffle: Annotated[
        str, typer.Option("--shuffle", help="Sentences in another order in each epoch: none, within paragraphs, across.")
    ] = ("none"),
    lora: Annotated[
        int | None,
        typer.Option("--lora", metavar="RANK", help="Train adapters of this rank in place of all weights (pip install molbt\\[lora])."),
    ] = None,
    held_out: Annotated[float, typer.Option("--held-out", help="Share of the texts that perplexity is measured on.")] = 0.1,
    head_control: Annotated[
        bool | None,
        typer.Option(
            "--head-control/--no-head-control",
            help="Also train the head alone, to compare with; by default where the model has no head.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Decides split, order, masks and what begins untrained.")] = 0,
    device: Device = "auto",
    precision: Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16.")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", help="Compute threads.", min=1)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output directory, with the same settings.")] = False,
) -> None:
    """Continue the training of a text encoder on the texts of a domain, and measure it on texts held out."""
    from pydantic import ValidationError

    from molbt.config_text import describe_problems
    from molbt.errors import ConfigError
    from molbt.text_adaptation.adapt import adapt_text as adapt
    from molbt.text_adaptation.settings import AdaptationConfig

    settings: dict[str, Any] = {
        "epochs": epochs,
        "max_steps": max_steps,
        "batch_size": batch_size,
        "max_tokens": max_tokens,
        "learning_rate": learning_rate,
        "shuffle": shuffle,
        "lora_rank": lora,
        "held_out": held_out,
        "head_control": head_control,
        "seed": seed,
        "device": device,
        "precision": precision,
        "num_threads": threads,
    }
    try:
        config = AdaptationConfig(**settings)
    except ValidationError as error:
        raise ConfigError(describe_problems(error, where="the options of adapt-text")) from error
    with progress(quiet=is_quiet(context)) as display:
        result = adapt(
            texts,
            output,
            model=model,
            revision=revision,
            config=config,
            columns=columns or ["text"],
            format=format,
            resume=resume,
            progress=display,
        )
    report = result.report
    typer.echo(f"{report['held_out_tokens']:,} masked tokens of {report['held_out_texts']:,} held-out texts; head: {report['head']}")
    for name, value in report["perplexity"].items():
        ratio = report["after_over"].get(name)
        compared = f" (after is {ratio['ratio']:.3g} of it, {ratio['ci_low']:.3g} to {ratio['ci_high']:.3g})" if ratio else ""
        typer.echo(f"perplexity {name.replace('_', ' ')}: {value:.4g}{compared}")
    typer.echo(f"model: {result.model}")
