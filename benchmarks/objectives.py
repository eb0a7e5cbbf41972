"""Every objective on the same molecules, encoder and views: frozen probes beside their controls.

    python benchmarks/objectives.py -o runs/objectives table.parquet --sweep     # chooses each objective's main weight
    python benchmarks/objectives.py -o runs/objectives table.parquet             # trains and probes with what was chosen

A cell is an objective, a value of its main weight and a seed: a run and the results of its probes in a folder of its own below ``OUTPUT``.
Finished cells are read, and a stopped one goes on where it was. The probes are heads on the frozen embedding alone: tasks of MoleculeACE
(``MOLBT_DATA``), whose molecules are not trained on. ``--sweep`` trains for a quarter of the epochs with one seed and compares values on
other targets than those of the table. Controls: the same encoder untrained, principal components of its inputs, and plain counts.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from molbt import RunConfig, pretrain, registry
from molbt.data.corpus import Corpus, prepare
from molbt.data.preparing import Entries, prepare_blocks
from molbt.data.sources import data_dir, embedded_molecules
from molbt.data.tables import read_table
from molbt.evaluation.benchmarks.moleculeace import MoleculeACE
from molbt.evaluation.controls import control_features
from molbt.evaluation.encoder_features import encoder_features
from molbt.evaluation.leakage import benchmark_exclusions
from molbt.evaluation.protocol import evaluate
from molbt.evaluation.statistics import paired_differences, summarise
from molbt.featurizer import encode_columns
from molbt.model.checkpoint import find_model, from_pretrained, read_config
from molbt.predict.features import Embed, feature_builders

HEADS = ("ridge", "knn", "lightgbm")
FINGERPRINT = {"modality": "fingerprint", "column": "smiles", "kinds": ["ecfp4", "atom_pair"], "counts": True, "width": 2048}
BASE: dict[str, Any] = {
    "views": {"a": {**FINGERPRINT, "drop": 0.15}, "b": {"like": "a"}},
    "pairs": [["a", "b"]],
    "encoder": {"hidden": [512], "embedding_dim": 256},
    "projector": {"widths": [1024, 256]},
    "trainer": {"epochs": 8, "batch_size": 512, "learning_rate": 1e-3},
}
SETTINGS: dict[str, dict[str, Any]] = {
    # A third view: a stronger augmentation, where no column of neighbours is given.
    "simtriplet": {"views": {**BASE["views"], "c": {**FINGERPRINT, "drop": 0.3}}, "pairs": [["a", "b"], ["a", "c"]]},
    # Three layers, as in the paper, would make its step ten times as long as the others'.
    "all4one": {"objective": {"layers": 1}},
}
MAIN_WEIGHT: dict[str, tuple[str, tuple[float, ...]]] = {
    "barlow_twins": ("redundancy_weight", (16.0, 128.0, 512.0)),
    "hsic": ("redundancy_weight", (1.0, 16.0, 128.0)),
    "mixed_barlow_twins": ("mixing_weight", (1.0, 4.0)),
    "vicreg": ("covariance_weight", (1.0, 10.0)),
    "simclr": ("temperature", (0.1, 0.5)),
    "moco": ("temperature", (0.07, 0.2)),
    "byol": ("momentum", (0.9, 0.99)),
    "nnclr": ("temperature", (0.1, 0.3)),
    "tico": ("contrast_weight", (8.0, 32.0)),
    "twist": ("diversity_weight", (1.0, 2.0)),
    "all4one": ("temperature", (0.07, 0.2)),
    "amcl": ("cost_weight", (0.01, 0.1)),
}
"""SimSiam and SimTriplet have no weight to choose."""


def names() -> list[str]:
    """Objectives over pairs of views of molecules, which need no labels."""
    found = [name for name in registry.available("objectives") if not registry.find("objectives", name).requires_labels]
    return [name for name in found if name not in ("regression", "matching", "signed_barlow_twins")]


def config_of(objective: str, seed: int, changes: list[str], value: float | None = None) -> RunConfig:
    """Return the run's configuration; the value is that of the objective's main weight."""
    settings = dict(SETTINGS.get(objective, {}))
    term = {"name": objective, **settings.pop("objective", {})}
    if value is not None:
        term[MAIN_WEIGHT[objective][0]] = value
    return RunConfig.from_dict({**BASE, **settings, "objectives": [term]}, changes=[*changes, f"trainer.seed={seed}"])


class FrozenFeatures:
    """Embeddings of the probes' molecules, which are prepared once for all runs: these share their views."""

    def __init__(self, config: RunConfig, jobs: int) -> None:
        self.modality, self.policy, self.jobs = config.views["a"].build_modality(), config.molecules.policy(), jobs
        self._prepared: dict[tuple[str, ...], Entries] = {}

    def of(self, model: Path) -> Embed:
        """Return what turns SMILES into the embeddings ``(n, width)`` of a run's encoder, NaN where a molecule was refused."""
        twin = from_pretrained(find_model(model))

        def embed(smiles: Sequence[str]) -> np.ndarray:
            ready = self._ready(tuple(smiles))
            values = encode_columns(twin, "a", ready.columns, len(smiles), "embedding", 1024, torch.device("cpu"))
            values[[bool(reason) for reason in ready.reasons]] = np.nan
            return values

        return embed

    def _ready(self, smiles: tuple[str, ...]) -> Entries:
        if smiles not in self._prepared:
            blocks = prepare_blocks([self.modality], smiles, self.policy, n_jobs=self.jobs, block_size=len(smiles))
            self._prepared[smiles] = next(iter(blocks))[0]
        return self._prepared[smiles]


