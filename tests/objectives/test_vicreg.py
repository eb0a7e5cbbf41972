"""VICReg against its formula, its invariances, and how its terms move on real molecules."""

import math

import pytest
import torch
from objective_checks import assert_same_function, two_views
from small_run import small_config
from torch import Tensor

from molbt.errors import ConfigError, ShapeError
from molbt.objectives.vicreg import VICReg
from molbt.training.trainer import pretrain


def formula(z_a: Tensor, z_b: Tensor, weights: tuple[float, float, float], half: float) -> Tensor:
    """Equations 1 to 6 of the paper, column by column."""
    d = z_a.shape[1]
    loss = weights[0] * (z_a - z_b).pow(2).mean()
    for z in (z_a, z_b):
        covariance = torch.cov(z.T)
        loss = loss + weights[1] * half * torch.relu(1 - (covariance.diagonal() + 1e-4).sqrt()).sum() / d
        loss = loss + weights[2] * (covariance.pow(2).sum() - covariance.diagonal().pow(2).sum()) / d
    return loss


@pytest.mark.parametrize(("n", "d"), [(24, 10), (5, 40), (2, 6)])
@pytest.mark.parametrize(("reduction", "half"), [("mean", 0.5), ("sum", 1.0)])
def test_vicreg_equals_the_formula_in_value_and_gradient(n, d, reduction, half):
    objective = VICReg(invariance_weight=20.0, variance_weight=15.0, covariance_weight=2.0, variance_reduction=reduction)
    views = (0.6 * view for view in two_views(n, d))  # deviations on both sides of 1
    assert_same_function(lambda a, b: objective.loss(a, b).loss, lambda a, b: formula(a, b, (20, 15, 2), half), *views)


def test_vicreg_defaults_are_those_of_the_authors_code():
    assert_same_function(lambda a, b: VICReg().loss(a, b).loss, lambda a, b: formula(a, b, (25, 25, 1), 0.5), *two_views(24, 10))


def test_vicreg_is_symmetric_and_unmoved_by_shifts_of_both_views():
    z_a, z_b = two_views(12, 6)
    expected = VICReg().loss(z_a, z_b).loss.item()
    assert VICReg().loss(z_b, z_a).loss.item() == pytest.approx(expected, rel=1e-13)
    assert VICReg().loss(z_a + 7, z_b + 7).loss.item() == pytest.approx(expected, rel=1e-12)
    assert VICReg().loss(z_a + 7, z_b).loss.item() != pytest.approx(expected, rel=1e-3)


def test_vicreg_of_white_equal_views_is_zero_and_of_a_point_is_the_variance_term():
    columns = torch.linalg.qr(torch.cat([torch.ones(32, 1), torch.randn(32, 6, generator=torch.Generator().manual_seed(0))], 1).double())[0]
    white = columns[:, 1:] * math.sqrt(31)
    assert VICReg().loss(white, white).loss.item() == pytest.approx(0, abs=1e-9)
    point = torch.zeros(8, 5, dtype=torch.float64)
    assert VICReg().loss(point, point).loss.item() == pytest.approx(25 * (1 - 0.01), rel=1e-12)


def test_vicreg_of_large_projections_in_half_precision_does_not_overflow():
    views = [200 * view for view in two_views(64, 300, dtype=torch.float16)]
    output = VICReg().loss(*views)
    assert output.loss.dtype == torch.float32
    assert output.loss.item() == pytest.approx(VICReg().loss(*(view.double() for view in views)).loss.item(), rel=1e-4)


def test_vicreg_terms_move_as_its_theory_says(tmp_path, objective_corpus):
    config = small_config(objectives=[{"name": "vicreg"}], trainer={"epochs": 10})
    metrics = pretrain(objective_corpus, tmp_path / "run", config=config).metrics
    first, last = metrics.iloc[0], metrics.iloc[-1]
    assert last["vicreg.loss"] < 0.8 * first["vicreg.loss"]
    assert last["vicreg.variance"] < 0.7 * first["vicreg.variance"]
    assert 0.5 < last["vicreg.std"] < 1.5
    assert last["embedding_rank.a"] > 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variance_reduction": "half"}, "unknown variance_reduction 'half'"),
        ({"invariance_weight": -1.0}, "invariance_weight of 0 or more, got -1.0"),
        ({"covariance_weight": math.nan}, "covariance_weight of 0 or more, got nan"),
    ],
)
def test_vicreg_refuses_settings_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message):
        VICReg(**options)


@pytest.mark.parametrize("shapes", [((4, 3), (4, 2)), ((4,), (4,)), ((1, 3), (1, 3))])
def test_vicreg_refuses_shapes_that_do_not_fit(shapes):
    with pytest.raises(ShapeError, match="vicreg expected"):
        VICReg().loss(*(torch.zeros(shape) for shape in shapes))
