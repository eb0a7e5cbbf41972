"""Every objective on the same molecules, encoder and views: frozen probes beside their controls, and the time of a step.

    python benchmarks/objectives.py -o runs/objectives table.smi [--objectives vicreg,byol] [--seeds 3] [--tasks 12]
    python benchmarks/objectives.py -o runs/objectives --time [--rounds 9]

A cell is an objective and a seed: a run and the results of its probes in ``OUTPUT/<objective>-<seed>``. Finished cells are read, and a
stopped one goes on where it was. The probes are the embedding alone under LightGBM and a ridge regression on the first tasks of MoleculeACE
(``MOLBT_DATA``), beside the same encoder untrained and plain counts. ``--time`` measures steps of all objectives in turns in one process,
relative to Barlow Twins.
"""

import argparse
import logging
import statistics
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from molbt import RunConfig, pretrain, registry
from molbt.config_sections import ObjectiveConfig
from molbt.data.corpus import Corpus, prepare
from molbt.data.sources import data_dir, embedded_molecules
from molbt.evaluation.benchmarks.moleculeace import MoleculeACE
from molbt.evaluation.controls import control_features
from molbt.evaluation.encoder_features import encoder_features
from molbt.evaluation.protocol import evaluate
from molbt.evaluation.statistics import paired_differences, summarise
from molbt.model.twin_model import TwinModel
from molbt.objectives.base import StepContext, Views
from molbt.training.batches import SampleStore
from molbt.training.schedule import optimiser_groups

HEADS = ("lightgbm", "ridge")
SETTINGS = ("encoder.embedding_dim=256", "encoder.hidden=[512]", "trainer.epochs=8")
THIRD_VIEW = {"simtriplet": {"views": {"c": {"like": "a", "drop": 0.3}}, "pairs": [["a", "b"], ["a", "c"]]}}
"""SimTriplet needs a third view: a stronger augmentation, where no column of neighbours is given."""


def names() -> list[str]:
    """Objectives over pairs of views, which need no labels."""
    found = [name for name in registry.available("objectives") if not registry.find("objectives", name).requires_labels]
    return [name for name in found if name != "regression"]


def config_of(objective: str, seed: int, changes: list[str]) -> RunConfig:
    preset = RunConfig.from_preset("default", changes=[*SETTINGS, *changes, f"trainer.seed={seed}"]).as_dict()
    extra = THIRD_VIEW.get(objective, {})
    third = {
        name: {**preset["views"]["a"], **{k: v for k, v in view.items() if k != "like"}} for name, view in extra.get("views", {}).items()
    }
    pairs = extra.get("pairs", preset["pairs"])
    return RunConfig.from_dict({**preset, "views": {**preset["views"], **third}, "pairs": pairs, "objectives": [{"name": objective}]})


def run_cell(corpus: Corpus, directory: Path, config: RunConfig, benchmark: MoleculeACE, jobs: int) -> pd.DataFrame:
    """Train and probe one cell, or what is left of it."""
    model = pretrain(corpus, directory / "run", config=config, resume=True).directory
    features = encoder_features(model, directory, n_jobs=jobs)
    sets = control_features(features.learned, ["embedding"], policy=features.policy, n_jobs=jobs)
    return evaluate(
        benchmark, sets, HEADS, n_jobs=jobs, results_path=directory / "results.csv", identities=features.identities, progress=logging.info
    )


def report(results: pd.DataFrame) -> None:
    """Print means over tasks and the paired difference to the untrained encoder, per objective and head."""
    results = results[results["metric"] == "rmse"]
    for (objective, seed), cell in results.groupby(["objective", "seed"], sort=False):
        means = summarise(cell).set_index(["features", "head"])["mean"]
        for head in HEADS:
            differences = paired_differences(cell[cell["head"] == head], ("untrained", head)).set_index("features")
            row = differences.loc["embedding"]
            values = "  ".join(f"{name} {means[name, head]:.3f}" for name in ("counts", "untrained", "embedding"))
            interval = f"{row['mean_difference']:+.3f} ({row['ci_low']:+.3f} to {row['ci_high']:+.3f})"
            print(f"{objective:>20} seed {seed} × {head:<8} {values}  to untrained {interval}")