def run_cell(
    corpus: Corpus, directory: Path, config: RunConfig, benchmark: MoleculeACE, heads: tuple[str, ...], frozen: FrozenFeatures
) -> pd.DataFrame:
    """Train and probe one cell, or what is left of it, and return its scores beside the rank of its embedding."""
    run = pretrain(corpus, directory / "run", config=config, resume=True)
    sets = feature_builders(["embedding"], learned={"embedding": frozen.of(run.directory)}, policy=frozen.policy)
    hashes = {"embedding": read_config(find_model(run.directory))["sha256"]}
    scores = evaluate(benchmark, list(sets.items()), heads, results_path=directory / "results.csv", identities=hashes)
    last = run.metrics.iloc[-1]
    return scores.assign(rank=last["embedding_rank.a"], loss=last["loss"])


def run_controls(run: Path, directory: Path, benchmark: MoleculeACE, jobs: int) -> pd.DataFrame:
    """Return the scores of counts, of the components of the encoder's inputs, and of the encoder untrained."""
    features = ["counts", "pca", "untrained"]
    encoder = encoder_features(run, directory, n_jobs=jobs)
    sets = [each for each in control_features(encoder.learned, features, policy=encoder.policy, n_jobs=jobs) if each[0] in features]
    hashes = {name: value for name, value in encoder.identities.items() if name in features}
    scores = evaluate(benchmark, sets, HEADS, n_jobs=jobs, results_path=directory / "results.csv", identities=hashes)
    return scores.assign(objective="controls", seed=0, rank=float("nan"))


def report(results: pd.DataFrame) -> pd.DataFrame:
    """Return means over tasks and seeds, and the paired difference to the untrained encoder with its interval over tasks."""
    results = results[results["metric"] == "rmse"]
    mean = results.groupby(["objective", "features", "head", "task", "metric", "split"], as_index=False).agg(
        value=("value", "mean"), rank=("rank", "mean"), seeds=("seed", "nunique")
    )
    controls = mean[mean["objective"] == "controls"]
    rows = []
    for objective, cell in mean.groupby("objective", sort=False):
        together = pd.concat([controls[controls["features"] == "untrained"], cell[cell["features"] == "embedding"]])
        for (features, head), part in cell.groupby(["features", "head"]):
            row = {"objective": objective, "features": features, "head": head, "rmse": part["value"].mean(), "seeds": part["seeds"].min()}
            if objective != "controls":
                filled = together[together["head"] == head].assign(
                    benchmark="moleculeace", repeat=0, fraction=1.0, data_set=together["task"]
                )
                differences = paired_differences(filled, ("untrained", head)).set_index("features").loc["embedding"]
                row |= {"to_untrained": differences["mean_difference"], "low": differences["ci_low"], "high": differences["ci_high"]}
                row["rank"] = part["rank"].mean()
            rows.append(row)
    return pd.DataFrame(rows)


