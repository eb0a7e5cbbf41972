"""The command ``evaluate``: its options, and which benchmark they go to."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from molbt.cli.app import app
from molbt.cli.benchmark_tables import evaluate_benchmark
from molbt.cli.few_shot import evaluate_fsmol, sizes_of
from molbt.cli.label_options import (
    ActiveAbove,
    ActiveBelow,
    Censored,
    Conflicts,
    MaxSpread,
    RelationColumn,
    TargetUnit,
    TaskType,
    To,
)
from molbt.cli.options import DATASETS_HELP, HEADS_HELP, Format, Jobs, OptionalModel, RandomState, is_quiet
from molbt.cli.toxcast import evaluate_toxcast
from molbt.cli.zero_shot_methods import METHODS_HELP, ZeroShotOptions

FEW_SHOT_HELP = "The default is tanimoto_svm,lightgbm; for fsmol, which also has blended_logistic, it is tanimoto_logistic."

if TYPE_CHECKING:
    from molbt.evaluation.benchmarks.base import Benchmark
    from molbt.evaluation.benchmarks.fsmol import FSMol
    from molbt.evaluation.benchmarks.toxcast import ToxCast


def _build_benchmark(name: str, options: dict[str, Any]) -> "Benchmark":
    """Construct a benchmark from the options that were given; one that it does not take is refused."""
    from molbt import registry
    from molbt.errors import ConfigError

    benchmark = registry.find("benchmarks", name)
    accepted = inspect.signature(benchmark).parameters
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in accepted:
            taken = ", ".join(_option_name(other) for other in accepted if other in options)
            raise ConfigError(f"benchmark {name!r} does not take {_option_name(option)}; it takes {taken}")
    missing = [option for option, parameter in accepted.items() if parameter.default is inspect.Parameter.empty and option not in given]
    if missing:
        wanted = ", ".join(_option_name(option) for option in missing)
        raise ConfigError(f"benchmark {name!r} needs {wanted}; see molbt evaluate --help")
    return benchmark(**given)


_ONLY_FOR = {"--regime": ("fsmol",), "--methods": ("fsmol", "toxcast"), "--max-pairs": ("fsmol", "toxcast")}
_NOT_FOR = {
    "fsmol": {"--coverage": "it is counted with --support 0 anyhow", "--fractions": "its numbers of labels are --support"},
    "toxcast": {
        "--coverage": "it is counted anyhow",
        **dict.fromkeys(("--fractions", "--heads", "--features", "--layer"), "nothing is fitted to labels of its tasks; see --methods"),
        "--write-card": "its table compares methods, not what the encoder adds to features",
    },
}


def _refuse_what_has_no_effect(benchmark: str, given: Sequence[str]) -> None:
    """Raise ConfigError for an option that this benchmark would pass over."""
    from molbt.errors import ConfigError

    for option in given:
        if benchmark not in _ONLY_FOR.get(option, (benchmark,)):
            takers = " and ".join(_ONLY_FOR[option])
            raise ConfigError(f"{option} is for {takers}, received the benchmark {benchmark!r}; leave it out")
        if option in _NOT_FOR.get(benchmark, {}):
            raise ConfigError(f"{option} is not for the benchmark {benchmark}: {_NOT_FOR[benchmark][option]}; leave it out")


def _option_name(option: str) -> str:
    special = {
        "path": "a file",
        "policy": "options of labels such as --target-unit",
        "relation_columns": "--relation-column",
        "assays": "--texts",
    }
    return special.get(option, "--" + option.replace("_", "-"))


@app.command()
def evaluate(
    context: typer.Context,
    benchmark: Annotated[str, typer.Argument(help="moleculeace, moleculenet, fsmol, toxcast, or table for a file of your own.")],
    path: Annotated[Path | None, typer.Argument(help="The file, for the benchmark table.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of results.csv and report.html.")] = Path("reports"),
    model: OptionalModel = None,
    layer: Annotated[str, typer.Option("--layer", help="embedding, or an earlier layer such as hidden_1.")] = "embedding",
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Folder of the public data sets; or the variable MOLBT_DATA.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="Column to predict, or several separated by commas (table).")] = None,
    smiles_column: Annotated[str | None, typer.Option("--smiles-column", help="Column that holds the SMILES (table).")] = None,
    format: Format = None,
    task_type: TaskType = "auto",
    target_unit: TargetUnit = None,
    to: To = "none",
    active_above: ActiveAbove = None,
    active_below: ActiveBelow = None,
    censored: Censored = "drop",
    relation_column: RelationColumn = None,
    duplicates: Annotated[
        str | None,
        typer.Option(
            "--duplicates",
            help="Molecules measured more than once: median (the default), mean, first or keep (table); published, or distinct: one row "
            "per molecule, none where labels differ (fsmol).",
        ),
    ] = None,
    conflicts: Conflicts = "drop",
    max_spread: MaxSpread = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="scaffold, scaffold_deepchem, scaffold_random, cluster, random or time (table, moleculenet)."),
    ] = None,
    time_column: Annotated[str | None, typer.Option("--time-column", help="Years or ISO dates, for --split time (table).")] = None,
    repeats: Annotated[int | None, typer.Option("--repeats", help="Number of splits (table, moleculenet).")] = None,
    datasets: Annotated[str | None, typer.Option("--datasets", help=f"Separated by commas: {DATASETS_HELP} (moleculenet)")] = None,
    max_rows: Annotated[int | None, typer.Option("--max-rows", help="Cut larger data sets to so many rows (moleculenet).")] = None,
    fractions: Annotated[str, typer.Option("--fractions", help="Shares of the training labels, for low-label curves: 0.01,0.1,1")] = "1",
    support: Annotated[str | None, typer.Option("--support", help="Sizes of the support set: 0,16,32,64,128,256 (fsmol).")] = None,
    draws: Annotated[int | None, typer.Option("--draws", help="Support sets per assay and size; 10 by default (fsmol).")] = None,
    part: Annotated[str | None, typer.Option("--part", help="test, or valid for making choices (fsmol).")] = None,
    regime: Annotated[
        str | None,
        typer.Option("--regime", help="published, or clean: nothing may know training rows of evaluated molecules (fsmol)."),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            help=f"Without a support set, separated by commas: {METHODS_HELP}; all that can be run by default (fsmol with --support 0, "
            "toxcast).",
        ),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            "--texts",
            help="Descriptions of training and evaluated assays, jsonl or a table; only assays that have one are evaluated (fsmol).",
        ),
    ] = None,
    max_pairs: Annotated[
        int | None,
        typer.Option("--max-pairs", help="Most training pairs that boosting learns from, 200,000 by default (fsmol, toxcast).", min=2),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="First so many tasks only.")] = None,
    require_clean: Annotated[bool, typer.Option("--require-clean", help="Refuse when the pretraining saw a test molecule.")] = False,
    write_card: Annotated[bool, typer.Option("--write-card", help="Put the table into the card of the model.")] = False,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Also calibrate the control on a quarter of the training rows, and count on the test rows.")
    ] = False,
    heads: Annotated[
        str | None,
        typer.Option("--heads", help=f"Separated by commas: {HEADS_HELP} {FEW_SHOT_HELP}"),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--features", help="Only these, separated by commas, and the controls they are judged by; such as counts+embedding."),
    ] = None,
    random_state: RandomState = 0,
    jobs: Jobs = 1,
) -> None:
    """Print the table of a benchmark: an encoder beside all its controls, with paired intervals over tasks."""
    from molbt import registry
    from molbt.data.sources import data_dir as find_data
    from molbt.errors import ConfigError
    from molbt.model.checkpoint import find_model
    from molbt.predict.label_policy import LabelPolicy

    given = {
        "--regime": regime is not None,
        "--methods": methods is not None,
        "--max-pairs": max_pairs is not None,
        "--coverage": coverage,
        "--fractions": fractions != "1",
        "--heads": heads is not None,
        "--features": only is not None,
        "--layer": layer != "embedding",
        "--write-card": write_card,
    }
    _refuse_what_has_no_effect(benchmark, [option for option, is_given in given.items() if is_given])
    if model is None and write_card:
        raise ConfigError("--write-card writes into the card of an encoder, received no --model; pass --model runs/a")
    if write_card and model is not None and not find_model(model).is_relative_to(model):  # it was named, not pointed at
        raise ConfigError(
            f"--write-card would write into the installed package, received {model}, an encoder that comes with molbt; make a copy of your "
            f"own first: molbt export --model {model} -o DIRECTORY"
        )
    if model is None and layer != "embedding":
        raise ConfigError(f"--layer {layer} is an output of an encoder, received no --model; pass --model runs/a")
    shares = _fractions(fractions)
    found = registry.find("benchmarks", benchmark)
    if "data_dir" in inspect.signature(found).parameters:
        data_dir = find_data(data_dir)
    takes_labels = "policy" in inspect.signature(found).parameters
    policy = LabelPolicy(
        task_type=task_type,
        unit=target_unit,
        scale=to,
        active_above=active_above,
        active_below=active_below,
        censored=censored,
        duplicates=(duplicates if takes_labels else None) or "median",
        conflicts=conflicts,
        max_spread=max_spread,
    )
    options = {
        "path": path,
        "data_dir": data_dir,
        "target": [name.strip() for name in target.split(",")] if target else None,
        "policy": policy if policy != LabelPolicy() else None,
        "relation_columns": _names(relation_column) if relation_column else None,
        "smiles_column": smiles_column,
        "format": format,
        "split": split,
        "time_column": time_column,
        "repeats": repeats,
        "datasets": [name.strip() for name in datasets.split(",")] if datasets else None,
        "max_rows": max_rows,
        "limit": limit,
        "support": sizes_of(support) if support else None,
        "draws": draws,
        "part": part,
        "duplicates": None if takes_labels else duplicates,
        "assays": _described(texts) if texts is not None else None,
        "random_state": random_state if "random_state" in inspect.signature(found).parameters else None,
    }
    built = _build_benchmark(benchmark, options)
    output.mkdir(parents=True, exist_ok=True)
    chosen_heads = _names(heads or ("tanimoto_logistic" if benchmark == "fsmol" else "tanimoto_svm,lightgbm"))
    if benchmark == "fsmol":
        few_shot_options = [option for option in ("--heads", "--features", "--layer") if given[option]]
        if few_shot_options and not any(cast("FSMol", built).support):
            raise ConfigError(
                f"{few_shot_options[0]} is for support sets, received --support 0 alone; leave it out, or add sizes such as 16"
            )
        evaluate_fsmol(
            cast("FSMol", built),
            output=output,
            model=model,
            layer=layer,
            heads=chosen_heads,
            only=_names(only) if only else None,
            regime=regime or "published",
            require_clean=require_clean,
            write_card=write_card,
            random_state=random_state,
            jobs=jobs,
            quiet=is_quiet(context),
            zero_shot=ZeroShotOptions(_names(methods) if methods else None, texts, max_pairs),
        )
        return
    if benchmark == "toxcast":
        evaluate_toxcast(
            cast("ToxCast", built),
            output=output,
            model=model,
            zero_shot=ZeroShotOptions(_names(methods) if methods else None, None, max_pairs),
            require_clean=require_clean,
            random_state=random_state,
            jobs=jobs,
            quiet=is_quiet(context),
        )
        return
    evaluate_benchmark(
        built,
        output=output,
        model=model,
        layer=layer,
        heads=chosen_heads,
        only=_names(only) if only else None,
        fractions=shares,
        coverage=coverage,
        require_clean=require_clean,
        write_card=write_card,
        random_state=random_state,
        jobs=jobs,
        quiet=is_quiet(context),
    )


def _described(texts: Path) -> list[str]:
    from molbt.data.assay_texts import assay_texts

    return list(assay_texts(texts))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _fractions(text: str) -> tuple[float, ...]:
    from molbt.errors import ConfigError
    from molbt.evaluation.training_subsets import check_fractions

    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(
            f"--fractions must be numbers above 0 and up to 1, separated by commas, got {text!r}; such as 0.01,0.1,1"
        ) from error
    return check_fractions(values)
