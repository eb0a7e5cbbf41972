"""Objectives that read labels or inputs train on several ranks what they train on one process, through real encoders in float64."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from objective_checks import EMBEDDING_DIM, INPUT_DIM, Inputs, SmallTwin, distance, global_batch
from torch import Tensor, nn

from molbt.data.columns import RaggedBatch
from molbt.draws import Draws
from molbt.nn.dense_encoder import DenseEncoder
from molbt.objectives.base import Objective, StepContext, Views
from molbt.objectives.matching import Matching
from molbt.objectives.multitask import Multitask
from molbt.objectives.prototypes import Prototypes
from molbt.objectives.regression import Regression
from molbt.objectives.signed_barlow_twins import SignedBarlowTwins
from molbt.training.ranks import average_gradients

PAIRS = [("a", "b")]
N_ROWS, N_TASKS = 26, 6
OBJECTIVES = {
    "multitask_class": lambda: Multitask(labels="activity"),
    "multitask_value": lambda: Multitask(labels="activity", kind="value", views=["a", "b"]),
    "regression": lambda: Regression(source="a", target="b"),
    "matching": lambda: Matching(labels="activity"),
    "signed_barlow_twins": lambda: SignedBarlowTwins(labels="activity"),
    "prototypes": lambda: Prototypes(labels="activity"),
    "prototypes_of_two_views": lambda: Prototypes(labels="activity", views=["a", "b"], support_share=0.3),
}
CONTROLS = ("plain_all_reduce", "no_exchange", "local_batch_norm")


def twin_of(dtype: torch.dtype, *, is_norm_global: bool) -> SmallTwin:
    torch.manual_seed(0)
    twin = SmallTwin({"a": "a", "b": "b"}, projection_dim=8)
    fitted = {"centre": torch.zeros(INPUT_DIM), "scale": torch.ones(INPUT_DIM)}
    for key in twin.encoders:
        twin.encoders[key] = DenseEncoder(embedding_dim=EMBEDDING_DIM, hidden=(12,), winsorise=5.0, fitted=fitted)
    if not is_norm_global:
        for part in list(twin.modules()):
            for name, norm in part.named_children():
                if isinstance(norm, nn.BatchNorm1d):
                    setattr(part, name, nn.BatchNorm1d(norm.num_features))
    return twin.to(dtype)


def labels_of(rows: Tensor, step: int, dtype: torch.dtype, *, is_class: bool) -> RaggedBatch:
    """Between no label and five for each row of a global batch, of which the last few rows have none."""
    draw = np.random.default_rng(step)
    counts = draw.integers(0, 6, N_ROWS)
    counts[-4:] = 0
    tasks = [draw.permutation(N_TASKS)[:count] for count in counts]
    values = [draw.integers(0, 2, count) if is_class else draw.normal(5, 2, count) for count in counts]
    own = rows.tolist()
    fields = {
        "task": torch.tensor(np.concatenate([[], *(tasks[row] for row in own)]), dtype=torch.int32),
        "value": torch.tensor(np.concatenate([[], *(values[row] for row in own)]), dtype=dtype),
    }
    row_of_item = torch.repeat_interleave(torch.arange(len(own)), torch.tensor(counts[own]))
    return RaggedBatch(fields, row_of_item, torch.tensor([0, *np.cumsum(counts[own])], dtype=torch.int64))


def train(rank: int, world_size: int, *, name: str, control: str = "", single: bool = False, steps: int = 5) -> dict[str, Any]:
    """Losses and terms of some steps of SGD, the first gradient, and the weights and statistics in the end; ranks hold unequal parts."""
    dtype = torch.float32 if single else torch.float64
    twin = twin_of(dtype, is_norm_global=control != "local_batch_norm").train()
    objective: Objective = OBJECTIVES[name]()
    torch.manual_seed(1)
    objective.build(twin, pairs=PAIRS, n_tasks={"activity": N_TASKS})
    for parameter in objective.parameters():
        nn.init.normal_(parameter)
    objective.to(dtype).train()
    parameters = [*twin.parameters(), *objective.parameters()]
    optimiser = torch.optim.SGD(parameters, lr=0.01)
    rows = torch.arange(N_ROWS).tensor_split([N_ROWS - 9, N_ROWS - 4, N_ROWS - 1][: world_size - 1] if world_size > 1 else 1)[rank]
    losses, terms, gradient = [], [], None
    for step in range(steps):
        batch = global_batch(["a", "b"], N_ROWS, step=step, dtype=dtype)
        draws = Draws.for_rows(torch.arange(N_ROWS), seed=0, epoch=step, view="objective")
        labels = labels_of(rows, step, dtype, is_class=name != "multitask_value")
        context = StepContext(pairs=PAIRS, draws=draws, step_draws=draws, labels={"activity": labels})
        output = objective.step(twin, Views(twin, Inputs(batch), rows, N_ROWS), context)
        optimiser.zero_grad()
        output.loss.backward()
        if control != "no_exchange":
            average_gradients(parameters)
        parts = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in parameters]
        found = torch.cat([part.flatten() for part in parts])
        gradient = found.numpy().copy() if gradient is None else gradient
        optimiser.step()
        losses.append(output.loss.item())
        terms.append({term: value.item() for term, value in output.terms.items()})
    state = {**twin.state_dict(), **{f"objective.{key}": value for key, value in objective.state_dict().items()}}
    flat = torch.cat([value.double().flatten() for value in state.values()]).numpy()
    return {"losses": losses, "terms": terms, "gradient": gradient, "state": flat}


def plain_sum(value: Tensor) -> Tensor:
    """The known wrong exchange: the value of the sum, the gradient of this rank's part."""
    total = value.detach().clone()
    dist.all_reduce(total)
    return value + (total - value.detach())


def train_wrongly(rank: int, world_size: int, *, name: str, control: str) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        if control == "plain_all_reduce":
            for module in (
                "molbt.nn.batch_moments",
                "molbt.objectives.multitask",
                "molbt.objectives.regression",
                "molbt.objectives.matching",
                "molbt.objectives.prototypes",
                "molbt.objectives.signed_barlow_twins",
            ):
                patch.setattr(f"{module}.sum_over_ranks", plain_sum)
        return train(rank, world_size, name=name, control=control)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_equal_one_process(on_ranks, world_size, name):
    alone = train(0, 1, name=name)
    for result in on_ranks(train, world_size, name=name):
        assert result["losses"][0] == pytest.approx(alone["losses"][0], rel=1e-12)
        assert distance(result["gradient"], alone["gradient"]) < 1e-12
        assert distance(result["state"], alone["state"]) < 1e-10
        for terms, expected in zip(result["terms"], alone["terms"], strict=True):
            assert terms == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_ranks_equal_one_process_in_float32(on_ranks, name):
    alone = train(0, 1, name=name, steps=1)
    for result in on_ranks(train, 4, name=name, steps=1, single=True):
        assert result["losses"] == pytest.approx(alone["losses"], rel=1e-5)
        assert distance(result["gradient"], alone["gradient"]) < 1e-5


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_comparison_notices_what_is_wrong(on_ranks, name, control):
    alone = train(0, 1, name=name)
    for result in on_ranks(train_wrongly, 2, name=name, control=control):
        assert distance(result["gradient"], alone["gradient"]) > 1e-3
        assert distance(result["state"], alone["state"]) > 1e-6
