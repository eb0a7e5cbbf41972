"""SimTriplet is two SimSiam terms around one view."""

import pytest
import torch
from objective_checks import SmallTwin, built, global_batch, scored
from small_run import FINGERPRINTS, small_config

from molbt.errors import ConfigError
from molbt.objectives.simsiam import SimSiam
from molbt.objectives.simtriplet import SimTriplet
from molbt.training.trainer import pretrain

KEYS = {"a": "a", "b": "a", "c": "a"}
STAR = [("a", "b"), ("a", "c")]


def cosine(p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(p, z.detach(), dim=1).mean()


def test_simtriplet_equals_the_formula_in_value_and_gradient():
    torch.manual_seed(0)
    twin = SmallTwin(KEYS, projection_dim=8)
    objective = built(SimTriplet(hidden=5), twin, STAR)
    matrices = global_batch("abc", 12)
    output = scored(objective, twin, matrices, STAR)
    norm = torch.nn.BatchNorm1d(8, affine=False).double()
    z1, z2, z3 = (norm(twin.project(view, twin.encode(view, matrices[view]))) for view in "abc")
    p1, p2, p3 = (objective.predictors.networks["a-a"](z) for z in (z1, z2, z3))
    expected = -(cosine(p1, z2) + cosine(p2, z1)) / 2 - (cosine(p1, z3) + cosine(p3, z1)) / 2
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-11)
    parameters = [*twin.parameters(), *objective.parameters()]
    for gradient, other in zip(torch.autograd.grad(output.loss, parameters), torch.autograd.grad(expected, parameters), strict=True):
        assert (gradient - other).norm() <= 1e-9 * other.norm() + 1e-12


def test_simtriplet_is_unchanged_by_swapping_its_outer_views_and_equals_two_simsiam_terms():
    torch.manual_seed(0)
    twin = SmallTwin(KEYS, projection_dim=8)
    objective = built(SimTriplet(hidden=5), twin, STAR)
    single = SimSiam(hidden=5)
    single.build(twin, pairs=STAR, n_tasks={})
    single.double().load_state_dict(objective.state_dict())
    matrices = global_batch("abc", 12)
    expected = scored(objective, twin, matrices, STAR).loss.item()
    assert scored(objective, twin, matrices, STAR[::-1]).loss.item() == pytest.approx(expected, rel=1e-12)
    terms = [scored(single, twin, matrices, [pair]).loss.item() for pair in STAR]
    assert sum(terms) == pytest.approx(expected, rel=1e-12)
    around_b = scored(objective, twin, matrices, [("b", "a"), ("b", "c")]).loss.item()
    assert around_b != pytest.approx(expected, rel=1e-4)


def test_simtriplet_trains_three_views_of_one_encoder(tmp_path, objective_corpus):
    views = {**FINGERPRINTS, "c": {"like": "a", "drop": 0.4}}
    config = small_config(views=views, pairs=STAR, objectives=[{"name": "simtriplet"}], trainer={"epochs": 10})
    metrics = pretrain(objective_corpus, tmp_path / "run", config=config).metrics
    assert metrics["simtriplet.loss"].iloc[-1] < metrics["simtriplet.loss"].iloc[0] - 0.2
    assert metrics["simtriplet.std"].iloc[-1] > 0.5
    assert metrics["embedding_rank.a"].iloc[-1] > 4


@pytest.mark.parametrize("pairs", [[("a", "b")], [("a", "b"), ("b", "c")]])
def test_simtriplet_refuses_pairs_that_are_no_star(pairs):
    with pytest.raises(ConfigError, match="expects two or more pairs that begin with one view"):
        SimTriplet().build(SmallTwin(KEYS, projection_dim=8), pairs=pairs, n_tasks={})
