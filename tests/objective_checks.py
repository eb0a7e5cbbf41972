"""What tests of objectives share: gradients, a twin small enough for float64, and steps as the trainer takes them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from molbt.draws import Draws
from molbt.nn.batch_norm import BatchNorm
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Views

INPUT_DIM, EMBEDDING_DIM = 7, 9


def two_views(n: int, d: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Two correlated matrices that are neither centred nor of unit spread."""
    generator = torch.Generator().manual_seed(seed)
    common, noise_a, noise_b = (torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(3))
    return (common + 0.5 * noise_a + 0.3).to(dtype), (1.5 * common - noise_b - 0.2).to(dtype)


def value_and_gradients(function: Callable[..., Tensor], *tensors: Tensor) -> tuple[float, list[Tensor]]:
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    value = function(*leaves)
    return value.item(), list(torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True))


def assert_same_function(actual: Callable[..., Tensor], expected: Callable[..., Tensor], *tensors: Tensor, rel: float = 1e-10) -> None:
    """Value and every gradient; ``rel`` is that of the norms."""
    value, gradients = value_and_gradients(actual, *tensors)
    expected_value, expected_gradients = value_and_gradients(expected, *tensors)
    assert value == pytest.approx(expected_value, rel=rel, abs=1e-13)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        assert (gradient - other).norm() <= rel * other.norm() + 1e-13


class SmallEncoder(nn.Module):
    def __init__(self, *, is_norm_global: bool) -> None:
        super().__init__()
        norm = BatchNorm(12) if is_norm_global else nn.BatchNorm1d(12)
        self.layers = nn.Sequential(nn.Linear(INPUT_DIM, 12, bias=False), norm, nn.ReLU(), nn.Linear(12, EMBEDDING_DIM, bias=False))

    def forward(self, batch: Tensor, output: str = "embedding") -> Tensor:
        return self.layers(batch)

    def mix(self, batch_a: Tensor, batch_b: Tensor, alpha: Tensor) -> Tensor:
        return alpha * batch_a + (1 - alpha) * batch_b


class SmallTwin(nn.Module):
    """What an objective may use of a twin model. ``keys`` names the encoder of each view."""

    def __init__(self, keys: Mapping[str, str], *, projection_dim: int, is_norm_global: bool = True) -> None:
        super().__init__()
        self.keys = dict(keys)
        self.encoders = nn.ModuleDict({key: SmallEncoder(is_norm_global=is_norm_global) for key in sorted(set(keys.values()))})
        self.projectors = nn.ModuleDict({key: nn.Linear(EMBEDDING_DIM, projection_dim, bias=False) for key in self.encoders})
        self.width = projection_dim

    def encode(self, view: str, batch: Any, output: str = "embedding") -> Tensor:
        return self.encoder_of(view)(batch)

    def project(self, view: str, embedding: Tensor) -> Tensor:
        return self.projector_of(view)(embedding)

    def embedding_dim(self, view: str) -> int:
        return EMBEDDING_DIM

    def projection_dim(self, view: str) -> int:
        return self.width

    def encoder_key(self, view: str) -> str:
        return self.keys[view]

    def encoder_of(self, view: str) -> nn.Module:
        return self.encoders[self.keys[view]]

    def projector_of(self, view: str) -> nn.Module:
        return self.projectors[self.keys[view]]


class Inputs:
    """The views of a global batch, as matrices."""

    def __init__(self, matrices: Mapping[str, Tensor]) -> None:
        self.matrices = matrices

    def gather(self, view: str, positions: Tensor, *, augmented: bool = True) -> Tensor:
        return self.matrices[view][positions]


def global_batch(views: Sequence[str], n: int, *, step: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """A matrix for each view: the same rows, with noise."""
    generator = torch.Generator().manual_seed(step + 1)
    common = torch.randn(n, INPUT_DIM, generator=generator, dtype=torch.float64)
    return {view: (common + 0.5 * torch.randn(n, INPUT_DIM, generator=generator, dtype=torch.float64)).to(dtype) for view in views}


def scored(
    objective: Objective,
    twin: SmallTwin,
    matrices: Mapping[str, Tensor],
    pairs: Sequence[tuple[str, str]],
    *,
    rows: Tensor | None = None,
    step: int = 0,
    progress: float = 0.0,
    entities: Tensor | None = None,
    **changes: Any,
) -> ObjectiveOutput:
    """One step of an objective on some rows of a global batch (all by default). ``entities`` are those of the first view."""
    n = len(next(iter(matrices.values())))
    rows = torch.arange(n) if rows is None else rows
    numbers = torch.arange(n) + 1000 * step
    context = StepContext(
        pairs=pairs,
        draws=Draws.for_rows(numbers, seed=0, epoch=0, view="objective"),
        step_draws=Draws.for_rows(torch.tensor([step]), seed=0, epoch=0, view="step"),
        entities=dict.fromkeys(matrices, (numbers if entities is None else entities)[rows]),
        progress=progress,
        **changes,
    )
    return objective.step(twin, Views(twin, Inputs(matrices), rows, n), context)


def built(objective: Objective, twin: SmallTwin, pairs: Sequence[tuple[str, str]], *, dtype: torch.dtype = torch.float64) -> Objective:
    """The objective with its networks, in a precision, in training mode."""
    torch.manual_seed(1)
    objective.build(twin, pairs=pairs, n_tasks={})
    twin.to(dtype)
    return objective.to(dtype).train()


def train_on_ranks(
    rank: int,
    world_size: int,
    make: Callable[[], Objective],
    *,
    keys: Mapping[str, str],
    pairs: Sequence[tuple[str, str]],
    n_rows: int,
    projection_dim: int,
    steps: int,
    entities: Callable[[Tensor], Tensor] | None = None,
    is_norm_global: bool = True,
) -> dict[str, Any]:
    """Losses and terms of some steps of SGD, the last gradient, and the whole state at the end; gradients are averaged over ranks."""
    torch.manual_seed(0)
    twin = SmallTwin(keys, projection_dim=projection_dim, is_norm_global=is_norm_global)
    objective = built(make(), twin, pairs)
    rows = torch.arange(n_rows).chunk(world_size)[rank]
    parameters = [parameter for part in (twin, objective) for parameter in part.parameters() if parameter.requires_grad]
    losses, terms = [], []
    for step in range(steps):
        matrices = global_batch(list(keys), n_rows, step=step)
        numbers = None if entities is None else entities(torch.arange(n_rows))
        output = scored(objective, twin, matrices, pairs, rows=rows, step=step, progress=step / steps, entities=numbers)
        gradients = torch.autograd.grad(output.loss, parameters, allow_unused=True, materialize_grads=True)
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        if world_size > 1:
            dist.all_reduce(flat)
            flat /= world_size
        with torch.no_grad():
            for parameter, part in zip(parameters, flat.split([parameter.numel() for parameter in parameters]), strict=True):
                parameter -= 0.05 * part.view_as(parameter)
            objective.after_step(twin, step / steps)
        losses.append(output.loss.item())
        terms.append({name: value.item() for name, value in output.terms.items()})
    state = {**{f"twin.{k}": v for k, v in twin.state_dict().items()}, **objective.state_dict()}
    flat_state = torch.cat([value.double().flatten() for value in state.values()]).numpy()
    return {"losses": losses, "terms": terms, "gradient": flat.numpy(), "state": flat_state}


def distance(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))
