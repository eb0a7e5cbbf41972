"""The Barlow Twins loss, forward and backward: agreement of its forms, time and memory against the textbook's d × d matrix.

Run ``python benchmarks/loss.py``; it takes about two minutes. Times are CPU seconds of one thread (medians), so another program on the
machine disturbs them little. Memory is what the resident set grows by at its peak, in a fresh process, gradients of the inputs included.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from molbt.objectives.barlow_twins import GRAM_BELOW, BarlowTwins

LAMBDA = 0.0051
N_ROWS, WIDTH = 256, 8192
SWEEP_WIDTH, SWEEP_ROWS = 2048, (512, 1024, 1280, 1536, 1792, 2048, 4096)


def textbook(z_a: Tensor, z_b: Tensor) -> Tensor:
    """The whole correlation matrix, its off-diagonal entries through a strided view, nothing in place."""
    norm = nn.BatchNorm1d(z_a.shape[1], affine=False).to(z_a.dtype)
    c = norm(z_a).T @ norm(z_b) / len(z_a)
    width = len(c)
    off_diagonal = c.flatten()[1:].view(width - 1, width + 1)[:, :-1]
    return (c.diagonal() - 1).pow(2).sum() + LAMBDA * off_diagonal.flatten().pow(2).sum()


def official(z_a: Tensor, z_b: Tensor) -> Tensor:
    """The same with the matrix changed in place, as the authors' code does."""
    norm = nn.BatchNorm1d(z_a.shape[1], affine=False).to(z_a.dtype)
    c = (norm(z_a).T @ norm(z_b)).div_(len(z_a))
    width = len(c)
    invariance = c.diagonal().add_(-1).pow_(2).sum()
    return invariance + LAMBDA * c.flatten()[1:].view(width - 1, width + 1)[:, :-1].flatten().pow_(2).sum()


def ours(form: str) -> Callable[[Tensor, Tensor], Tensor]:
    objective = BarlowTwins(redundancy_lambda=LAMBDA, form=form)
    return lambda z_a, z_b: objective.loss(z_a, z_b).loss


LOSSES = {"official": official, "textbook": textbook, "matrix": ours("matrix"), "gram": ours("gram")}


def views(n_rows: int, width: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    z_a = torch.randn(n_rows, width, generator=generator, dtype=torch.float64)
    z_b = z_a + 0.5 * torch.randn(n_rows, width, generator=generator, dtype=torch.float64)
    return [z.to(dtype).requires_grad_() for z in (z_a, z_b)]


def run(name: str, leaves: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Value, and the gradients of both views in one tensor."""
    loss = LOSSES[name](*leaves)
    return loss.detach(), torch.cat(torch.autograd.grad(loss, leaves))


def cpu_seconds(name: str, leaves: list[Tensor], repeats: int) -> float:
    def once() -> float:
        start = time.process_time()
        torch.autograd.grad(LOSSES[name](*leaves), leaves)
        return time.process_time() - start

    once()
    return median(once() for _ in range(repeats))


def resident(field: str) -> int:
    """A figure of /proc/self/status in bytes. (``ru_maxrss`` is inherited from the parent.)"""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))


def measure(name: str) -> None:
    """In a process of its own: print the peak memory and the time of one form as JSON."""
    run(name, views(4, 8))  # loads the libraries' code before memory is compared
    leaves = views(N_ROWS, WIDTH)
    before = resident("VmRSS")
    gradients = torch.autograd.grad(LOSSES[name](*leaves), leaves)
    peak = resident("VmHWM") - before
    del gradients
    print(json.dumps({"peak": peak, "seconds": cpu_seconds(name, leaves, 9 if name == "gram" else 3)}))


def compare_with_textbook() -> None:
    results = {}
    for name in LOSSES:
        child = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True, timeout=600)
        results[name] = json.loads(child.stdout)
    print(f"\nForward and backward, N = {N_ROWS}, d = {WIDTH}, float32, one thread (textbook / this form)")
    reference = results["textbook"]
    for name, result in results.items():
        faster, smaller = reference["seconds"] / result["seconds"], reference["peak"] / result["peak"]
        print(f"  {name:9s} {1e3 * result['seconds']:6.0f} ms ({faster:4.1f} ×) {result['peak'] / 1e6:6.0f} MB ({smaller:4.1f} ×)")


def compare_values() -> None:
    print("Agreement with the textbook in float64 (relative; the whole gradient by its norm)")
    for n_rows, width in ((256, 512), (64, 2048)):
        value, gradient = run("textbook", views(n_rows, width, torch.float64))
        for name in ("matrix", "gram"):
            for dtype in (torch.float64, torch.float32):
                ours_value, ours_gradient = (x.double() for x in run(name, views(n_rows, width, dtype)))
                value_error = abs(ours_value - value) / value
                gradient_error = (ours_gradient - gradient).norm() / gradient.norm()
                label = f"N = {n_rows:3d}, d = {width:4d}, {name:6s} {str(dtype).removeprefix('torch.')}"
                print(f"  {label:40s} value {value_error:.1e}   gradient {gradient_error:.1e}")


def sweep() -> None:
    print(f"\nWhere the forms cross, d = {SWEEP_WIDTH}, float32, one thread (CPU ms)")
    for n_rows in SWEEP_ROWS:
        leaves = views(n_rows, SWEEP_WIDTH)
        seconds = {name: cpu_seconds(name, leaves, 5) for name in ("matrix", "gram")}
        gram, matrix = (1e3 * seconds[name] for name in ("gram", "matrix"))
        chosen = "gram" if n_rows < GRAM_BELOW * SWEEP_WIDTH else "matrix"
        print(
            f"  N = {n_rows:4d} = {n_rows / SWEEP_WIDTH:5.3f} d   matrix {matrix:6.0f}   gram {gram:6.0f}   "
            f"gram / matrix {gram / matrix:4.2f}   auto takes {chosen}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        compare_values()
        compare_with_textbook()
        sweep()
