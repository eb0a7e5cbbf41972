"""SimCLR against its formula, what is masked, tiny temperatures, and how its terms move on real molecules."""

import math

import pytest
import torch
from objective_checks import SmallTwin, assert_same_function, built, global_batch, scored, two_views
from small_run import FINGERPRINTS, last_checkpoint, small_config
from torch import Tensor

from molbt.errors import ConfigError, ShapeError
from molbt.objectives.simclr import SimCLR, nt_xent
from molbt.training.trainer import pretrain

PAIR = [("a", "b")]


def formula(z_a: Tensor, z_b: Tensor, temperature: float, *, within: bool = True, entities=None, hard: Tensor | None = None) -> Tensor:
    """Anchor by anchor, as equation 1 of the paper; ``entities`` masks other rows of the same molecule."""
    n = len(z_a)
    entities = list(range(n)) if entities is None else entities
    rows = [(view, i, z[i]) for view, z in (("a", z_a), ("b", z_b)) for i in range(n)]
    total = 0.0
    for view, i, anchor in rows:
        cosine = lambda other: torch.dot(anchor, other) / anchor.norm() / other.norm()  # noqa: B023, E731
        positive = next(cosine(z) for other, j, z in rows if other != view and j == i)
        others = [cosine(z) for other, j, z in rows if (within or other != view) and entities[j] != entities[i]]
        others += [cosine(z) for z in hard] if hard is not None else []
        total = total - torch.log(torch.exp(positive / temperature) / sum(torch.exp(s / temperature) for s in [positive, *others]))
    return total / len(rows)


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("n", [6, 2])
def test_simclr_equals_the_formula_in_value_and_gradient(n, within):
    assert_same_function(
        lambda a, b: nt_xent(a, b, temperature=0.3, within_views=within), lambda a, b: formula(a, b, 0.3, within=within), *two_views(n, 5)
    )


def test_clip_form_is_cross_entropy_of_the_similarity_matrix():
    z_a, z_b = two_views(8, 5)
    logits = torch.nn.functional.normalize(z_a) @ torch.nn.functional.normalize(z_b).T / 0.2
    labels = torch.arange(8)
    expected = (torch.nn.functional.cross_entropy(logits, labels) + torch.nn.functional.cross_entropy(logits.T, labels)) / 2
    assert nt_xent(z_a, z_b, temperature=0.2, within_views=False).item() == pytest.approx(expected.item(), rel=1e-12)


def test_rows_of_the_same_molecule_are_no_negatives():
    entities = torch.tensor([0, 1, 2, 0, 4, 1])
    repeats = entities[:, None] == entities[None]
    assert_same_function(
        lambda a, b: nt_xent(a, b, temperature=0.3, repeats=repeats),
        lambda a, b: formula(a, b, 0.3, entities=entities.tolist()),
        *two_views(6, 5),
    )
    views = two_views(6, 5)
    assert nt_xent(*views, temperature=0.3, repeats=repeats).item() < nt_xent(*views, temperature=0.3).item()


def test_hard_negatives_are_negatives_of_every_anchor():
    hard, _ = two_views(6, 5, seed=9)
    assert_same_function(
        lambda a, b, h: nt_xent(a, b, temperature=0.3, hard_negatives=h),
        lambda a, b, h: formula(a, b, 0.3, hard=h),
        *two_views(6, 5),
        hard,
    )


def test_simclr_is_symmetric_and_unchanged_by_the_lengths_and_order_of_rows():
    z_a, z_b = two_views(8, 5)
    expected = nt_xent(z_a, z_b, temperature=0.1).item()
    lengths = torch.linspace(0.1, 7, 8, dtype=torch.float64)[:, None]
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    assert nt_xent(z_b, z_a, temperature=0.1).item() == pytest.approx(expected, rel=1e-13)
    assert nt_xent(lengths * z_a, z_b, temperature=0.1).item() == pytest.approx(expected, rel=1e-12)
    assert nt_xent(z_a[order], z_b[order], temperature=0.1).item() == pytest.approx(expected, rel=1e-12)
    assert nt_xent(z_a[order], z_b, temperature=0.1).item() != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("temperature", [0.01, 1e-4])
