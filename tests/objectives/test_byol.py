"""BYOL against its formula, what its copies follow, and how its terms move on real molecules."""

import math

import pytest
import torch
from objective_checks import SmallTwin, assert_same_function, built, global_batch, scored, two_views
from small_run import last_checkpoint, small_config
from torch import Tensor

from molbt.errors import ConfigError
from molbt.objectives.byol import BYOL, byol_loss
from molbt.training.trainer import pretrain

PAIR = [("a", "b")]


def formula(p_a: Tensor, p_b: Tensor, t_a: Tensor, t_b: Tensor) -> Tensor:
    """The squared distances of equation 2, row by row."""
    unit = lambda x: x / x.norm()  # noqa: E731
    n = len(p_a)
    return sum((unit(p_a[i]) - unit(t_b[i])).pow(2).sum() + (unit(p_b[i]) - unit(t_a[i])).pow(2).sum() for i in range(n)) / n


def test_byol_equals_the_formula_in_value_and_gradient():
    p_a, p_b = two_views(7, 5)
    t_a, t_b = two_views(7, 5, seed=4)
    assert_same_function(lambda x, y: byol_loss(x, y, t_a, t_b), lambda x, y: formula(x, y, t_a, t_b), p_a, p_b)
    targets = [t.clone().requires_grad_() for t in (t_a, t_b)]
    byol_loss(p_a.clone().requires_grad_(), p_b, *targets).backward()
    assert all(target.grad is None for target in targets)


def test_byol_is_symmetric_and_unchanged_by_the_lengths_of_rows():
    p_a, p_b = two_views(7, 5)
    t_a, t_b = two_views(7, 5, seed=4)
    expected = byol_loss(p_a, p_b, t_a, t_b).item()
    assert byol_loss(p_b, p_a, t_b, t_a).item() == pytest.approx(expected, rel=1e-13)
    assert byol_loss(3 * p_a, p_b, t_a, 0.1 * t_b).item() == pytest.approx(expected, rel=1e-12)
    assert byol_loss(p_b, p_a, t_a, t_b).item() != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("keys", [{"a": "a", "b": "a"}, {"a": "a", "b": "b"}], ids=["shared", "two"])
def test_step_predicts_the_copies_of_the_other_view(keys):
    torch.manual_seed(0)
    twin = SmallTwin(keys, projection_dim=8)
    objective = built(BYOL(hidden=6), twin, PAIR)
    assert len(objective.predictors.networks) == len(set(keys.values()))
    for parameter in twin.parameters():
        parameter.data.mul_(1.1)  # the copies stay as they were
    matrices = global_batch("ab", 12)
    output = scored(objective, twin, matrices, PAIR)
    predicted, target = {}, {}
    for view, other in (("a", "b"), ("b", "a")):
        network = objective.predictors.networks[f"{keys[view]}-{keys[other]}"]
        predicted[view] = network(twin.project(view, twin.encode(view, matrices[view])))
        copies = objective.targets.encoders[keys[view]], objective.targets.projectors[keys[view]]
        target[view] = copies[1](copies[0](matrices[view]))
    expected = formula(predicted["a"], predicted["b"], target["a"], target["b"])
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-11)
    assert output.terms["cosine"].item() == pytest.approx(1 - expected.item() / 4, rel=1e-11)


def test_copies_follow_with_a_rising_momentum_and_keep_their_own_statistics():
    torch.manual_seed(0)
    twin = SmallTwin({"a": "a", "b": "a"}, projection_dim=8)
    objective = built(BYOL(momentum=0.9, hidden=6), twin, PAIR)
    copy, network = objective.targets.encoders["a"].layers, twin.encoders["a"].layers
    assert not any(parameter.requires_grad for parameter in objective.targets.parameters())
    for progress in (0.0, 0.5, 0.99):
        before = copy[0].weight.clone()
        statistics = copy[1].running_mean.clone()
        network[0].weight.data.add_(0.3)
        network[1].running_mean.add_(5.0)
        objective.after_step(twin, progress)
        share = 0.1 * (math.cos(math.pi * progress) + 1) / 2
        torch.testing.assert_close(copy[0].weight, (1 - share) * before + share * network[0].weight, rtol=1e-12, atol=1e-12)
        assert torch.equal(copy[1].running_mean, statistics)
    scored(objective, twin, global_batch("ab", 12), PAIR)
    assert not torch.equal(copy[1].running_mean, statistics)


def test_byol_terms_move_as_its_theory_says(tmp_path, objective_corpus):
    config = small_config(objectives=[{"name": "byol", "hidden": 48, "momentum": 0.9}], trainer={"epochs": 15})
    metrics = pretrain(objective_corpus, tmp_path / "run", config=config).metrics
    first, last = metrics.iloc[0], metrics.iloc[-1]
    assert last["byol.loss"] < 0.6 * first["byol.loss"]
    assert last["byol.cosine"] > first["byol.cosine"]
    assert 0.9 <= first["byol.momentum"] < last["byol.momentum"] <= 1
    assert last["embedding_rank.a"] > 4
    # The copies, the networks' earlier selves, are part of the checkpoint and differ from the networks.
    state = last_checkpoint(tmp_path / "run")
    copy = state["objectives.byol.targets.encoders.a.last.weight"]
    assert (copy - state["twin.encoders.a.last.weight"]).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [({"momentum": 1.01}, "momentum of 0 or more and at most 1, got 1.01"), ({"hidden": 0}, "hidden of 1 or more, got 0")],
)
def test_byol_refuses_settings_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message):
        BYOL(**options)
