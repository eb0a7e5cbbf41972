"""Ways to pretrain on FS-Mol's training assays, each with the same encoder: what its frozen embedding is worth with few labels.

    python benchmarks/fsmol_recipes.py -o runs/recipes --sweep     # λ·d of each twin, 1 to 128, on the validation assays
    python benchmarks/fsmol_recipes.py -o runs/recipes             # three seeds with what was chosen, on the test assays

A cell is a recipe, a λ·d and a seed, in a folder of its own below ``OUTPUT``; finished cells are read, and a stopped one goes on where it
was.
Twins: ``text`` (active molecules ↔ their assay's text), ``signed`` (also inactives, anti-correlated), ``active`` (two actives of an
assay), ``active_signed`` (also an active and an inactive). Others: ``prototypes`` (episodes), ``matching``, ``multitask``,
``transfer`` (both, as the preset ``fsmol_profile_transfer``). Needs FS-Mol in ``MOLBT_DATA``.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd

from molbt import RunConfig, pretrain
from molbt.data.active_pairs import active_pairs
from molbt.data.corpus import Corpus, prepare
from molbt.data.fs_mol import FSMolData
from molbt.data.fs_mol_pairs import labelled_pairs
from molbt.data.sources import data_dir
from molbt.evaluation.benchmarks.fsmol import FSMol
from molbt.evaluation.encoder_features import encoder_features
from molbt.evaluation.few_shot.feature_sets import few_shot_features
from molbt.evaluation.few_shot.protocol import evaluate_few_shot
from molbt.evaluation.statistics import paired_differences

METRIC, HEAD = "delta_auprc", "blended_logistic"
CONTROL = ("counts", HEAD)
WEIGHTS = (1.0, 16.0, 128.0)
FINGERPRINT = {"modality": "fingerprint", "kinds": ["ecfp4", "atom_pair"], "counts": True, "width": 8192}
BASE: dict[str, Any] = {
    "encoder": {"embedding_dim": 512, "hidden": [1024], "dropout": 0.3, "input_dropout": 0.1},
    "labels": {"activity": {"task": "task", "value": "label"}},
    "trainer": {"epochs": 100, "max_steps": 1200, "batch_size": 1024, "learning_rate": 1e-3, "weight_decay": 1e-3},
}
WITH_TEXT: dict[str, Any] = {
    "views": {"fingerprint": FINGERPRINT, "text": {"modality": "lsa", "column": "text", "encoder": {"dropout": 0.1}}},
    "pairs": [["fingerprint", "text"]],
    "projector": {"widths": [1024, 512]},
}
TWO_MOLECULES: dict[str, Any] = {
    "views": {"fingerprint": FINGERPRINT, "partner": {**FINGERPRINT, "column": "partner", "share_encoder": "fingerprint"}},
    "pairs": [["fingerprint", "partner"]],
    "projector": {"widths": [1024, 512]},
}
MULTITASK = {"name": "multitask", "labels": "activity", "views": ["fingerprint"]}
SPREAD = {"unique_entities": "text"}
RECIPES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "text": ("actives", WITH_TEXT, {"name": "barlow_twins"}, SPREAD),
    "signed": ("molecules", WITH_TEXT, {"name": "signed_barlow_twins", "labels": "activity"}, SPREAD),
    "active": ("partners", TWO_MOLECULES, {"name": "barlow_twins"}, {}),
    "active_signed": ("signed_partners", TWO_MOLECULES, {"name": "signed_barlow_twins", "labels": "activity"}, {}),
    "prototypes": ("molecules", WITH_TEXT, {"name": "prototypes", "labels": "activity"}, {"episodes": "activity"}),
    "matching": ("molecules", WITH_TEXT, {"name": "matching", "labels": "activity"}, {}),
    "multitask": ("molecules", WITH_TEXT, MULTITASK, {}),
    "transfer": ("molecules", WITH_TEXT, {"name": "matching", "labels": "activity", "beside": [MULTITASK]}, {}),
}
"""The table, the views, the objective, and what the trainer is told beside ``BASE``."""
TWINS = ("text", "signed", "active", "active_signed")


def table_of(name: str, data: FSMolData) -> pd.DataFrame:
    """Return what a recipe is pretrained on."""
    rows = labelled_pairs(data, "train")
    if name == "molecules":
        return rows
    if name == "actives":
        return rows[rows["label"] == 1].reset_index(drop=True)
    return active_pairs(rows, partners=2, inactives=name == "signed_partners")


def config_of(recipe: str, seed: int, changes: list[str], weight: float | None = None) -> RunConfig:
    """Return the run's configuration; the weight is λ·d of a twin."""
    _, views, objective, trainer = RECIPES[recipe]
    term = {**objective, **({} if weight is None else {"redundancy_weight": weight})}
    terms = [*term.pop("beside", []), term]
    whole = {**BASE, **views, "objectives": terms, "trainer": {**BASE["trainer"], **trainer}}
    return RunConfig.from_dict(whole, changes=[*changes, f"trainer.seed={seed}"])


def corpus_of(recipe: str, output: Path, data: FSMolData, jobs: int, variant: str, exclude: list[Path]) -> Corpus:
    """Return the recipe's corpus, prepared once."""
    table = RECIPES[recipe][0]
    directory = output / f"corpus{variant}-{table}"
    return prepare(table_of(table, data), config_of(recipe, 0, []), directory=directory, exclude=exclude, n_jobs=jobs)


