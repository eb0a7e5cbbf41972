"""All4One against its formulas, its positions, and how its terms move on real molecules."""

import math

import numpy as np
import pytest
import torch
from objective_checks import SmallTwin, assert_same_function, built, global_batch, scored, two_views
from small_run import small_config
from torch import Tensor, nn

from molbt.errors import ConfigError
from molbt.nn.contrast import unit_rows
from molbt.objectives.all4one import All4One, feature_contrast, positional_code
from molbt.training.schedule import optimiser_groups, set_learning_rates
from molbt.training.trainer import pretrain

PAIR = [("a", "b")]


def feature_formula(k_a: Tensor, k_b: Tensor, z_a: Tensor, z_b: Tensor) -> Tensor:
    on, off = 0.0, 0.0
    for k, z in ((k_a, z_b), (k_b, z_a)):
        m = (k / k.norm(dim=0)).T @ (z / z.norm(dim=0))
        diagonal = torch.eye(len(m), dtype=torch.bool)
        on, off = on + (1 - m[diagonal]).pow(2).mean() / 2, off + m[~diagonal].pow(2).mean() / 2
    return 10 * (on.sqrt() / 2 + off.sqrt() / 2)


@pytest.mark.parametrize(("n", "d"), [(20, 6), (6, 20), (2, 4)])
def test_feature_term_equals_the_formula_in_value_and_gradient(n, d):
    views = [*two_views(n, d, seed=4), *two_views(n, d)]
    assert_same_function(feature_contrast, feature_formula, *views, rel=1e-9)


def test_feature_term_is_symmetric_and_finite_where_it_is_zero():
    k_a, k_b, z_a, z_b = (*two_views(20, 6, seed=4), *two_views(20, 6))
    assert feature_contrast(k_b, k_a, z_b, z_a).item() == pytest.approx(feature_contrast(k_a, k_b, z_a, z_b).item(), rel=1e-13)
    white = torch.linalg.qr(two_views(20, 6)[0])[0].requires_grad_()
    value = feature_contrast(white.detach(), white.detach(), white, white)
    value.backward()
    assert value.item() == pytest.approx(0, abs=2e-5)  # 1e-6 under each root
    assert white.grad.isfinite().all()


def contrast(anchors: Tensor, predictions: Tensor, temperature: float) -> Tensor:
    logits = nn.functional.cosine_similarity(anchors[:, None], predictions[None], dim=2) / temperature
    return nn.functional.cross_entropy(logits, torch.arange(len(anchors)))


@pytest.mark.parametrize("positional", ["reference", "sequence"])
@pytest.mark.parametrize("keys", [{"a": "a", "b": "a"}, {"a": "a", "b": "b"}], ids=["shared", "two"])
def test_step_equals_the_formulas_of_its_three_parts(keys, positional):
    torch.manual_seed(0)
    twin = SmallTwin(keys, projection_dim=8)
    objective = built(All4One(queue_size=40, hidden=6, dropout=0.0, heads=4, layers=1, temperature=0.3, positional=positional), twin, PAIR)
    code = positional_code(5, 8, positional).double()
    norm = nn.BatchNorm1d(8, affine=False).double()
    queues = {key: torch.zeros(0, 8, dtype=torch.float64) for key in keys.values()}
    for step in range(3):
        matrices = global_batch("ab", 12, step=step)
        output = scored(objective, twin, matrices, PAIR, step=step)
        z, k, p, c, s, first = {}, {}, {}, {}, {}, {}
        for view, other in (("a", "b"), ("b", "a")):
            direction = f"{keys[view]}-{keys[other]}"
            z[view] = norm(twin.project(view, twin.encode(view, matrices[view])))
            copies = objective.targets
            k[view] = unit_rows(norm(copies.projectors[keys[view]](copies.encoders[keys[view]](matrices[view]))))
            stored = queues[keys[view]][-40:]
            if len(stored):
                near = stored[(k[view] @ stored.T).argsort(dim=1, descending=True)[:, :5]]
            else:
                near = k[view][:, None].expand(12, 5, 8)
            p[view] = objective.predictors.networks[direction](z[view])
            second = objective.centroid_predictors.networks[direction](z[view])
            first[view] = near[:, 0]
            c[view] = objective.transformer(near + code)[:, 0]
            s[view] = objective.transformer(torch.cat([second[:, None], near[:, :4]], 1) + code)[:, 0]
        neighbour = (contrast(first["a"], p["b"], 0.3) + contrast(first["b"], p["a"], 0.3)) / 2
        centroid = (contrast(c["a"], s["b"], 0.1) + contrast(c["b"], s["a"], 0.1)) / 2
        feature = feature_formula(k["a"], k["b"], z["a"], z["b"])
        expected = (neighbour + centroid + feature) / 2
        assert output.loss.item() == pytest.approx(expected.item(), rel=1e-9)
        parameters = [parameter for part in (twin, objective) for parameter in part.parameters() if parameter.requires_grad]
        gradients = (torch.autograd.grad(loss, parameters) for loss in (output.loss, expected))
        for gradient, other in zip(*gradients, strict=True):
            assert (gradient - other).norm() < 1e-7 * other.norm() + 1e-10
        objective.after_step(twin, 0.0)
        for key in queues:
            queues[key] = torch.cat([queues[key], k[key].detach()])


