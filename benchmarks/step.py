"""How fast a training step is, against the matrix products it cannot avoid and against a plain loop as TwinBooster writes it.

    python benchmarks/step.py [--device cuda]

The network is that of the default preset (fingerprints 8,192 wide, 1,024 hidden, 512 embedding, projector 2 x 1,024) with batches of 1,024
molecules from RDKit's wheel. The roof: the floating-point operations of the step's matrix products at the rate of a large square product
measured beside it. Figures are medians; each ratio is taken in one run, in turn.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from molbt.config import RunConfig
from molbt.data.corpus import prepare
from molbt.data.sources import embedded_molecules
from molbt.model.twin_model import TwinModel
from molbt.objectives.barlow_twins import BarlowTwins
from molbt.objectives.base import StepContext, Views
from molbt.training.batches import SampleStore

BATCH, ROUNDS = 1024, 7


def _seconds(function: Callable[[], object], device: torch.device) -> float:
    """CPU seconds of the process on a CPU (other load does not count), wall seconds on a GPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = clock()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def _product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a square matrix product."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    a @ b
    return 2 * size**3 / statistics.median(_seconds(lambda: a @ b, device) for _ in range(ROUNDS))


def _product_operations(config: RunConfig) -> tuple[float, float]:
    """Operations of one step's dense products in the networks, and of the correlation matrix with its two gradients."""
    hidden, embedding = config.encoder["hidden"], config.encoder["embedding_dim"]
    widths = [*hidden, embedding, *config.projector.widths]
    layers = sum(a * b for a, b in itertools.pairwise(widths))
    networks = 2 * 3 * 2 * BATCH * layers  # two views; forward and two gradients; multiply and add
    return float(networks), float(3 * 2 * BATCH * config.projector.widths[-1] ** 2)


def _plain_step(values: np.ndarray, device: torch.device) -> Callable[[], object]:
    """A step as TwinBooster and BarlowDTI write it: dense float rows one by one, float masks, an out-of-place loss, a looped optimiser."""
    net = torch.nn.Sequential(
        torch.nn.Linear(8192, 1024), torch.nn.BatchNorm1d(1024), torch.nn.SiLU(), torch.nn.Linear(1024, 512),
        torch.nn.Linear(512, 1024), torch.nn.BatchNorm1d(1024), torch.nn.SiLU(), torch.nn.Linear(1024, 1024),
    ).to(device)  # fmt: skip
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, foreach=False, fused=False)

    def step() -> None:
        rows = torch.stack([torch.tensor(row, dtype=torch.float32) for row in values]).to(device)
        views = [rows * (torch.rand_like(rows) > 0.15) for _ in range(2)]
        a, b = (net(view) for view in views)
        a, b = ((z - z.mean(0)) / z.std(0) for z in (a, b))
        c = a.T @ b / len(a)
        difference = (c - torch.eye(c.shape[0], device=device)).pow(2)
        weights = torch.full_like(c, 128 / c.shape[0]).fill_diagonal_(1.0)
        loss = (difference * weights).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    config = RunConfig.from_preset("default")
    with tempfile.TemporaryDirectory() as directory:
        corpus = prepare(embedded_molecules().head(4096), config, directory=Path(directory) / "corpus")
        samples = corpus.samples(config)
        columns = {name: corpus.columns(view) for name, view in config.views.items()}
        twin = TwinModel(config, {}).to(device).train()
        store = SampleStore(twin.modalities, columns, samples, seed=0, device=device)
        rows = torch.arange(BATCH, device=device)
        objective = BarlowTwins(redundancy_weight=128.0)
        optimiser = torch.optim.AdamW(twin.parameters(), lr=1e-3, fused=True)
        numbers = itertools.count()

        def load() -> object:
            return store.batch(next(numbers), 0, BATCH).all_views()

        def step(precision: str) -> None:
            batch = store.batch(next(numbers), 0, BATCH)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
                context = StepContext(pairs=config.pairs, draws=batch.draws("bt"), step_draws=batch.step_draws("bt", 0))
                loss = objective.step(twin, Views(twin, batch, rows, BATCH), context).loss
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()

        dense = (
            next(iter(twin.modalities.values())).dense(corpus.columns(config.views["a"]), np.arange(BATCH)).toarray()
            if device.type == "cpu"
            else None
        )
        plain = _plain_step(dense, device) if dense is not None else None
        work = {"load and augment": load, "step fp32": lambda: step("fp32"), "step bf16": lambda: step("bf16")}
        if plain is not None:
            work["plain loop fp32"] = plain
        for function in work.values():
            function()
        seconds: dict[str, list[float]] = {name: [] for name in work}
        rates: dict[str, list[float]] = {"fp32": [], "bf16": []}
        for _ in range(ROUNDS):
            for name, function in work.items():
                seconds[name].append(_seconds(function, device))
            for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
                rates[name].append(_product_rate(device, dtype))
    networks, correlation = _product_operations(config)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rate = {name: statistics.median(values) for name, values in rates.items()}
    # The correlation matrix is computed in float32 in both precisions.
    floors = {"fp32": (networks + correlation) / rate["fp32"], "bf16": networks / rate["bf16"] + correlation / rate["fp32"]}
    clock = "wall" if device.type == "cuda" else "CPU"
    print(f"{device}, {arguments.threads} threads, {clock} seconds, medians of {ROUNDS}; products: {rate['fp32'] / 1e9:.0f} fp32 and "
          f"{rate['bf16'] / 1e9:.0f} bf16 GFLOP/s")  # fmt: skip
    for name, value in medians.items():
        print(f"{name:>18}: {value * 1e3:8.1f} ms per batch of {BATCH}, {BATCH / value:9,.0f} molecules/s")
    for precision, floor in floors.items():
        share = floor / medians[f"step {precision}"]
        print(f"{precision}: dense products alone {floor * 1e3:.1f} ms; the step reaches {share:.0%} of that roof")
    print(f"loading and augmenting: {medians['load and augment'] / medians['step bf16']:.1%} of a bf16 step")
    if plain is not None:
        for precision in ("fp32", "bf16"):
            ratios = [a / b for a, b in zip(seconds["plain loop fp32"], seconds[f"step {precision}"], strict=True)]
            print(f"plain loop / step {precision}: {statistics.median(ratios):.2f} (median of ratios taken in turn)")


if __name__ == "__main__":
    main()