def run_cell(corpus: Corpus, directory: Path, config: RunConfig, benchmark: FSMol, jobs: int) -> pd.DataFrame:
    """Train and evaluate one cell, or what is left of it."""
    run = pretrain(corpus, directory / "run", config=config, resume=True)
    scores = evaluated(run.directory, directory, benchmark, ["embedding", "counts+embedding"], jobs)
    last = run.metrics.iloc[-1]
    return scores.assign(rank=last["embedding_rank.fingerprint"], loss=last["loss"])


def evaluated(run: Path, directory: Path, benchmark: FSMol, names: list[str], jobs: int) -> pd.DataFrame:
    """Return ΔAUPRC of some features of a run's encoder under the blended head."""
    encoder = encoder_features(run, directory, n_jobs=jobs)
    features = few_shot_features(encoder, names, n_jobs=jobs)
    sets = [each for each in features.sets if each[0] in names]
    path = directory / f"results_{benchmark.part}.csv"
    scores = evaluate_few_shot(benchmark, sets, [HEAD], n_jobs=jobs, results_path=path, identities=features.identities)
    return scores[scores["metric"] == METRIC]


def report(results: pd.DataFrame) -> pd.DataFrame:
    """Return means over assays and seeds, and paired differences to counts and to the same features untrained, by size."""
    keys = ["recipe", "benchmark", "data_set", "task", "repeat", "fraction", "metric", "split", "features", "head"]
    mean = results.groupby(keys, as_index=False).agg(value=("value", "mean"), rank=("rank", "mean"), seeds=("seed", "nunique"))
    controls = mean[mean["recipe"] == "controls"]
    rows = []
    for (recipe, size), cell in mean.groupby(["recipe", "benchmark"], sort=False):
        together = pd.concat([controls[controls["benchmark"] == size], cell[cell["recipe"] != "controls"]])
        for features, part in cell.groupby("features", sort=False):
            row = {"recipe": recipe, "size": size, "features": features, "value": part.groupby("task")["value"].mean().mean()}
            for name, control in (("counts", "counts"), ("untrained", features.replace("embedding", "untrained"))):
                found = paired_differences(together, (control, HEAD)).set_index("features")
                if features in found.index:
                    told = found.loc[features]
                    row |= {f"to_{name}": f"{told['mean_difference']:+.4f} ({told['ci_low']:+.4f} to {told['ci_high']:+.4f})"}
            rows.append(row | {"rank": part["rank"].mean(), "seeds": part["seeds"].min()})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--sweep", action="store_true", help="choose λ·d of each twin, and keep it in OUTPUT/choices.json")
    parser.add_argument("--recipes", help="separated by commas; all by default")
    parser.add_argument("--support", default="16,64")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sweep-steps", type=int, default=400)
    parser.add_argument("--set", action="append", default=[], dest="changes", help="trainer.max_steps=1200")
    parser.add_argument(
        "--exclude", type=Path, action="append", default=[], help="molecules not to train on: evaluate fsmol --regime clean"
    )
    parser.add_argument("--variant", default="", help="part of the folders' names, for runs with other settings beside these")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    output, jobs, variant, folder = arguments.output, arguments.jobs, arguments.variant, data_dir(None)
    chosen = arguments.recipes.split(",") if arguments.recipes else list(RECIPES)
    sizes = [int(size) for size in arguments.support.split(",")]
    data = FSMolData(folder / "fs-mol")
    choices_file = output / "choices.json"
    choices = json.loads(choices_file.read_text()) if choices_file.is_file() else {}

    if arguments.sweep:
        benchmark = FSMol(folder, part="valid", support=sizes, draws=arguments.draws)
        for recipe in [name for name in chosen if name in TWINS]:
            corpus, swept = corpus_of(recipe, output, data, jobs, variant, arguments.exclude), {}
            for weight in WEIGHTS:
                config = config_of(recipe, 0, [*arguments.changes, f"trainer.max_steps={arguments.sweep_steps}"], weight)
                cell = run_cell(corpus, output / f"sweep{variant}-{recipe}-{weight:g}", config, benchmark, jobs)
                means = cell.groupby(["features", "benchmark"])["value"].mean()
                swept[weight] = float(means["embedding"].mean())
                logging.info("%s λ·d %g: %s, rank %.0f", recipe, weight, means.round(4).to_dict(), cell["rank"].iloc[0])
            choices |= {recipe: max(swept, key=lambda weight: swept[weight])}
            choices_file.write_text(json.dumps(choices, indent=2))
        return

    benchmark, results = FSMol(folder, part="test", support=sizes, draws=arguments.draws), []
    for seed in range(arguments.seeds):
        for recipe in chosen:
            corpus = corpus_of(recipe, output, data, jobs, variant, arguments.exclude)
            config = config_of(recipe, seed, arguments.changes, choices.get(recipe))
            directory = output / f"cell{variant}-{recipe}-{seed}"
            cell = run_cell(corpus, directory, config, benchmark, jobs)
            results.append(cell.assign(recipe=recipe, seed=seed))
            if not any((each["recipe"] == "controls").any() for each in results):
                names = ["counts", "untrained", "counts+untrained", "pca", "counts+pca"]
                controls = evaluated(directory / "run", output / f"controls{variant}", benchmark, names, jobs)
                results.append(controls.assign(recipe="controls", seed=0, rank=float("nan"), loss=float("nan")))
            table = pd.concat(results)
            table.to_csv(output / f"recipes{variant}.csv", index=False)
            print(report(table).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