def test_positions_are_those_of_the_usual_code_and_of_the_one_with_swapped_axes():
    sequence, reference = positional_code(5, 8, "sequence"), positional_code(5, 8, "reference")
    for i, j in np.ndindex(5, 8):
        wave = math.sin if j % 2 == 0 else math.cos
        assert sequence[i, j].item() == pytest.approx(wave(i / 10_000 ** (2 * (j // 2) / 8)), abs=1e-6)
        wave = math.sin if i % 2 == 0 else math.cos  # five channels count as six
        assert reference[i, j].item() == pytest.approx(wave(j / 10_000 ** (2 * (i // 2) / 6)), abs=1e-6)


def test_transformer_has_a_rate_of_its_own():
    twin = SmallTwin({"a": "a", "b": "a"}, projection_dim=8)
    objective = built(All4One(transformer_rate=0.25, hidden=6), twin, PAIR)
    optimiser = torch.optim.SGD(optimiser_groups(twin, [objective], weight_decay=0.1), lr=1.0)
    set_learning_rates(optimiser, 0.8, peak=1.0)
    rates = {id(parameter): group["lr"] for group in optimiser.param_groups for parameter in group["params"]}
    assert {rates[id(parameter)] for parameter in objective.transformer.parameters()} == {0.2}
    assert {rates[id(parameter)] for parameter in objective.predictors.parameters()} == {0.8}


def test_all4one_terms_move_as_its_theory_says(tmp_path, objective_corpus):
    objective = {"name": "all4one", "queue_size": 128, "hidden": 48, "layers": 1, "transformer_rate": 1.0}
    metrics = pretrain(objective_corpus, tmp_path / "run", config=small_config(objectives=[objective], trainer={"epochs": 15})).metrics
    second, last = metrics.iloc[1], metrics.iloc[-1]
    assert metrics["all4one.queue"].iloc[0] < 1 == last["all4one.queue"]
    for term in ("loss", "neighbour", "centroid", "feature"):
        assert last[f"all4one.{term}"] < 0.97 * second[f"all4one.{term}"], term
    assert last["embedding_rank.a"] > 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positional": "none"}, "unknown positional 'none'"),
        ({"queue_size": 4}, "queue_size of 5 or more, got 4"),
        ({"centroid_temperature": 0.0}, "centroid_temperature above 0, got 0.0"),
        ({"dropout": 1.5}, "dropout of 0 or more and at most 1"),
    ],
)
def test_all4one_refuses_settings_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message):
        All4One(**options)


def test_all4one_refuses_heads_that_do_not_divide_the_width():
    with pytest.raises(ConfigError, match="heads that divide the projections' width 8, received 3"):
        All4One(heads=3).build(SmallTwin({"a": "a", "b": "a"}, projection_dim=8), pairs=PAIR, n_tasks={})
