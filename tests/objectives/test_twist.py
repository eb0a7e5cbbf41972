"""TWIST against its formula, its extremes, and how its terms move on real molecules."""

import math

import pytest
import torch
from objective_checks import SmallTwin, assert_same_function, built, global_batch, scored, two_views
from small_run import small_config
from torch import Tensor, nn

from molbt.errors import ConfigError, ShapeError
from molbt.objectives.twist import TWIST, self_labelling_loss, standardised_in_groups, taught_consistency, twist_terms
from molbt.training.trainer import pretrain

PAIR = [("a", "b")]


def formula(f_a: Tensor, f_b: Tensor, weights: tuple[float, float], temperature: float) -> Tensor:
    """From probabilities, term by term."""
    p, q = f_a.exp() / f_a.exp().sum(1, keepdim=True), f_b.exp() / f_b.exp().sum(1, keepdim=True)
    kl = lambda p, q: (p * (p / q).log()).sum(1).mean()  # noqa: E731
    entropy = lambda p: -(p * p.log()).sum(-1)  # noqa: E731
    loss = (kl(p, q) + kl(q, p)) / 2
    for f in (f_a, f_b):
        s = (f / temperature).exp() / (f / temperature).exp().sum(1, keepdim=True)
        loss = loss + weights[0] / 2 * entropy(s).mean() - weights[1] / 2 * entropy(s.mean(0))
    return loss


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_twist_equals_the_formula_in_value_and_gradient(temperature):
    def loss(a: Tensor, b: Tensor) -> Tensor:
        consistency, sharpness, diversity = twist_terms(a, b, temperature=temperature)
        return consistency + 0.4 * sharpness - 1.3 * diversity

    assert_same_function(loss, lambda a, b: formula(a, b, (0.4, 1.3), temperature), *two_views(9, 6))


def test_twist_is_symmetric_and_unchanged_by_shifts_of_rows():
    f_a, f_b = two_views(9, 6)
    expected = [term.item() for term in twist_terms(f_a, f_b)]
    shift = torch.linspace(-3, 3, 9, dtype=torch.float64)[:, None]
    assert [term.item() for term in twist_terms(f_b, f_a)] == pytest.approx(expected, rel=1e-12)
    assert [term.item() for term in twist_terms(f_a + shift, f_b - 2 * shift)] == pytest.approx(expected, rel=1e-12)


def test_terms_of_sure_and_of_unsure_logits_are_known():
    sure = 200 * torch.eye(6, dtype=torch.float64)
    consistency, sharpness, diversity = twist_terms(sure, sure)
    assert (consistency.item(), sharpness.item()) == pytest.approx((0, 0), abs=1e-12)
    assert diversity.item() == pytest.approx(math.log(6), rel=1e-12)
    same = 200 * torch.eye(6, dtype=torch.float64)[:1].expand(6, 6)
    assert twist_terms(same, same)[2].item() == pytest.approx(0, abs=1e-12)
    unsure = torch.zeros(6, 6, dtype=torch.float64)
    assert [term.item() for term in twist_terms(unsure, unsure)] == pytest.approx([0, math.log(6), math.log(6)], abs=1e-12)
    # Far apart, and a tiny temperature: by log-softmax, so nothing is infinite.
    far = [(200 * torch.eye(6)).requires_grad_(), (200 * torch.eye(6)).roll(1, 0).requires_grad_()]
    terms = twist_terms(*far, temperature=1e-3)
    sum(terms).backward()
    assert terms[0].item() == pytest.approx(200, rel=1e-6)
    assert all(logits.grad.isfinite().all() for logits in far)


@pytest.mark.parametrize("keys", [{"a": "a", "b": "a"}, {"a": "a", "b": "b"}], ids=["shared", "two"])
def test_step_normalises_the_logits(keys):
    torch.manual_seed(0)
    twin = SmallTwin(keys, projection_dim=8)
    objective = built(TWIST(sharpness_weight=0.4, diversity_weight=1.3, temperature=0.5), twin, PAIR)
    matrices = global_batch("ab", 12)
    output = scored(objective, twin, matrices, PAIR)
    raw = [twin.project(view, twin.encode(view, matrices[view])) for view in "ab"]
    logits = [nn.BatchNorm1d(8, affine=False).double()(z) for z in raw]
    assert output.loss.item() == pytest.approx(formula(*logits, (0.4, 1.3), 0.5).item(), rel=1e-10)
    assert output.terms["classes"] == len(logits[0].argmax(1).unique())
    assert output.terms["row_std"].item() == pytest.approx(raw[0].std(1, unbiased=False).mean().item(), rel=1e-10)
    assert output.terms["column_std"].item() == pytest.approx(raw[0].std(0, unbiased=False).mean().item(), rel=1e-10)
    assert set(objective.norms.norms) == set(keys.values())


def standardised(values: Tensor) -> Tensor:
    return (values - values.mean(0)) / (values.var(0, unbiased=False) + 1e-5).sqrt()


def test_groups_have_statistics_of_their_own():
    rows = two_views(11, 4)[0]
    expected = torch.cat([standardised(rows[:4]), standardised(rows[4:8]), standardised(rows[8:])])
    assert torch.allclose(standardised_in_groups(rows, 3), expected, rtol=1e-12)
    assert torch.allclose(standardised_in_groups(rows, 256), standardised(rows), rtol=1e-12)


