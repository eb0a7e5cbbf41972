"""Time of a step of every objective relative to Barlow Twins: same molecules, views, encoder and projector, in turns in one process.

python benchmarks/objective_steps.py [--objectives vicreg,byol] [--rounds 9] [--batch-size 512]
"""

import argparse
import importlib.util
import statistics
import tempfile
import time
from pathlib import Path
from types import ModuleType

import torch

from molbt.data.corpus import Corpus, prepare
from molbt.data.sources import embedded_molecules
from molbt.model.twin_model import TwinModel
from molbt.objectives.base import StepContext, Views
from molbt.training.batches import SampleStore
from molbt.training.schedule import optimiser_groups


def _comparison() -> ModuleType:
    """Return ``objectives.py`` beside this file, whose shapes are measured."""
    spec = importlib.util.spec_from_file_location("objectives_comparison", Path(__file__).with_name("objectives.py"))
    if spec is None or spec.loader is None:
        raise FileNotFoundError("objectives.py is not beside this file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Stepper:
    """An objective and its twin, ready to take steps as the trainer does, in float32."""

    def __init__(self, name: str, comparison: ModuleType, corpus: Corpus, batch_size: int) -> None:
        self.config = comparison.config_of(name, 0, [])
        samples = corpus.samples(self.config)
        columns = {view: corpus.columns(settings) for view, settings in self.config.views.items()}
        torch.manual_seed(0)
        self.twin = TwinModel(self.config, {}).train()
        self.objective = self.config.objectives[0].build()
        self.objective.build(self.twin, pairs=self.config.pairs, n_tasks={})
        self.store = SampleStore(self.twin.modalities, columns, samples, seed=0, device=torch.device("cpu"))
        self.optimiser = torch.optim.AdamW(optimiser_groups(self.twin, [self.objective], weight_decay=1e-4), lr=1e-3, fused=True)
        self.batch_size, self.n_steps = batch_size, 0

    def step(self) -> float:
        """CPU seconds of one step; the batch is there before."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", help="separated by commas; all by default")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch-size", type=int, default=512)
    arguments = parser.parse_args()
    comparison = _comparison()
    chosen = arguments.objectives.split(",") if arguments.objectives else comparison.names()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        molecules = embedded_molecules().head(4 * arguments.batch_size)
        corpus = prepare(molecules, comparison.config_of("simtriplet", 0, []), directory=Path(directory) / "corpus")
        steppers = {name: Stepper(name, comparison, corpus, arguments.batch_size) for name in dict.fromkeys(["barlow_twins", *chosen])}
        seconds: dict[str, list[float]] = {name: [] for name in steppers}
        for _ in range(arguments.rounds + 1):
            for name, stepper in steppers.items():
                seconds[name].append(stepper.step())
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values[1:], seconds["barlow_twins"][1:], strict=True)]  # the first round warms up
        print(f"{name:>20}: {statistics.median(values[1:]) * 1e3:8.1f} ms, {statistics.median(ratios):.2f} × barlow_twins")


if __name__ == "__main__":
    main()
