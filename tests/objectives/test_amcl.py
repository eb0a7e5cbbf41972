"""AMCL against the table of its paper, its reductions to the hosts, and how its terms move on real molecules."""

import pytest
import torch
from objective_checks import SmallTwin, assert_same_function, built, global_batch, scored, two_views
from small_run import small_config
from torch import Tensor, nn

from molbt.errors import ConfigError
from molbt.objectives._pair_temperature import (
    PairTemperature,
    adaptive_barlow_twins,
    adaptive_contrast,
    adaptive_siamese,
    column_statistics,
    temperature_cost,
)
from molbt.objectives.amcl import AMCL
from molbt.objectives.barlow_twins import BarlowTwins
from molbt.objectives.simclr import nt_xent
from molbt.training.trainer import pretrain

PAIR = [("a", "b")]
SHARED = {"a": "a", "b": "a"}


def phi(width: int, *, lowest: float = 0.05, highest: float = 2.0) -> PairTemperature:
    torch.manual_seed(3)
    return PairTemperature(width, lowest=lowest, highest=highest, hidden=11).double()


def tau(network: PairTemperature, x: Tensor, y: Tensor) -> Tensor:
    """The formula of one pair: a network over the concatenation."""
    weight = torch.cat([network.of_first.weight, network.of_second.weight], 1)
    hidden = torch.relu(weight @ torch.cat([x, y]) + network.of_first.bias)
    score = (network.last.weight @ hidden + network.last.bias)[0]
    return network.lowest + (network.highest - network.lowest) / (1 + torch.exp(-score))


def cost(t: Tensor, width: int) -> Tensor:
    return width / 2 * torch.log(t) + 1 / t


def contrast_formula(anchors: Tensor, partners: Tensor, candidates: Tensor, network: PairTemperature, beta: float, hardest: bool) -> Tensor:
    """Row by row, without those of the same number among the candidates."""
    unit = lambda x: x / x.norm(dim=1, keepdim=True)  # noqa: E731
    a, p, c = unit(anchors), unit(partners), unit(candidates)
    total, d = 0.0, a.shape[1]
    for i in range(len(a)):
        t = tau(network, a[i], p[i])
        others = [j for j in range(len(c)) if j != i]
        if hardest:
            j = max(others, key=lambda j: (a[i] @ c[j]).item())
            t_j = tau(network, a[i], c[j])
            total = total + a[i] @ c[j] / t_j - beta * cost(t_j, d)
        else:
            taus = [tau(network, a[i], c[j]) for j in others]
            logits = [a[i] @ p[i] / t, *(a[i] @ c[j] / t_j for j, t_j in zip(others, taus, strict=True))]
            total = total + torch.log(sum(torch.exp(logit) for logit in logits)) - beta * sum(cost(x, d) for x in taus) / len(taus)
        total = total - a[i] @ p[i] / t + beta * cost(t, d)
    return total / len(a)


@pytest.mark.parametrize("hardest", [True, False])
def test_contrast_equals_the_formula_in_value_and_gradient(hardest):
    a, p = two_views(6, 5)
    candidates, _ = two_views(8, 5, seed=6)
    network, excluded = phi(5), torch.eye(6, 8, dtype=torch.bool)
    assert_same_function(
        lambda *v: adaptive_contrast(*v, excluded, network, cost_weight=0.2, hardest=hardest).loss,
        lambda *v: contrast_formula(*v, network, 0.2, hardest),
        a,
        p,
        candidates,
        rel=1e-9,
    )


def test_all_negatives_at_a_constant_temperature_are_nt_xent():
    z_a, z_b = two_views(6, 5)
    constant = phi(5, lowest=0.3, highest=0.3)
    own = torch.eye(6, dtype=torch.bool)
    excluded = torch.cat([own, own], 1)
    assert_same_function(
        lambda a, b: (
            (
                adaptive_contrast(a, b, torch.cat([b, a]), excluded, constant, cost_weight=0, hardest=False).loss
                + adaptive_contrast(b, a, torch.cat([a, b]), excluded, constant, cost_weight=0, hardest=False).loss
            )
            / 2
        ),
        lambda a, b: nt_xent(a, b, temperature=0.3),
        z_a,
        z_b,
    )


def test_siamese_equals_the_formula_in_value_and_gradient():
    p, t = two_views(6, 5)
    network = phi(5)

    def formula(p: Tensor) -> Tensor:
        total = 0.0
        for i in range(6):
            x, y = p[i] / p[i].norm(), t[i] / t[i].norm()
            temperature = tau(network, x, y)
            total = total - x @ y / (2 * temperature) + 0.2 * cost(temperature, 5)
        return total / 6

    assert_same_function(lambda p: adaptive_siamese(p, t, network, cost_weight=0.2).loss, formula, p, rel=1e-9)