def choose(results: pd.DataFrame) -> dict[str, float]:
    """Return the value of each objective's main weight with the least mean error under the ridge regression."""
    means = results[(results["metric"] == "rmse") & (results["head"] == "ridge")].groupby(["objective", "weight"])["value"].mean()
    print(means.unstack("weight").to_string(float_format="{:.4f}".format))
    return {objective: float(means[objective].idxmin()) for objective in means.index.get_level_values(0).unique()}


def molecules_of(table: str | None, n: int) -> pd.DataFrame:
    """Return so many rows of a table, the same in every run; without those that a column marks as FS-Mol's evaluated molecules."""
    if table is None:
        return embedded_molecules().head(n)
    frame = read_table(table).frame
    if "in_fsmol_valid_or_test" in frame:
        frame = frame[~frame["in_fsmol_valid_or_test"].astype(str).str.lower().eq("true")]
    return frame[["smiles"]].sample(min(n, len(frame)), random_state=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", help="molecules; those that come with RDKit by default")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--sweep", action="store_true", help="choose each objective's main weight, and keep it in OUTPUT/choices.json")
    parser.add_argument("--objectives", help="separated by commas; all by default")
    parser.add_argument("--molecules", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=12)
    parser.add_argument("--set", action="append", default=[], dest="changes", help="trainer.epochs=8")
    parser.add_argument("--variant", default="", help="part of the folders' names, for runs with other settings beside these")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    output, jobs, changes = arguments.output, arguments.jobs, arguments.changes
    chosen = arguments.objectives.split(",") if arguments.objectives else names()
    data = data_dir(None)
    source = molecules_of(arguments.table, arguments.molecules)
    corpus = prepare(
        source,
        config_of("simtriplet", 0, []),
        directory=output / "corpus",
        exclude=benchmark_exclusions(["moleculeace"], data),
        n_jobs=jobs,
    )
    targets = MoleculeACE(data).targets
    probes, others = targets[: arguments.tasks], targets[arguments.tasks :]
    frozen = FrozenFeatures(config_of("barlow_twins", 0, changes), jobs)
    choices_file = output / "choices.json"

    if arguments.sweep:
        epochs = max(1, config_of("barlow_twins", 0, changes).trainer.epochs // 4)
        swept = []
        for objective in [name for name in chosen if name in MAIN_WEIGHT]:
            for value in MAIN_WEIGHT[objective][1]:
                config = config_of(objective, 0, [*changes, f"trainer.epochs={epochs}"], value)
                directory = output / f"sweep{arguments.variant}-{objective}-{value:g}"
                cell = run_cell(corpus, directory, config, MoleculeACE(data, targets=others), HEADS[:1], frozen)
                swept.append(cell.assign(objective=objective, weight=value))
        before = json.loads(choices_file.read_text()) if choices_file.is_file() else {}
        choices_file.write_text(json.dumps(before | choose(pd.concat(swept)), indent=2))
        return

    choices = json.loads(choices_file.read_text()) if choices_file.is_file() else {}
    benchmark, results = MoleculeACE(data, targets=probes), []
    for seed in range(arguments.seeds):
        for objective in chosen:
            config = config_of(objective, seed, changes, choices.get(objective))
            directory = output / f"cell{arguments.variant}-{objective}-{seed}"
            cell = run_cell(corpus, directory, config, benchmark, HEADS, frozen)
            results.append(cell.assign(objective=objective, seed=seed))
            logging.info("%s seed %d: %s", objective, seed, summarise(cell).set_index("head")["mean"].round(4).to_dict())
            if not any((each["objective"] == "controls").any() for each in results):
                results.append(run_controls(directory / "run", output / f"controls{arguments.variant}", benchmark, jobs))
        table = pd.concat(results)
        table.to_csv(output / f"objectives{arguments.variant}.csv", index=False)
        print(report(table).to_string(index=False, float_format="{:.4f}".format), flush=True)


if __name__ == "__main__":
    main()
