"""Barlow Twins HSIC against its formula, its floor, and how its terms move on real molecules."""

import math

import pytest
import torch
from objective_checks import assert_same_function, two_views
from small_run import small_config
from torch import Tensor

from molbt.errors import ConfigError, ShapeError
from molbt.objectives.hsic import HSIC
from molbt.training.trainer import pretrain


def formula(z_a: Tensor, z_b: Tensor, weight: float, normalisation: str = "official") -> Tensor:
    """Entry by entry from the whole correlation matrix; ``weight`` is λ."""
    if normalisation == "small_data":
        z_a, z_b = z_a / z_a.norm(dim=1, keepdim=True), z_b / z_b.norm(dim=1, keepdim=True)
    scales = [(z.var(0, unbiased=False) + 1e-5).sqrt() if normalisation == "official" else z.std(0) + 1e-5 for z in (z_a, z_b)]
    c = ((z_a - z_a.mean(0)) / scales[0]).T @ ((z_b - z_b.mean(0)) / scales[1]) / len(z_a)
    on = torch.eye(len(c), dtype=torch.bool)
    return (1 - c[on]).pow(2).sum() + weight * (1 + c[~on]).pow(2).sum()


@pytest.mark.parametrize(("n", "d"), [(40, 10), (6, 30), (2, 5)])
@pytest.mark.parametrize("normalisation", ["official", "small_data", "unbiased"])
def test_hsic_equals_the_formula_in_value_and_gradient(normalisation, n, d):
    objective = HSIC(redundancy_weight=0.7, normalisation=normalisation)
    assert_same_function(
        lambda a, b: objective.loss(a, b).loss, lambda a, b: formula(a, b, 0.7 / d, normalisation), *two_views(n, d), rel=1e-9
    )


def test_hsic_default_weight_is_one_over_the_width():
    assert_same_function(lambda a, b: HSIC().loss(a, b).loss, lambda a, b: formula(a, b, 1 / 8), *two_views(30, 8), rel=1e-9)


def test_hsic_reaches_its_floor_where_every_pair_of_features_opposes_equally():
    # The centred unit vectors of a simplex: d columns whose correlations are all −1/(d − 1).
    d = 6
    z = 1e3 * (torch.eye(d, dtype=torch.float64) - 1 / d)
    output = HSIC(redundancy_weight=2.0).loss(z, z)
    assert output.loss.item() == pytest.approx(2 / d * d * (d - 1) * ((d - 2) / (d - 1)) ** 2, rel=1e-6)
    assert output.terms["above_floor"].item() == pytest.approx(0, abs=1e-5)
    assert HSIC().loss(*two_views(40, d)).terms["above_floor"] > 0.1
    # 125.0 for projections 128 wide at λ = 1/128
    wide = torch.randn(300, 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    terms = HSIC().loss(wide, wide).terms
    assert (terms["loss"] - terms["above_floor"]).item() == pytest.approx(125.0, abs=0.01)


def test_hsic_is_symmetric_and_unchanged_by_affine_rescaling_of_either_view():
    z_a, z_b = (100 * view for view in two_views(20, 7))
    expected = HSIC().loss(z_a, z_b).loss.item()
    factor, shift = torch.linspace(0.5, 9, 7, dtype=torch.float64), torch.linspace(-3, 5, 7, dtype=torch.float64)
    assert HSIC().loss(z_b, z_a).loss.item() == pytest.approx(expected, rel=1e-13)
    assert HSIC().loss(z_a * factor + shift, z_b).loss.item() == pytest.approx(expected, rel=1e-6)
    assert HSIC().loss(-z_a, z_b).loss.item() != pytest.approx(expected, rel=1e-3)


def test_hsic_terms_move_as_its_theory_says(tmp_path, objective_corpus):
    config = small_config(objectives=[{"name": "hsic"}], trainer={"epochs": 10})
    metrics = pretrain(objective_corpus, tmp_path / "run", config=config).metrics
    first, last = metrics.iloc[0], metrics.iloc[-1]
    assert last["hsic.invariance"] < 0.6 * first["hsic.invariance"]
    assert last["hsic.above_floor"] < 0.7 * first["hsic.above_floor"]
    assert last["hsic.mean_diagonal"] > first["hsic.mean_diagonal"] > 0.1
    assert last["embedding_rank.a"] > 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"redundancy_weight": math.inf}, "redundancy_weight of 0 or more, got inf"),
        ({"normalisation": "molecular"}, "unknown normalisation 'molecular'"),
    ],
)
def test_hsic_refuses_settings_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message):
        HSIC(**options)


@pytest.mark.parametrize("shapes", [((4, 3), (4, 2)), ((1, 3), (1, 3))])
def test_hsic_refuses_shapes_that_do_not_fit(shapes):
    with pytest.raises(ShapeError, match="hsic expected"):
        HSIC().loss(*(torch.zeros(shape) for shape in shapes))
