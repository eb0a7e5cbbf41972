"""Mixed Barlow Twins against the five correlation matrices of its paper, and how its terms move on real molecules."""

import pytest
import torch
from objective_checks import SmallTwin, assert_same_function, built, global_batch, scored, two_views
from small_run import small_config
from torch import Tensor, nn

from molbt.draws import Draws
from molbt.errors import ConfigError
from molbt.objectives.mixed_barlow_twins import MixedBarlowTwins, mixing_regulariser
from molbt.training.trainer import pretrain

PAIR = [("a", "b")]


def whitened(z: Tensor, normalisation: str) -> Tensor:
    if normalisation == "official":
        return nn.BatchNorm1d(z.shape[1], affine=False).to(z.dtype)(z)
    z = z / z.norm(dim=1, keepdim=True)
    return (z - z.mean(0)) / (z.std(0) + 1e-5)


def formula(m: Tensor, a: Tensor, b: Tensor, alpha: float, order: Tensor, normalisation: str = "official") -> Tensor:
    """``‖C_ma − G_ma‖² + ‖C_mb − G_mb‖²`` from the matrices themselves."""
    n = len(a)
    m, a, b = (whitened(z, normalisation) for z in (m, a, b))
    target_a = alpha / n * a.T @ a + (1 - alpha) / n * b[order].T @ a
    target_b = alpha / n * a.T @ b + (1 - alpha) / n * b[order].T @ b
    return (m.T @ a / n - target_a).pow(2).sum() + (m.T @ b / n - target_b).pow(2).sum()


@pytest.mark.parametrize(("n", "d"), [(40, 10), (6, 30), (2, 5)])
@pytest.mark.parametrize("normalisation", ["official", "small_data"])
def test_regulariser_equals_the_formula_in_value_and_gradient(normalisation, n, d):
    m, _ = two_views(n, d, seed=5)
    a, b = two_views(n, d)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    alpha = torch.tensor([0.3])
    assert_same_function(
        lambda m, a, b: mixing_regulariser(m, a, b, b, alpha, order, normalisation=normalisation),
        lambda m, a, b: formula(m, a, b, float(alpha), order, normalisation),
        m,
        a,
        b,
        rel=1e-9,
    )


def test_regulariser_is_zero_where_the_mixture_is_the_first_view():
    a, b = two_views(20, 8)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    assert mixing_regulariser(a, a, b, b, torch.tensor(1.0), order).item() == 0
    assert mixing_regulariser(b[order], a, b, b, torch.tensor(0.0), order).item() == pytest.approx(0, abs=1e-20)
    assert mixing_regulariser(a, a, b, b, torch.tensor(0.5), order).item() > 1


@pytest.mark.parametrize("weights", [{}, {"redundancy_lambda": 0.01}, {"redundancy_weight": 3.0}])
def test_step_mixes_once_per_step_and_weighs_with_lambda(weights):
    torch.manual_seed(0)
    twin = SmallTwin({"a": "a", "b": "a"}, projection_dim=8)
    objective = built(MixedBarlowTwins(mixing_weight=2.5, **weights), twin, PAIR)
    matrices = global_batch("ab", 16)
    output = scored(objective, twin, matrices, PAIR, step=3)
    order = Draws.for_rows(torch.arange(16) + 3000, seed=0, epoch=0, view="objective").permutation()
    alpha = Draws.for_rows(torch.tensor([3]), seed=0, epoch=0, view="step").uniform()
    assert 0.05 < float(alpha) < 0.95
    project = lambda x: twin.project("a", twin.encode("a", x))  # noqa: E731
    mixture = project(alpha * matrices["a"] + (1 - alpha) * matrices["b"][order])
    expected = formula(mixture, project(matrices["a"]), project(matrices["b"]), float(alpha), order).item()
    assert output.terms["mixing"].item() == pytest.approx(expected, rel=1e-7)  # α is drawn in float32
    lambda_ = weights.get("redundancy_lambda", weights.get("redundancy_weight", 128.0) / 8)
    assert output.loss.item() == pytest.approx(output.terms["loss"].item() + 2.5 * lambda_ * expected, rel=1e-7)
    assert output.terms["total"] == output.loss


def test_two_encoders_mix_within_each_view():
    torch.manual_seed(0)
    twin = SmallTwin({"a": "a", "b": "b"}, projection_dim=8)
    objective = built(MixedBarlowTwins(), twin, PAIR)
    matrices = global_batch("ab", 16)
    output = scored(objective, twin, matrices, PAIR)
    order = Draws.for_rows(torch.arange(16), seed=0, epoch=0, view="objective").permutation()
    alpha = Draws.for_rows(torch.tensor([0]), seed=0, epoch=0, view="step").uniform()
    z = {view: twin.project(view, twin.encode(view, matrices[view])) for view in "ab"}
    total = 0.0
    for own, other in (("a", "b"), ("b", "a")):
        m = twin.project(own, twin.encode(own, alpha * matrices[own] + (1 - alpha) * matrices[own][order]))
        m, x, y = (whitened(values, "official") for values in (m, z[own], z[other]))
        target = alpha * x + (1 - alpha) * x[order]
        total += sum(((m - target).T @ side / 16).pow(2).sum().item() for side in (x, y)) / 2
    assert output.terms["mixing"].item() == pytest.approx(total, rel=1e-7)


def test_mixing_weight_rises_over_the_ramp():
    torch.manual_seed(0)
    twin = SmallTwin({"a": "a", "b": "a"}, projection_dim=8)
    objective = built(MixedBarlowTwins(ramp=0.5), twin, PAIR)
    matrices = global_batch("ab", 16)
    extra = []
    for progress in (0.0, 0.25, 0.5, 0.9):
        output = scored(objective, twin, matrices, PAIR, progress=progress)
        extra.append((output.loss - output.terms["loss"]).item() / (4 * 128 / 8 * output.terms["mixing"].item()))
    assert extra == pytest.approx([0, 0.5, 1, 1], abs=1e-9)


def test_mixed_barlow_twins_terms_move_as_its_theory_says(tmp_path, objective_corpus):
    objective = {"name": "mixed_barlow_twins", "redundancy_weight": 8.0}
    metrics = pretrain(objective_corpus, tmp_path / "run", config=small_config(objectives=[objective], trainer={"epochs": 10})).metrics
    first, last = metrics.iloc[0], metrics.iloc[-1]
    assert last["mixed_barlow_twins.mixing"] < 0.8 * first["mixed_barlow_twins.mixing"]
    assert last["mixed_barlow_twins.loss"] < 0.9 * first["mixed_barlow_twins.loss"]
    assert last["mixed_barlow_twins.mean_diagonal"] > first["mixed_barlow_twins.mean_diagonal"]
    assert last["embedding_rank.a"] > 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixing_weight": -1.0}, "mixing_weight of 0 or more, got -1.0"),
        ({"ramp": 1.5}, "ramp of 0 or more and at most 1, got 1.5"),
        ({"normalisation": "molecular"}, "no normalisation 'molecular'"),
        ({"redundancy_weight": 1.0, "redundancy_lambda": 1.0}, "give one of them"),
    ],
)
def test_mixed_barlow_twins_refuses_settings_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message):
        MixedBarlowTwins(**options)