class Stepper:
    """An objective and its twin, ready to take steps as the trainer does."""

    def __init__(self, name: str, corpus: Corpus, batch_size: int) -> None:
        self.config = config_of(name, 0, [])
        samples = corpus.samples(self.config)
        columns = {view: corpus.columns(settings) for view, settings in self.config.views.items()}
        torch.manual_seed(0)
        self.twin = TwinModel(self.config, {}).train()
        self.objective = ObjectiveConfig(name=name).build()
        self.objective.build(self.twin, pairs=self.config.pairs, n_tasks={})
        self.store = SampleStore(self.twin.modalities, columns, samples, seed=0, device=torch.device("cpu"))
        self.optimiser = torch.optim.AdamW(optimiser_groups(self.twin, [self.objective], weight_decay=1e-4), lr=1e-3, fused=True)
        self.batch_size, self.n_steps = batch_size, 0

    def step(self) -> float:
        """CPU seconds of one step."""
        batch = self.store.batch(0, self.n_steps % (len(self.store) // self.batch_size), self.batch_size)
        rows = torch.arange(len(batch))
        started = time.process_time()
        context = StepContext(
            pairs=self.config.pairs,
            draws=batch.draws("objective"),
            step_draws=batch.step_draws("objective", self.n_steps),
            entities=batch.entities(rows),
        )
        loss = self.objective.step(self.twin, Views(self.twin, batch, rows, len(batch)), context).loss
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            self.objective.after_step(self.twin, 0.0)
        self.n_steps += 1
        return time.process_time() - started


def measure_steps(chosen: list[str], rounds: int, batch_size: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        corpus = prepare(embedded_molecules().head(4 * batch_size), config_of("simtriplet", 0, []), directory=Path(directory) / "corpus")
        steppers = {name: Stepper(name, corpus, batch_size) for name in dict.fromkeys(["barlow_twins", *chosen])}
        seconds: dict[str, list[float]] = {name: [] for name in steppers}
        for _ in range(rounds + 1):
            for name, stepper in steppers.items():
                seconds[name].append(stepper.step())
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values[1:], seconds["barlow_twins"][1:], strict=True)]  # the first round warms up
        print(f"{name:>20}: {statistics.median(values[1:]) * 1e3:8.1f} ms, {statistics.median(ratios):.2f} × barlow_twins")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "molecules", nargs="?", help="a table, file of SMILES or prepared corpus; the molecules that come with RDKit by default"
    )
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--objectives", help="separated by commas; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=12)
    parser.add_argument("--set", action="append", default=[], dest="changes", help="trainer.epochs=8")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--time", action="store_true", help="measure steps, and train nothing")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch-size", type=int, default=1024, help="of --time")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    chosen = arguments.objectives.split(",") if arguments.objectives else names()
    if arguments.time:
        measure_steps(chosen, arguments.rounds, arguments.batch_size)
        return
    source = arguments.molecules or embedded_molecules()
    corpus = prepare(source, config_of("simtriplet", 0, arguments.changes), directory=arguments.output / "corpus", n_jobs=arguments.jobs)
    benchmark = MoleculeACE(data_dir(None), limit=arguments.tasks)
    results = []
    for seed in range(arguments.seeds):
        for objective in chosen:
            config = config_of(objective, seed, arguments.changes)
            cell = run_cell(corpus, arguments.output / f"{objective}-{seed}", config, benchmark, arguments.jobs)
            results.append(cell.assign(objective=objective, seed=seed))
    table = pd.concat(results)
    table.to_csv(arguments.output / "objectives.csv", index=False)
    report(table)


if __name__ == "__main__":
    main()
