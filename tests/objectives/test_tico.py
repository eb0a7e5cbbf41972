"""TiCo against its formula, its running covariance, and how its terms move on real molecules."""

import pytest
import torch
from objective_checks import SmallTwin, assert_same_function, built, global_batch, scored, two_views
from small_run import last_checkpoint, small_config
from torch import Tensor

from molbt.errors import ConfigError
from molbt.objectives.tico import TiCo, tico_terms
from molbt.training.trainer import pretrain

PAIR = [("a", "b")]
SHARED = {"a": "a", "b": "a"}


def formula(z: Tensor, target: Tensor, c: Tensor) -> Tensor:
    """Row by row; the first factor in odd places, so that both terms must be right."""
    z, target = (x / x.norm(dim=1, keepdim=True) for x in (z, target))
    n = len(z)
    return 3 * (1 - sum(z[i] @ target[i] for i in range(n)) / n) + 8 * sum(z[i] @ c @ z[i] for i in range(n)) / n


def test_tico_terms_equal_the_formula_in_value_and_gradient():
    z, target = two_views(9, 6)
    c, _ = two_views(6, 6, seed=3)
    c = c @ c.T / 10

    def terms(z: Tensor) -> Tensor:
        invariance, contrast = tico_terms(z, target, c)
        return 3 * invariance + 8 * contrast

    assert_same_function(terms, lambda z: formula(z, target, c), z)


def test_covariance_follows_the_projections_and_takes_no_gradient():
    torch.manual_seed(0)
    twin = SmallTwin(SHARED, projection_dim=8)
    objective = built(TiCo(contrast_weight=5.0, covariance_momentum=0.7), twin, PAIR)
    c = torch.zeros(8, 8, dtype=torch.float64)
    for step in range(3):
        matrices = global_batch("ab", 12, step=step)
        z = torch.nn.functional.normalize(twin.project("a", twin.encode("a", matrices["a"])))
        target = twin.project("b", twin.encode("b", matrices["b"])).detach()  # the copies have not moved
        c = 0.7 * c + 0.3 * z.detach().T @ z.detach() / 12
        output = scored(objective, twin, matrices, PAIR, step=step)
        expected = 1 - (z * torch.nn.functional.normalize(target)).sum(1).mean() + 5 * (z @ c * z).sum(1).mean()
        assert output.loss.item() == pytest.approx(expected.item(), rel=1e-12)
        weight = twin.projectors["a"].weight
        (gradient,), (other,) = torch.autograd.grad(output.loss, weight), torch.autograd.grad(expected, weight)
        assert (gradient - other).norm() < 1e-12 * other.norm()
        objective.after_step(twin, 0.0)
        torch.testing.assert_close(objective.covariances["a"].data, c, rtol=1e-12, atol=0)


def test_a_step_that_is_not_taken_leaves_the_covariance_alone():
    twin = SmallTwin(SHARED, projection_dim=8)
    objective = built(TiCo(), twin, PAIR)
    scored(objective, twin, global_batch("ab", 12), PAIR)
    assert not objective.covariances["a"].any()


def test_contrast_of_a_collapsed_view_grows_to_its_weight():
    # All projections equal: C tends to z zᵀ and zᵀ C z to 1.
    z = torch.ones(10, 4, dtype=torch.float64)
    c = torch.zeros(4, 4, dtype=torch.float64)
    for _ in range(60):
        c = 0.9 * c + 0.1 * torch.full((4, 4), 0.25)
    invariance, contrast = tico_terms(z, z, c)
    assert invariance.item() == pytest.approx(0, abs=1e-12)
    assert contrast.item() == pytest.approx(1, rel=0.01)


def test_directions_are_one_for_a_shared_encoder_and_two_for_two():
    losses = {}
    for second in "ab":
        for symmetric in (None, False, True):
            torch.manual_seed(0)
            twin = SmallTwin({"a": "a", "b": second}, projection_dim=8)
            objective = built(TiCo(symmetric=symmetric), twin, PAIR)
            losses[second, symmetric] = scored(objective, twin, global_batch("ab", 12), PAIR).loss.item()
            assert set(objective.covariances) == {"a", second}
    assert losses["a", None] == losses["a", False] != pytest.approx(losses["a", True], rel=1e-6)
    assert losses["b", None] == losses["b", True] != pytest.approx(losses["b", False], rel=1e-6)


def test_tico_terms_move_as_its_theory_says(tmp_path, objective_corpus):
    config = small_config(objectives=[{"name": "tico"}], trainer={"epochs": 15})
    metrics = pretrain(objective_corpus, tmp_path / "run", config=config).metrics
    first, last = metrics.iloc[0], metrics.iloc[-1]
    # The contrast starts at 0 with C and stays far from the 8 of a collapse; once C stands, the sum falls.
    assert first["tico.contrast"] < last["tico.contrast"] < metrics["tico.contrast"].max() < 2
    assert last["tico.loss"] < metrics["tico.loss"].max()
    assert last["tico.invariance"] < metrics["tico.invariance"].max()
    assert 0.99 <= first["tico.momentum"] < last["tico.momentum"] <= 1
    assert last["embedding_rank.a"] > first["embedding_rank.a"] > 8
    c = last_checkpoint(tmp_path / "run")["objectives.tico.covariances.a"]
    assert c.trace().item() == pytest.approx(1 - 0.9**60, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contrast_weight": -1.0}, "contrast_weight of 0 or more, got -1.0"),
        ({"covariance_momentum": 1.5}, "covariance_momentum of 0 or more and at most 1, got 1.5"),
        ({"momentum": -0.1}, "momentum of 0 or more and at most 1"),
    ],
)
def test_tico_refuses_settings_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message):
        TiCo(**options)
