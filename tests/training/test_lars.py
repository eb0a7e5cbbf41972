"""LARS by hand, what it leaves out, and through the trainer."""

import pytest
import torch
from small_run import assert_same_tensors, last_checkpoint, small_config, stop_after
from torch import nn

from molbt.errors import ConfigError, Interrupted
from molbt.training.lars import LARS
from molbt.training.trainer import pretrain


def test_steps_are_those_computed_by_hand():
    # The formula again, from plain numbers.
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    optimiser = LARS([{"params": [weight], "weight_decay": 0.1}], lr=0.5, momentum=0.9, trust=0.01)
    p, v = [3.0, 4.0], [0.0, 0.0]
    for g in ([1.7, 0.0], [0.5, -2.0], [0.0, 1.0]):
        weight.grad = torch.tensor([g], dtype=torch.float64)
        optimiser.step()
        update = [g[i] + 0.1 * p[i] for i in range(2)]
        ratio = 0.01 * (p[0] ** 2 + p[1] ** 2) ** 0.5 / (update[0] ** 2 + update[1] ** 2) ** 0.5
        v = [0.9 * v[i] + ratio * update[i] for i in range(2)]
        p = [p[i] - 0.5 * v[i] for i in range(2)]
        assert weight[0].tolist() == pytest.approx(p, rel=1e-12)


def test_step_does_not_depend_on_the_scale_of_the_gradient_unless_the_group_is_excluded():
    moved = {}
    for adapt in (True, False):
        for scale in (1.0, 1000.0):
            weight = nn.Parameter(torch.ones(2, 2))
            weight.grad = scale * torch.tensor([[1.0, 2.0], [3.0, 4.0]])
            LARS([{"params": [weight], "adapt": adapt}], lr=0.1).step()
            moved[adapt, scale] = (1 - weight).norm().item()
    assert moved[True, 1.0] == pytest.approx(moved[True, 1000.0], rel=1e-3)
    assert moved[True, 1.0] == pytest.approx(0.1 * 1e-3 * 2, rel=1e-3)
    assert moved[False, 1000.0] == pytest.approx(1000 * moved[False, 1.0], rel=1e-6)
    assert moved[False, 1.0] == pytest.approx(0.1 * 30**0.5, rel=1e-6)


def test_exclusion_is_not_inferred_from_decay_or_shape():
    bias = nn.Parameter(torch.ones(4))
    bias.grad = torch.full((4,), 100.0)
    LARS([{"params": [bias], "adapt": True, "weight_decay": 0.0}], lr=1.0).step()
    assert (1 - bias).norm().item() == pytest.approx(1e-3 * 2, rel=1e-3)


def test_weights_and_gradients_of_zero_stay_finite():
    zero, still = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.ones(2, 2))
    zero.grad, still.grad = torch.ones(2, 2), torch.zeros(2, 2)
    LARS([{"params": [zero, still]}], lr=0.1).step()
    assert torch.equal(zero, torch.full((2, 2), -0.1))
    assert torch.equal(still, torch.ones(2, 2))


def lars(**changes):
    return small_config(trainer={"optimiser": "lars", "learning_rate": 5.0, "clip_norm": None, "excluded_rate": 0.024, **changes})


def test_lars_trains_and_resumes_bit_identically(corpus, tmp_path):
    whole = pretrain(corpus, tmp_path / "whole", config=lars())
    assert whole.metrics["loss"].iloc[-1] < 0.9 * whole.metrics["loss"].iloc[0]
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "stopped", config=lars(), progress=stop_after(6))
    pretrain(corpus, tmp_path / "stopped", config=lars(), resume=True)
    state = last_checkpoint(tmp_path / "whole")
    assert any(name.endswith(".momentum") for name in state)
    assert_same_tensors(last_checkpoint(tmp_path / "stopped"), state)


@pytest.mark.parametrize("changes", [{"momentum": 0.5}, {"trust": 0.01}, {"excluded_rate": 1.0}])
def test_each_setting_of_lars_changes_the_result(corpus, tmp_path, changes):
    weights = [
        last_checkpoint(pretrain(corpus, tmp_path / name, config=lars(max_steps=3, **settings)).directory)["twin.encoders.a.last.weight"]
        for name, settings in (("plain", {}), ("changed", changes))
    ]
    assert not torch.equal(*weights)


def test_lars_refuses_a_rate_of_zero():
    with pytest.raises(ConfigError, match="trust above 0, got 0"):
        LARS([nn.Parameter(torch.ones(2))], lr=0.1, trust=0)