def test_surer_view_labels_the_other():
    # Rows 0 and 2 are the surest; in row 0 the first view, in row 2 the second. Row 1 is less sure than both, row 3 than all.
    a = torch.tensor([[6.0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 0.1]], dtype=torch.float64)
    b = torch.tensor([[0.0, 1, 0], [0, 1, 0], [0, 0, 5], [0, 0.2, 0]], dtype=torch.float64)

    def by_hand(a: Tensor, b: Tensor) -> Tensor:
        return -(b[0].log_softmax(0)[0] + a[2].log_softmax(0)[2]) / 2

    assert_same_function(lambda a, b: self_labelling_loss(a, b, a, b, share=0.5)[0], by_hand, a, b)
    assert self_labelling_loss(a, b, a, b, share=0.5)[1] == 0.5
    # A teacher of the opposite opinion about row 0 alone decides both who labels and with what.
    teacher = a.clone()
    teacher[0] = torch.tensor([0.0, 0, 9])
    loss, labelled = self_labelling_loss(a, b, teacher, torch.zeros_like(b), share=0.25)
    assert (loss.item(), labelled.item()) == (pytest.approx(-b[0].log_softmax(0)[2].item(), rel=1e-12), 0.25)
    # Rows that are equally sure do not rise above the first that is left out: no label, no loss, no gradient.
    same = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    nothing, none = self_labelling_loss(same, same, same, same, share=0.5)
    nothing.backward()
    assert (nothing.item(), none.item(), same.grad.abs().sum().item()) == (0, 0, 0)


def test_teacher_is_what_views_are_compared_with():
    a, b = two_views(9, 6)
    t_a, t_b = two_views(9, 6, seed=1)

    def by_hand(a: Tensor, b: Tensor) -> Tensor:
        kl = nn.functional.kl_div
        return (
            kl(b.log_softmax(1), t_a.softmax(1), reduction="batchmean") + kl(a.log_softmax(1), t_b.softmax(1), reduction="batchmean")
        ) / 2

    assert_same_function(lambda a, b: taught_consistency(a, b, t_a, t_b), by_hand, a, b)


def test_second_stage_comes_at_the_end_and_the_teacher_follows():
    torch.manual_seed(0)
    twin = SmallTwin({"a": "a", "b": "a"}, projection_dim=8)
    objective = built(TWIST(self_labelling=0.25, final_labelled_share=1.0, teacher_momentum=0.5), twin, PAIR)
    matrices = global_batch("ab", 12)
    first = scored(objective, twin, matrices, PAIR, progress=0.7).terms
    assert (first["labelled"], first["labelling"]) == (0, 0)
    assert first["loss"] == pytest.approx((first["consistency"] + first["sharpness"] - first["diversity"]).item(), rel=1e-12)
    shares = [scored(objective, twin, matrices, PAIR, progress=progress).terms for progress in (0.75, 0.875, 0.999)]
    assert [round(terms["labelled"].item() * 12) for terms in shares] == [6, 9, 11]
    assert all(terms["loss"] == terms["labelling"] for terms in shares)
    before = objective.teachers.projectors["a"].weight.clone()
    with torch.no_grad():
        twin.projectors["a"].weight += 1
    objective.after_step(twin, 0.0)
    assert torch.allclose(objective.teachers.projectors["a"].weight, before + 0.5)


def test_self_labelling_keeps_classes_in_use(tmp_path, objective_corpus):
    objective = {"name": "twist", "self_labelling": 0.4}
    metrics = pretrain(objective_corpus, tmp_path / "run", config=small_config(objectives=[objective], trainer={"epochs": 20})).metrics
    assert (metrics["twist.labelled"][:12] == 0).all()
    assert (metrics["twist.labelled"][13:] > 0.4).all()
    assert metrics["twist.labelling"].iloc[-1] < metrics["twist.labelling"].iloc[12:14].max()
    assert metrics["twist.sharpness"].iloc[-1] < metrics["twist.sharpness"].iloc[11]
    assert metrics["twist.classes"].iloc[-1] > 12


def test_twist_terms_move_as_its_theory_says(tmp_path, objective_corpus):
    metrics = pretrain(
        objective_corpus, tmp_path / "run", config=small_config(objectives=[{"name": "twist"}], trainer={"epochs": 20})
    ).metrics
    first, last = metrics.iloc[0], metrics.iloc[-1]
    assert last["twist.loss"] < first["twist.loss"] - 0.3
    assert last["twist.sharpness"] < first["twist.sharpness"]
    # Classes stay in use: the entropy of the mean stays near that of all 24.
    assert last["twist.diversity"] > 0.8 * math.log(24)
    assert last["twist.classes"] > 16
    assert last["embedding_rank.a"] > 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature above 0, got 0.0"),
        ({"diversity_weight": -1.0}, "diversity_weight of 0 or more, got -1.0"),
        ({"self_labelling": 1.5}, "self_labelling of"),
        ({"final_labelled_share": 0.0}, "final_labelled_share"),
        ({"group_size": 1}, "group_size of 2 or more, got 1"),
    ],
)
def test_twist_refuses_settings_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message):
        TWIST(**options)


def test_twist_refuses_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match="twist expected"):
        twist_terms(torch.zeros(4, 3), torch.zeros(4, 2))