def test_correlations_equal_the_formula_in_value_and_gradient():
    network = phi(4)
    z_a, z_b = two_views(30, 5)
    statistics = [column_statistics(z, (z - z.mean(0)) / z.std(0, unbiased=False)) for z in (z_a, z_b)]

    def formula(a: Tensor, b: Tensor) -> Tensor:
        a, b = ((z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt() for z in (a, b))
        c, total = a.T @ b / 30, 0.0
        for i in range(5):
            for j in range(5):
                t = tau(network, statistics[0][i], statistics[1][j]).detach()
                penalty = 0.2 * cost(t, 5)
                total = total + ((1 - c[i, j] / t) ** 2 + penalty if i == j else 0.7 * (c[i, j] ** 2 / t - penalty))
        return total

    assert_same_function(lambda a, b: adaptive_barlow_twins(a, b, network, cost_weight=0.2, lambda_=0.7).loss, formula, z_a, z_b, rel=1e-5)


def test_correlations_at_temperature_one_are_barlow_twins():
    constant = phi(4, lowest=1.0, highest=1.0)
    assert_same_function(
        lambda a, b: adaptive_barlow_twins(a, b, constant, cost_weight=0, lambda_=0.02).loss,
        lambda a, b: BarlowTwins(redundancy_lambda=0.02).loss(a, b).loss,
        *two_views(30, 5),
        rel=1e-9,
    )


def test_cost_is_smallest_at_two_over_the_width_and_statistics_are_those_of_the_columns():
    grid = torch.linspace(0.01, 2, 20_000, dtype=torch.float64)
    assert grid[temperature_cost(grid, 8).argmin()].item() == pytest.approx(2 / 8, abs=1e-3)
    x = torch.tensor([-3.0, -1, 1, 3], dtype=torch.float64)[:, None]
    found = column_statistics(x, x / 5**0.5)[0].tolist()
    assert found == pytest.approx([0.5 * torch.tensor(5.0).log().item(), 2 / 5**0.5, 0, 41 / 25 - 3], abs=1e-6)


@pytest.mark.parametrize("host", ["simclr", "moco", "simsiam", "barlow_twins"])
def test_step_sums_heads_and_averages_directions(host):
    losses = {}
    for pair in (("a", "b"), ("b", "a")):
        torch.manual_seed(0)
        twin = SmallTwin(SHARED, projection_dim=8)
        objective = built(AMCL(host=host, heads=2, hidden=6, width=4, queue_size=50), twin, [pair])
        for step in range(2):
            output = scored(objective, twin, global_batch("ab", 12, step=step), [pair], step=step)
            objective.after_step(twin, 0.0)
        losses[pair] = output.loss.item()
    assert losses["a", "b"] == pytest.approx(losses["b", "a"], rel=1e-11)


def test_simclr_host_of_one_head_is_the_formula_over_both_views():
    torch.manual_seed(0)
    twin = SmallTwin(SHARED, projection_dim=8)
    objective = built(AMCL(heads=1, hidden=6, width=4, cost_weight=0.2), twin, PAIR)
    matrices = global_batch("ab", 8)
    output = scored(objective, twin, matrices, PAIR)
    head: nn.Module = objective.heads["a"][0]
    z = {view: head(twin.project(view, twin.encode(view, matrices[view]))) for view in "ab"}
    network = objective.temperatures["a-a"][0]
    # Row i of either view is no candidate of anchor i: one at a time, so that the formula's "same number" holds for both.
    total = 0.0
    for own, other in (("a", "b"), ("b", "a")):
        for i in range(8):
            rest = [j for j in range(8) if j != i]
            candidates = torch.cat([z[other][i : i + 1], z[other][rest], z[own][rest]])
            total = total + contrast_formula(z[own][i : i + 1], z[other][i : i + 1], candidates, network, 0.2, True) / 16
    assert output.loss.item() == pytest.approx(total.item(), rel=1e-9)


def test_moco_heads_have_copies_that_follow_and_queue_their_keys():
    torch.manual_seed(0)
    twin = SmallTwin(SHARED, projection_dim=8)
    objective = built(AMCL(host="moco", heads=2, hidden=6, width=4, queue_size=50, momentum=0.5), twin, PAIR)
    scored(objective, twin, global_batch("ab", 12), PAIR)
    before = objective.target_heads["a"][0][0].weight.clone()
    objective.heads["a"][0][0].weight.data.add_(1.0)
    objective.after_step(twin, 0.0)
    torch.testing.assert_close(objective.target_heads["a"][0][0].weight, before + 0.5)
    rows = objective.queues["b"].rows[:12]
    torch.testing.assert_close(rows[:, :4].norm(dim=1), torch.ones(12, dtype=torch.float64))
    torch.testing.assert_close(rows[:, 4:].norm(dim=1), torch.ones(12, dtype=torch.float64))


def test_amcl_terms_move_as_its_theory_says(tmp_path, objective_corpus):
    objective = {"name": "amcl", "hidden": 32, "width": 16, "lowest": 0.1, "highest": 2.0}
    metrics = pretrain(objective_corpus, tmp_path / "run", config=small_config(objectives=[objective], trainer={"epochs": 15})).metrics
    first, last = metrics.iloc[0], metrics.iloc[-1]
    assert last["amcl.loss"] < first["amcl.loss"] - 0.2
    # Where the cosine of positives is above β their temperature falls, from the middle of the range.
    assert 0.1 < last["amcl.positive_temperature"] < first["amcl.positive_temperature"] - 0.05
    assert first["amcl.positive_temperature"] == pytest.approx(1.05, abs=0.2)
    assert 0.1 < last["amcl.negative_temperature"] < 2
    assert last["embedding_rank.a"] > 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "byol"}, "unknown host 'byol'"),
        ({"negatives": "some"}, "unknown negatives 'some'"),
        ({"lowest": 0.0}, "lowest above 0, got 0.0"),
        ({"lowest": 0.5, "highest": 0.4}, "highest of 0.5 or more, got 0.4"),
        ({"heads": 0}, "heads of 1 or more, got 0"),
    ],
)
def test_amcl_refuses_settings_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message):
        AMCL(**options)
