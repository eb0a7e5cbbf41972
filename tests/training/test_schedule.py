"""The learning rate by hand, and which parameters decay."""

import pytest
import torch
from torch import nn

from molbt.errors import ConfigError
from molbt.objectives.barlow_twins import BarlowTwins
from molbt.objectives.base import Objective, ParameterGroup
from molbt.training.schedule import learning_rate, optimiser_groups, set_learning_rates


def rates(total: int, **settings: float) -> list[float]:
    usual = {"peak": 1.0, "final": 0.0, "warmup": 0.0}
    return [learning_rate(step, total_steps=total, **{**usual, **settings}) for step in range(total)]


def test_rate_without_warmup_is_a_half_cosine():
    # cos at 0°, 45°, 90°, 135° and 180°
    assert rates(5) == pytest.approx([1.0, 0.8535534, 0.5, 0.1464466, 0.0], abs=1e-7)


def test_rate_warms_up_linearly_and_ends_at_the_final_one():
    # Two warm-up steps of ten: thirds of the peak. The eight others: the middle of the cosine lies between the fourth and the fifth.
    found = rates(10, peak=3.0, final=1.0, warmup=0.2)
    assert found[:3] == pytest.approx([1.0, 2.0, 3.0])
    assert found[-1] == pytest.approx(1.0)
    assert (found[5] + found[6]) / 2 == pytest.approx(2.0)
    assert found[2:] == sorted(found[2:], reverse=True)


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 0.99])
def test_rate_of_the_shortest_runs_is_positive_at_the_start_and_never_above_the_peak(total, warmup):
    found = rates(total, warmup=warmup)
    assert found[0] > 0
    assert max(found) <= 1


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


class WithPredictor(Objective):
    def __init__(self, *, forget: bool = False) -> None:
        super().__init__()
        self.predictor = nn.Linear(4, 4)
        self.target = nn.Linear(4, 4).requires_grad_(False)
        self.forget = forget

    def parameter_groups(self) -> list[ParameterGroup]:
        named = list(self.predictor.parameters())
        return [ParameterGroup(named[:1] if self.forget else named, rate_factor=10.0, constant_rate=True)]


def test_norms_and_biases_do_not_decay_and_frozen_parameters_are_left_out():
    network, objective = Network(), WithPredictor()
    groups = optimiser_groups(network, [BarlowTwins(), objective], weight_decay=0.1)
    found = {parameter: group for group in groups for parameter in group["params"]}
    decay = {parameter: group["weight_decay"] for parameter, group in found.items()}
    assert decay == {
        network.linear.weight: 0.1,
        network.linear.bias: 0.0,
        network.norm.weight: 0.0,
        network.norm.bias: 0.0,
        objective.predictor.weight: 0.1,
        objective.predictor.bias: 0.0,
    }


def test_each_group_has_its_own_rate():
    network, objective = Network(), WithPredictor()
    optimiser = torch.optim.AdamW(optimiser_groups(network, [objective], weight_decay=0.1), lr=1.0)
    set_learning_rates(optimiser, 0.25, peak=1.0)
    found = {parameter: group["lr"] for group in optimiser.param_groups for parameter in group["params"]}
    assert found[network.linear.weight] == found[network.norm.bias] == 0.25
    assert found[objective.predictor.weight] == found[objective.predictor.bias] == 10.0


def test_parameter_that_an_objective_forgets_is_named():
    with pytest.raises(ConfigError, match=r"WithPredictor.parameter_groups leaves out predictor\.bias"):
        optimiser_groups(Network(), [WithPredictor(forget=True)], weight_decay=0.1)
