"""MoCo against its formula, its queue, and how its terms move on real molecules."""

import pytest
import torch
from objective_checks import SmallTwin, assert_same_function, built, global_batch, scored, two_views
from small_run import last_checkpoint, small_config
from torch import Tensor

from molbt.errors import ConfigError
from molbt.nn.contrast import unit_rows
from molbt.objectives.moco import MoCo, moco_losses
from molbt.training.trainer import pretrain

PAIR = [("a", "b")]
SHARED = {"a": "a", "b": "a"}


def formula(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Cross-entropy with class 0, as equation 1 of the paper."""
    q, k = (x / x.norm(dim=1, keepdim=True) for x in (q, k))
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / temperature
    return torch.nn.functional.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))


def test_moco_equals_the_formula_in_value_and_gradient():
    q, k = two_views(7, 5)
    queue = unit_rows(two_views(11, 5, seed=3)[0])
    excluded = torch.zeros(7, 11, dtype=torch.bool)
    assert_same_function(
        lambda q: moco_losses(unit_rows(q), unit_rows(k), queue, excluded, temperature=0.2)[0].mean(),
        lambda q: formula(q, k, queue, 0.2),
        q,
    )
    _, hits = moco_losses(unit_rows(q), unit_rows(k), queue, excluded, temperature=0.2)
    cosine = unit_rows(q) @ torch.cat([unit_rows(k), queue]).T
    expected = [bool(cosine[i, i] >= cosine[i, 7:].max()) for i in range(7)]
    assert hits.tolist() == expected
    assert 0 < sum(expected) < 7


def test_moco_at_a_tiny_temperature_is_finite_in_float32():
    q, k = (view.float() for view in two_views(7, 5))
    q.requires_grad_()
    queue = unit_rows(two_views(11, 5, seed=3)[0]).float()
    moco_losses(unit_rows(q), unit_rows(k), queue, torch.zeros(7, 11, dtype=torch.bool), temperature=1e-4)[0].mean().backward()
    assert q.grad.isfinite().all()


@pytest.mark.parametrize("size", [20, 30, 7])
def test_steps_score_the_old_queue_then_queue_the_keys(size):
    # 12 rows a step: sizes that are no multiple, and one below a batch.
    torch.manual_seed(0)
    twin = SmallTwin(SHARED, projection_dim=8)
    objective = built(MoCo(queue_size=size), twin, PAIR)
    pushed = torch.zeros(0, 8, dtype=torch.float64)
    for step in range(4):
        matrices = global_batch("ab", 12, step=step)
        output = scored(objective, twin, matrices, PAIR, step=step)
        q = twin.project("a", twin.encode("a", matrices["a"]))
        copies = objective.targets
        k = unit_rows(copies.projectors["a"](copies.encoders["a"](matrices["b"])))
        assert output.loss.item() == pytest.approx(formula(q, k, pushed[-size:], 0.2).item(), rel=1e-11, abs=1e-12)
        assert output.terms["queue"].item() == pytest.approx(min(1, 12 * step / size), rel=1e-12)
        objective.after_step(twin, 0.0)
        pushed = torch.cat([pushed, k])
        kept = objective.queues["b"].rows[objective.queues["b"].is_filled]
        expected = pushed[-size:]
        assert torch.equal(kept[kept[:, 0].argsort()], expected[expected[:, 0].argsort()])


def test_earlier_keys_of_the_same_molecule_are_no_negatives():
    losses = []
    for entities in (torch.arange(12), torch.zeros(12, dtype=torch.int64)):
        torch.manual_seed(0)
        twin = SmallTwin(SHARED, projection_dim=8)
        objective = built(MoCo(queue_size=50), twin, PAIR)
        for step in range(3):
            losses.append(scored(objective, twin, global_batch("ab", 12, step=step), PAIR, step=step, entities=entities + 0).loss.item())
            objective.after_step(twin, 0.0)
    assert losses[1] > 0.5
    assert losses[3:] == [0, 0, 0]


def test_directions_are_one_for_a_shared_encoder_and_two_for_two():
    queues = {}
    for second in "ab":
        for symmetric in (None, False, True):
            twin = SmallTwin({"a": "a", "b": second}, projection_dim=8)
            queues[second, symmetric] = set(built(MoCo(symmetric=symmetric), twin, PAIR).queues)
    assert queues["a", None] == queues["a", False] == queues["b", False] == {"b"}
    assert queues["b", None] == queues["b", True] == queues["a", True] == {"a", "b"}


def test_symmetric_loss_does_not_change_when_views_are_swapped_and_the_other_does():
    losses = {}
    for symmetric in (False, True):
        for pair in (("a", "b"), ("b", "a")):
            torch.manual_seed(0)
            twin = SmallTwin(SHARED, projection_dim=8)
            objective = built(MoCo(symmetric=symmetric, queue_size=40), twin, [pair])
            for step in range(3):
                losses[symmetric, pair] = scored(objective, twin, global_batch("ab", 12, step=step), [pair], step=step).loss.item()
                objective.after_step(twin, 0.0)
    assert losses[True, ("a", "b")] == pytest.approx(losses[True, ("b", "a")], rel=1e-12)
    assert losses[False, ("a", "b")] != pytest.approx(losses[False, ("b", "a")], rel=1e-4)


def test_moco_terms_move_as_its_theory_says(tmp_path, objective_corpus):
    config = small_config(objectives=[{"name": "moco", "queue_size": 128, "momentum": 0.9}], trainer={"epochs": 15})
    metrics = pretrain(objective_corpus, tmp_path / "run", config=config).metrics
    second, last = metrics.iloc[1], metrics.iloc[-1]  # the queue fills in the first epoch
    assert metrics["moco.queue"].iloc[0] < 1 == last["moco.queue"]
    assert last["moco.loss"] < 0.8 * second["moco.loss"]
    assert last["moco.accuracy"] > second["moco.accuracy"]
    assert last["embedding_rank.a"] > 8
    state = last_checkpoint(tmp_path / "run")
    assert state["objectives.moco.queues.b.n_pushed"] == 15 * 4 * 64
    torch.testing.assert_close(state["objectives.moco.queues.b.rows"].norm(dim=1), torch.ones(128))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature above 0, got 0.0"),
        ({"queue_size": 0}, "queue_size of 1 or more, got 0"),
        ({"momentum": 2.0}, "momentum of 0 or more and at most 1, got 2.0"),
    ],
)
def test_moco_refuses_settings_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message):
        MoCo(**options)
