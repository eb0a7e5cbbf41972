"""SimSiam against its formula, its predictor's rate, and how its terms move on real molecules."""

import pytest
import torch
from objective_checks import SmallTwin, assert_same_function, built, global_batch, scored, two_views
from small_run import small_config
from torch import Tensor, nn

from molbt.errors import ConfigError
from molbt.objectives.simsiam import SimSiam, _spread, simsiam_loss
from molbt.training.schedule import optimiser_groups, set_learning_rates
from molbt.training.trainer import pretrain

PAIR = [("a", "b")]
SHARED = {"a": "a", "b": "a"}


def formula(p_a: Tensor, p_b: Tensor, z_a: Tensor, z_b: Tensor) -> Tensor:
    """Algorithm 1 of the paper, row by row."""
    cosine = lambda p, z: sum(p[i] @ z[i].detach() / p[i].norm() / z[i].detach().norm() for i in range(len(p))) / len(p)  # noqa: E731
    return -cosine(p_a, z_b) / 2 - cosine(p_b, z_a) / 2


def test_simsiam_equals_the_formula_in_value_and_gradient():
    views = [*two_views(7, 5), *two_views(7, 5, seed=4)]
    assert_same_function(simsiam_loss, lambda *v: formula(*v) + 0 * (v[2].sum() + v[3].sum()), *views)


def test_simsiam_is_symmetric_between_minus_one_and_one():
    p_a, p_b = two_views(7, 5)
    z_a, z_b = two_views(7, 5, seed=4)
    expected = simsiam_loss(p_a, p_b, z_a, z_b).item()
    assert simsiam_loss(p_b, p_a, z_b, z_a).item() == pytest.approx(expected, rel=1e-13)
    assert simsiam_loss(9 * p_a, p_b, z_a, z_b).item() == pytest.approx(expected, rel=1e-12)
    assert simsiam_loss(p_a, p_b, p_b, p_a).item() == pytest.approx(-1, rel=1e-12)
    assert simsiam_loss(p_a, p_b, -p_b, -p_a).item() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("keys", [SHARED, {"a": "a", "b": "b"}], ids=["shared", "two"])
def test_step_normalises_the_projections_and_predicts_the_other_view(keys):
    torch.manual_seed(0)
    twin = SmallTwin(keys, projection_dim=8)
    objective = built(SimSiam(hidden=6), twin, PAIR)
    assert len(objective.predictors.networks) == len(set(keys.values()))
    matrices = global_batch("ab", 12)
    output = scored(objective, twin, matrices, PAIR)
    norm = nn.BatchNorm1d(8, affine=False).double()
    z = {view: norm(twin.project(view, twin.encode(view, matrices[view]))) for view in "ab"}
    p = {view: objective.predictors.networks[f"{keys[view]}-{keys[other]}"](z[view]) for view, other in (("a", "b"), ("b", "a"))}
    assert output.loss.item() == pytest.approx(formula(p["a"], p["b"], z["a"], z["b"]).item(), rel=1e-11)
    unit = z["a"] / z["a"].norm(dim=1, keepdim=True)
    assert output.terms["std"].item() == pytest.approx((unit.std(0, unbiased=False).mean() * 8**0.5).item(), rel=1e-10)
    assert output.terms["centre"].item() == pytest.approx(unit.mean(0).pow(2).sum().item(), rel=1e-10)
    residual = (unit - unit.mean(0)).pow(2).sum(1).mean().item()
    assert output.terms["centre"].item() == pytest.approx(1 - residual, rel=1e-9)


@pytest.mark.parametrize("constant_rate", [True, False])
def test_predictor_keeps_the_peak_rate_if_it_is_asked_to(constant_rate):
    twin = SmallTwin(SHARED, projection_dim=8)
    objective = built(SimSiam(constant_rate=constant_rate), twin, PAIR)
    assert objective.predictors.networks["a-a"][0][0].out_features == 2  # a quarter
    optimiser = torch.optim.SGD(optimiser_groups(twin, [objective], weight_decay=0.1), lr=1.0)
    set_learning_rates(optimiser, 0.01, peak=1.0)
    own = {id(parameter) for parameter in objective.parameters()}
    rates = {group["lr"] for group in optimiser.param_groups for parameter in group["params"] if id(parameter) in own}
    assert rates == {1.0 if constant_rate else 0.01}


def test_terms_show_what_the_projections_share():
    z = torch.ones(6, 4, dtype=torch.float64) + 1e-6 * two_views(6, 4)[0]
    point = _spread(z)
    assert point["std"].item() == pytest.approx(0, abs=1e-5)
    assert point["centre"].item() == pytest.approx(1, abs=1e-5)
    signs = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [-1, 1, -1, 1], [-1, -1, -1, -1]])
    spread = _spread(signs)
    assert spread["std"].item() == pytest.approx(1, rel=1e-6)
    assert spread["centre"].item() == pytest.approx(0, abs=1e-6)


def test_simsiam_terms_move_as_its_theory_says(tmp_path, objective_corpus):
    config = small_config(objectives=[{"name": "simsiam"}], trainer={"epochs": 15})
    metrics = pretrain(objective_corpus, tmp_path / "run", config=config).metrics
    first, last = metrics.iloc[0], metrics.iloc[-1]
    assert last["simsiam.loss"] < first["simsiam.loss"] - 0.2
    assert last["simsiam.loss"] > -1
    assert last["simsiam.std"] > 0.5
    assert last["embedding_rank.a"] > 4


@pytest.mark.parametrize("hidden", [0, -3])
def test_simsiam_refuses_settings_that_cannot_be_used(hidden):
    with pytest.raises(ConfigError, match=f"hidden of 1 or more, got {hidden}"):
        SimSiam(hidden=hidden)