def test_simclr_at_a_tiny_temperature_is_finite_in_float32(temperature):
    z_a, z_b = (view.float().requires_grad_() for view in two_views(16, 5))
    loss = nt_xent(z_a, z_b, temperature=temperature)
    loss.backward()
    assert loss.item() == pytest.approx(nt_xent(z_a.double(), z_b.double(), temperature=temperature).item(), rel=1e-4)
    assert z_a.grad.isfinite().all()


def test_negatives_follow_the_encoders_unless_they_are_named():
    losses = {}
    for keys in ({"a": "a", "b": "a"}, {"a": "a", "b": "b"}):
        for negatives in ("auto", "all", "other_view"):
            torch.manual_seed(0)
            twin = SmallTwin(keys, projection_dim=8)
            objective = built(SimCLR(negatives=negatives), twin, PAIR)
            losses[keys["b"], negatives] = scored(objective, twin, global_batch("ab", 12), PAIR).loss.item()
    assert losses["a", "auto"] == losses["a", "all"] > losses["a", "other_view"]
    assert losses["b", "auto"] == losses["b", "other_view"] < losses["b", "all"]


def test_learned_temperature_moves_and_is_bounded():
    objective = SimCLR(temperature=1e-3, learn_temperature=True)
    assert objective.temperature.item() == pytest.approx(0.01, rel=1e-6)
    assert SimCLR(temperature=1e-3).temperature.item() == pytest.approx(1e-3, rel=1e-5)
    twin = SmallTwin({"a": "a", "b": "a"}, projection_dim=8)
    objective = built(SimCLR(temperature=0.5, learn_temperature=True), twin, PAIR)
    scored(objective, twin, global_batch("ab", 12), PAIR).loss.backward()
    assert objective.log_scale.grad.abs() > 1e-4


def test_simclr_terms_move_as_its_theory_says(tmp_path, objective_corpus):
    # A third view as hard negatives, through the trainer: molecules at random are easier to tell apart.
    views = {**FINGERPRINTS, "other": {"like": "a", "drop": 0.5}}
    objective = {"name": "simclr", "temperature": 0.2, "learn_temperature": True, "hard_negatives": "other"}
    config = small_config(views=views, objectives=[objective], trainer={"epochs": 10})
    metrics = pretrain(objective_corpus, tmp_path / "run", config=config).metrics
    first, last = metrics.iloc[0], metrics.iloc[-1]
    assert last["simclr.alignment"] > 0
    assert first["simclr.loss"] < math.log(3 * 64)
    assert last["embedding_rank.a"] > 8
    assert last_checkpoint(tmp_path / "run")["objectives.simclr.log_scale"].exp() != pytest.approx(5.0, rel=1e-3)
    plain = small_config(objectives=[{"name": "simclr", "temperature": 0.2}], trainer={"epochs": 10})
    metrics = pretrain(objective_corpus, tmp_path / "plain", config=plain).metrics
    assert metrics["simclr.loss"].iloc[-1] < 0.7 * metrics["simclr.loss"].iloc[0]
    assert metrics["simclr.alignment"].iloc[-1] > metrics["simclr.alignment"].iloc[0]
    assert metrics["embedding_rank.a"].iloc[-1] > 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature above 0, got 0.0"),
        ({"negatives": "both"}, "unknown negatives 'both'"),
    ],
)
def test_simclr_refuses_settings_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message):
        SimCLR(**options)


def test_simclr_refuses_shapes_and_views_that_do_not_fit(tmp_path, objective_corpus):
    with pytest.raises(ShapeError, match="simclr expected"):
        nt_xent(torch.zeros(4, 3), torch.zeros(4, 2), temperature=0.1)
    with pytest.raises(ConfigError, match="unknown view 'hard'"):
        pretrain(objective_corpus, tmp_path / "run", config=small_config(objectives=[{"name": "simclr", "hard_negatives": "hard"}]))
