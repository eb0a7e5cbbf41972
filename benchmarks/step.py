"""How fast a training step is, against the matrix products it cannot avoid and against a plain loop as TwinBooster writes it.

    python benchmarks/step.py [--device cuda] [--threads 1] [--rounds 7] [--limit TFLOPS]

The network is that of the default preset (fingerprints 8,192 wide, 1,024 hidden, 512 embedding, projector 2 x 1,024) with batches of 1,024
molecules from RDKit's wheel. The roof: the floating-point operations of the step's matrix products at the rate of a large square product
measured beside it; ``--limit`` adds the share of a rate from the hardware's data sheet. On a CPU the first layer is an embedding bag, which
is no product: it is measured beside the step, and a second roof holds it too. Figures are medians; each ratio is taken in one round.
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
from molbt.training.allocation import kept_memory
from molbt.training.batches import SampleStore

BATCH = 1024


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
    return 2 * size**3 / statistics.median(_seconds(lambda: a @ b, device) for _ in range(3))


def _product_operations(config: RunConfig, device: torch.device) -> tuple[float, float]:
    """Operations of one step's dense products in the networks, and of the correlation matrix with its two gradients."""
    hidden, embedding = config.encoder["hidden"], config.encoder["embedding_dim"]
    widths = [*hidden, embedding, *config.projector.widths]
    layers = sum(a * b for a, b in itertools.pairwise(widths))
    networks = 2 * 3 * 2 * BATCH * layers  # two views; forward and two gradients; multiply and add
    if device.type != "cpu":  # the first layer is dense there; its input needs no gradient
        networks += 2 * 2 * 2 * BATCH * config.views["a"].build_modality().input_dim * hidden[0]  # type: ignore[attr-defined]
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
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--limit", type=float, help="the hardware's limit in bf16, in TFLOP/s of dense products")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    config = RunConfig.from_preset("default")
    with tempfile.TemporaryDirectory() as directory:
        work = _work(config, device, Path(directory))
        seconds: dict[str, list[float]] = {name: [] for name in work}
        rates: dict[str, list[float]] = {"fp32": [], "bf16": []}
        not_kept = work.pop(_NOT_KEPT, None)
        with kept_memory():
            for function in work.values():
                for _ in range(_WARM_UP):
                    function()
            for _ in range(arguments.rounds):
                for name, function in work.items():
                    seconds[name].append(_seconds(function, device))
                for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
                    rates[name].append(_product_rate(device, dtype))
        if not_kept is not None:
            not_kept()
            seconds[_NOT_KEPT] = [_seconds(not_kept, device) for _ in range(arguments.rounds)]
    clock = "wall" if device.type == "cuda" else "CPU"
    print(f"{device}, {arguments.threads} threads, {clock} seconds, medians of {arguments.rounds} rounds; products: "
          f"{statistics.median(rates['fp32']) / 1e9:,.0f} fp32 and {statistics.median(rates['bf16']) / 1e9:,.0f} bf16 GFLOP/s")  # fmt: skip
    for name, values in seconds.items():
        value = statistics.median(values)
        print(f"{name:>34}: {value * 1e3:8.1f} ms per batch of {BATCH}, {BATCH / value:9,.0f} molecules/s")
    networks, correlation = _product_operations(config, device)
    for precision in ("fp32", "bf16"):
        # The correlation matrix is computed in float32 in both precisions.
        floors = [networks / rate + correlation / fp32 for rate, fp32 in zip(rates[precision], rates["fp32"], strict=True)]
        steps = seconds[f"step {precision}"]
        shares = [floor / step for floor, step in zip(floors, steps, strict=True)]
        line = f"{precision}: dense products alone {_median(floors) * 1e3:.1f} ms; the step reaches {_median(shares):.0%} of that roof"
        if _BAG in seconds:
            with_bag = [(floor + bag) / step for floor, bag, step in zip(floors, seconds[_BAG], steps, strict=True)]
            line += f", {_median(with_bag):.0%} of products and embedding bag together"
        print(line)
    for name, whole, part in _RATIOS:
        if whole in seconds and part in seconds:
            ratios = [a / b for a, b in zip(seconds[whole], seconds[part], strict=True)]
            print(f"{name}: {_median(ratios):.3g}")
    if arguments.limit:
        limit = arguments.limit * 1e12 / (networks + correlation) * BATCH
        reached = BATCH / statistics.median(seconds["step bf16"])
        print(f"bf16: {reached:,.0f} molecules/s beside the {limit:,.0f} that {arguments.limit:g} TFLOP/s allow: {reached / limit:.0%}")


_BAG, _NOT_KEPT, _PLAIN = "embedding bag alone, two views", "step bf16, memory not kept", "plain loop fp32"
_WARM_UP = 3  # runs before memory has settled
_RATIOS = (
    ("plain loop / step fp32", _PLAIN, "step fp32"),
    ("plain loop / step bf16", _PLAIN, "step bf16"),
    ("memory not kept / step bf16", _NOT_KEPT, "step bf16"),
    ("loading and augmenting / step bf16", "load and augment", "step bf16"),
)


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _work(config: RunConfig, device: torch.device, directory: Path) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name."""
    corpus = prepare(embedded_molecules().head(4096), config, directory=directory / "corpus")
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

    work: dict[str, Callable[[], object]] = {
        "load and augment": load,
        "step fp32": lambda: step("fp32"),
        "step bf16": lambda: step("bf16"),
    }
    if device.type == "cpu":
        view = config.views["a"]
        dense = twin.modalities["a"].dense(corpus.columns(view), np.arange(BATCH)).toarray()
        work |= {_NOT_KEPT: lambda: step("bf16"), _BAG: _bag_alone(store), _PLAIN: _plain_step(dense, device)}
    return work


def _bag_alone(store: SampleStore) -> Callable[[], object]:
    """The first layer of two views with the gradient of its weight, and nothing else."""
    batches = list(store.batch(0, 0, BATCH).all_views().values())
    weight = torch.randn(batches[0].width, 1024, requires_grad=True)
    gradient = torch.randn(BATCH, 1024)

    def bag() -> None:
        for batch in batches:
            output = torch.nn.functional.embedding_bag(
                batch.ids, weight, batch.offsets, mode="sum", per_sample_weights=batch.weights, include_last_offset=True
            )
            output.backward(gradient)
        weight.grad = None

    return bag


if __name__ == "__main__":
    main()
