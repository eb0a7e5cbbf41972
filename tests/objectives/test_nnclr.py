"""NNCLR against its formula, its neighbours, and how its terms move on real molecules."""

import pytest
import torch
from objective_checks import SmallTwin, assert_same_function, built, global_batch, scored, two_views
from small_run import last_checkpoint, small_config
from torch import Tensor, nn

from molbt.errors import ConfigError
from molbt.nn.contrast import unit_rows
from molbt.nn.memory_queue import MemoryQueue
from molbt.objectives.nnclr import NNCLR, nearest_rows, nnclr_loss
from molbt.training.trainer import pretrain

PAIR = [("a", "b")]


def formula(n_a: Tensor, n_b: Tensor, p_a: Tensor, p_b: Tensor, temperature: float) -> Tensor:
    total = 0.0
    for n, p in ((n_a, p_b), (n_b, p_a)):
        logits = nn.functional.cosine_similarity(n[:, None], p[None], dim=2) / temperature
        total = total + nn.functional.cross_entropy(logits, torch.arange(len(n))) / 2
    return total


def test_nnclr_equals_the_formula_in_value_and_gradient():
    n_a, n_b = two_views(7, 5, seed=4)
    assert_same_function(
        lambda x, y: nnclr_loss(n_a, n_b, x, y, temperature=0.2), lambda x, y: formula(n_a, n_b, x, y, 0.2), *two_views(7, 5)
    )


def test_nnclr_is_symmetric_and_masks_repeats():
    n_a, n_b = two_views(7, 5, seed=4)
    p_a, p_b = two_views(7, 5)
    expected = nnclr_loss(n_a, n_b, p_a, p_b, temperature=0.2).item()
    assert nnclr_loss(n_b, n_a, p_b, p_a, temperature=0.2).item() == pytest.approx(expected, rel=1e-13)
    repeats = torch.ones(7, 7, dtype=torch.bool)
    assert nnclr_loss(n_a, n_b, p_a, p_b, temperature=0.2, repeats=repeats).item() == pytest.approx(0, abs=1e-12)
    assert nnclr_loss(n_a, n_b, p_a, p_b, temperature=1e-4).isfinite()


def test_neighbours_are_the_nearest_rows_in_order_and_stand_in_while_there_are_too_few():
    queue = MemoryQueue(6, 5).double()
    unit = unit_rows(two_views(4, 5)[0])
    rows, entities = nearest_rows(unit, queue, k=2)
    assert torch.equal(rows, unit[:, None].expand(4, 2, 5))
    assert (entities == -1).all()
    stored = unit_rows(two_views(9, 5, seed=2)[0])
    queue.push(stored[:1], torch.tensor([40]))
    rows, entities = nearest_rows(unit, queue, k=2)
    assert torch.equal(rows[:, 0], stored[:1].expand(4, 5))
    assert torch.equal(rows[:, 1], unit)
    assert entities.tolist() == [[40, -1]] * 4
    queue.push(stored[1:], torch.arange(41, 49))  # nine into six: the first three are gone
    rows, entities = nearest_rows(unit, queue, k=2)
    expected = 43 + (unit @ stored[3:].T).argsort(dim=1, descending=True)[:, :2]
    assert torch.equal(entities, expected)
    assert torch.equal(rows, stored[entities - 40])


@pytest.mark.parametrize("keys", [{"a": "a", "b": "a"}, {"a": "a", "b": "b"}], ids=["shared", "two"])
def test_step_looks_for_neighbours_before_it_queues(keys):
    torch.manual_seed(0)
    twin = SmallTwin(keys, projection_dim=8)
    objective = built(NNCLR(hidden=6, queue_size=30, temperature=0.3), twin, PAIR)
    norm = nn.BatchNorm1d(8, affine=False).double()
    queues = {key: torch.zeros(0, 8, dtype=torch.float64) for key in keys.values()}
    for step in range(4):
        matrices = global_batch("ab", 12, step=step)
        output = scored(objective, twin, matrices, PAIR, step=step)
        z = {view: norm(twin.project(view, twin.encode(view, matrices[view]))) for view in "ab"}
        p = {v: objective.predictors.networks[f"{keys[v]}-{keys[o]}"](z[v]) for v, o in (("a", "b"), ("b", "a"))}
        unit = {view: unit_rows(z[view]).detach() for view in "ab"}
        n = {}
        for view in "ab":
            stored = queues[keys[view]][-30:]
            n[view] = stored[(unit[view] @ stored.T).argmax(1)] if len(stored) else unit[view]
        assert output.loss.item() == pytest.approx(formula(n["a"], n["b"], p["a"], p["b"], 0.3).item(), rel=1e-10)
        assert output.terms["neighbour"].item() == pytest.approx((unit["a"] * n["a"]).sum(1).mean().item(), rel=1e-10)
        objective.after_step(twin, 0.0)
        for key in queues:
            queues[key] = torch.cat([queues[key], unit[key]])  # the first view of a shared encoder alone


def test_nnclr_terms_move_as_its_theory_says(tmp_path, objective_corpus):
    config = small_config(objectives=[{"name": "nnclr", "queue_size": 128, "hidden": 48, "temperature": 0.2}], trainer={"epochs": 15})
    metrics = pretrain(objective_corpus, tmp_path / "run", config=config).metrics
    second, last = metrics.iloc[1], metrics.iloc[-1]
    assert metrics["nnclr.queue"].iloc[0] < 1 == last["nnclr.queue"]
    assert last["nnclr.loss"] < 0.9 * second["nnclr.loss"]
    assert 0.3 < last["nnclr.neighbour"] < 1
    assert 0 < metrics["nnclr.own"].max() < 1
    assert last["embedding_rank.a"] > 6
    assert last_checkpoint(tmp_path / "run")["objectives.nnclr.queues.a.n_pushed"] == 15 * 4 * 64


@pytest.mark.parametrize(
    ("options", "message"),
    [({"temperature": -1.0}, "temperature above 0, got -1.0"), ({"queue_size": 0}, "queue_size of 1 or more, got 0")],
)
def test_nnclr_refuses_settings_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message):
        NNCLR(**options)
