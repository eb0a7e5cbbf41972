"""Matching and signed Barlow Twins of molecules and texts: formulas written out in NumPy, ranks, and real assays."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from small_run import assert_same_tensors, last_checkpoint, small_config, stop_after
from torch import Tensor

from molbt.data.columns import RaggedBatch
from molbt.data.corpus import Corpus, prepare
from molbt.errors import ConfigError, DataError, Interrupted, ShapeError
from molbt.objectives.barlow_twins import BarlowTwins
from molbt.objectives.base import Objective, StepContext
from molbt.objectives.matching import Matching
from molbt.objectives.signed_barlow_twins import SignedBarlowTwins
from molbt.training.trainer import pretrain

N, D = 24, 6


class _Twin:
    def __init__(self, widths: dict[str, int]) -> None:
        self._widths = widths

    def projection_dim(self, view: str) -> int:
        return self._widths[view]


class _Views:
    def __init__(self, projections: dict[str, Tensor]) -> None:
        self._projections = projections

    def projection(self, view: str) -> Tensor:
        return self._projections[view]


def built(objective: Objective) -> Objective:
    objective.build(_Twin({"molecule": D, "assay": D}), pairs=[("molecule", "assay")], n_tasks={"activity": 1})
    return objective


def labels_of(values: list[list[float]]) -> RaggedBatch:
    """Labels row by row; a row may have none or several."""
    rows = [row for row, items in enumerate(values) for _ in items]
    flat = torch.tensor([value for items in values for value in items], dtype=torch.float32)
    offsets = torch.tensor(np.concatenate([[0], np.cumsum([len(items) for items in values])]), dtype=torch.int64)
    return RaggedBatch({"task": torch.zeros(len(rows), dtype=torch.int32), "value": flat}, torch.tensor(rows, dtype=torch.int64), offsets)


def random_case(seed: int = 0) -> tuple[Tensor, Tensor, list[list[float]]]:
    rng = np.random.default_rng(seed)
    z_a, z_b = (torch.tensor(rng.normal(size=(N, D)) * rng.uniform(0.2, 3, D) + 1, requires_grad=True) for _ in "ab")
    values = [[float(rng.random() < 0.3)] for _ in range(N)]
    values[3], values[7], values[11] = [], [1.0, 0.0, 1.0], []
    return z_a, z_b, values


def scored(objective: Objective, z_a: Tensor, z_b: Tensor, values: list[list[float]]):
    context = StepContext(pairs=[("molecule", "assay")], draws=None, step_draws=None, labels={"activity": labels_of(values)})  # type: ignore[arg-type]
    return objective.step(_Twin({}), _Views({"molecule": z_a, "assay": z_b}), context)  # type: ignore[arg-type]


def signed_by_hand(z_a: Tensor, z_b: Tensor, values: list[list[float]], weight: float) -> Tensor:
    """The correlation matrix itself, entry by entry, in float64."""
    signs = torch.tensor([np.mean([2 * v - 1 for v in items]) if items else 0.0 for items in values], dtype=torch.float64)
    weights = torch.where(signs > 0, signs / (2 * signs[signs > 0].sum()), signs / (2 * -signs[signs < 0].sum()))
    a, b = ((z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt() for z in (z_a, z_b))
    c = torch.einsum("n,ni,nj->ij", weights, a, b)
    off = ~torch.eye(D, dtype=torch.bool)
    return (1 - c.diagonal()).square().sum() + weight / D * c[off].square().sum()


def test_matching_is_the_cross_entropy_of_scaled_dot_products():
    objective = built(Matching(labels="activity"))
    with torch.no_grad():
        objective.log_scale.fill_(0.4)
        objective.bias.fill_(-0.7)
    z_a, z_b, values = random_case()
    output = scored(objective, z_a, z_b, values)
    rows = [(row, value) for row, items in enumerate(values) for value in items]
    logits = np.array([np.exp(0.4) * float(z_a[row].detach() @ z_b[row].detach()) / np.sqrt(D) - 0.7 for row, _ in rows])
    truth = np.array([value for _, value in rows])
    expected = np.mean(np.logaddexp(0, logits) - truth * logits)
    assert float(output.loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(output.terms["labels"]) == len(rows)
    assert float(output.terms["accuracy"]) == pytest.approx(np.mean((logits > 0) == truth))
    assert float(output.terms["separation"]) == pytest.approx(logits[truth == 1].mean() - logits[truth == 0].mean(), rel=1e-4)
    output.loss.backward()
    residual = (1 / (1 + np.exp(-logits)) - truth) / len(rows)
    assert float(objective.bias.grad) == pytest.approx(residual.sum(), rel=1e-4)
    of_row = np.zeros((N, D))
    for (row, _), error in zip(rows, residual, strict=True):
        of_row[row] += error * np.exp(0.4) * z_b[row].detach().numpy() / np.sqrt(D)
    np.testing.assert_allclose(z_a.grad.numpy(), of_row, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("weight", [0.0, 8.0])
def test_signed_loss_is_that_of_the_correlation_matrix(weight):
    objective = built(SignedBarlowTwins(labels="activity", redundancy_weight=weight))
    z_a, z_b, values = random_case()
    output = scored(objective, z_a, z_b, values)
    found = torch.autograd.grad(output.loss, [z_a, z_b])
    expected_loss = signed_by_hand(z_a, z_b, values, weight)
    expected = torch.autograd.grad(expected_loss, [z_a, z_b])
    assert float(output.loss.detach()) == pytest.approx(float(expected_loss.detach()), rel=1e-12)
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-12


def test_with_actives_alone_it_is_barlow_twins():
    z_a, z_b, _ = random_case()
    signed = scored(built(SignedBarlowTwins(labels="activity", redundancy_weight=8.0)), z_a, z_b, [[1.0]] * N)
    plain = BarlowTwins(redundancy_weight=8.0).loss(z_a, z_b)
    assert float(signed.loss.detach()) == pytest.approx(float(plain.loss.detach()), rel=1e-6)


def test_inactive_pairs_anticorrelate():
    """Where inactives are the negatives of what actives are, the diagonal is 1; negating the labels turns it over."""
    z = torch.randn(N, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0] * (N // 2), dtype=torch.float64)[:, None]
    objective = built(SignedBarlowTwins(labels="activity"))
    right = scored(objective, z, signs * z, [[float(s > 0)] for s in signs])
    wrong = scored(objective, z, signs * z, [[float(s < 0)] for s in signs])
    assert float(right.terms["mean_diagonal"]) > 0.8
    assert float(wrong.terms["mean_diagonal"]) == pytest.approx(-float(right.terms["mean_diagonal"]), rel=1e-6)
    assert float(right.loss) < float(wrong.loss)


@pytest.mark.parametrize("kind", [Matching, SignedBarlowTwins])
@pytest.mark.parametrize("values", [[[]] * N, [[0.0]] * N, [[1.0]] + [[]] * (N - 1)], ids=["no label", "inactive", "one label"])
def test_odd_batches_stay_finite(kind, values):
    z_a, z_b, _ = random_case()
    constant = z_b.detach().clone()
    constant[:, 0] = 3.0
    output = scored(built(kind(labels="activity")), z_a, constant.requires_grad_(), values)
    output.loss.backward()
    assert all(torch.isfinite(number).all() for number in [output.loss, z_a.grad, constant.grad, *output.terms.values()])


def test_wrong_settings_and_labels_are_refused():
    for kind in (Matching, SignedBarlowTwins):
        with pytest.raises(ConfigError, match=r"potency.*\['activity'\]"):
            kind(labels="potency").build(_Twin({"molecule": D, "assay": D}), pairs=[("molecule", "assay")], n_tasks={"activity": 1})
        z_a, z_b, _ = random_case()
        with pytest.raises(DataError, match="0 and 1"):
            scored(built(kind(labels="activity")), z_a, z_b, [[6.5]] * N)
    with pytest.raises(ConfigError, match="redundancy_weight"):
        SignedBarlowTwins(labels="activity", redundancy_weight=-1.0)
    with pytest.raises(ConfigError, match="one width"):
        Matching(labels="activity").build(_Twin({"molecule": D, "assay": 4}), pairs=[("molecule", "assay")], n_tasks={"activity": 1})
    with pytest.raises(ShapeError, match="at least 2 rows"):
        SignedBarlowTwins(labels="activity").signed_loss(torch.ones(1, D), torch.ones(1, D), torch.ones(1))


def on_rank(rank: int, world_size: int, *, kind: str) -> tuple[float, list[float]]:
    """Loss and the gradient of a weight that both projections share; ranks hold unequal numbers of rows and of labels."""
    objective = built({"matching": Matching, "signed": SignedBarlowTwins}[kind](labels="activity")).double()
    z_a, z_b, values = random_case(seed=5)
    weight = torch.full((D,), 0.9, dtype=torch.float64, requires_grad=True)
    bounds = [*np.linspace(0, N - 3, world_size).round().astype(int).tolist(), N]
    mine = slice(bounds[rank], bounds[rank + 1])
    output = scored(objective, z_a[mine] * weight, (z_b[mine] * weight).tanh(), values[mine])
    output.loss.backward()
    gradient = weight.grad.clone()
    if world_size > 1:
        torch.distributed.all_reduce(gradient)
        gradient /= world_size
    return float(output.loss.detach()), gradient.tolist()


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("kind", ["matching", "signed"])
def test_ranks_equal_one_process(on_ranks, kind, world_size):
    loss, gradient = on_rank(0, 1, kind=kind)
    for other_loss, other_gradient in on_ranks(on_rank, world_size, kind=kind):
        assert other_loss == pytest.approx(loss, rel=1e-12)
        assert other_gradient == pytest.approx(gradient, rel=1e-10)


def pair_config(name: str, **changes: Any):
    views = {
        "molecule": {"modality": "fingerprint", "width": 512, "drop": 0.1},
        "assay": {"modality": "lsa", "column": "text", "components": 16},
    }
    objective = {"name": name, "labels": "activity"}
    return small_config(
        **{
            "views": views,
            "pairs": [["molecule", "assay"]],
            "objectives": [objective],
            "labels": {"activity": {"value": "label"}},
            **changes,
        }
    )


@pytest.fixture(scope="module")
def pairs(real_data, tmp_path_factory) -> Corpus:
    """Thirty real assays with their descriptions, up to forty molecules of each."""
    assays = pd.read_json(real_data / "zero-shot" / "assays.jsonl.gz", lines=True)
    chosen = assays[(assays["source"] == "fs-mol") & (assays["split"] == "train")].head(30)
    activities = pd.read_parquet(real_data / "zero-shot" / "activities.parquet")
    table = activities[activities["assay_id"].isin(chosen["assay_id"])].groupby("assay_id").head(40)
    molecules = pd.read_parquet(real_data / "zero-shot" / "molecules.parquet")
    table = table.merge(molecules[["mol_id", "smiles"]], on="mol_id").merge(chosen[["assay_id", "text"]], on="assay_id")
    return prepare(table[["smiles", "text", "label"]], pair_config("matching"), directory=tmp_path_factory.mktemp("pairs") / "corpus")


@pytest.mark.parametrize(("name", "term"), [("matching", "separation"), ("signed_barlow_twins", "mean_diagonal")])
def test_real_assays_are_learned_and_resume_bit_identically(pairs, tmp_path, name, term):
    config = pair_config(name, trainer={"epochs": 8})
    metrics = pretrain(pairs, tmp_path / "whole", config=config).metrics
    assert metrics[f"{name}.loss"].iloc[-1] < 0.9 * metrics[f"{name}.loss"].iloc[0]
    assert metrics[f"{name}.{term}"].iloc[-1] > metrics[f"{name}.{term}"].iloc[0] + 0.1
    with pytest.raises(Interrupted):
        pretrain(pairs, tmp_path / "stopped", config=config, progress=stop_after(20))
    pretrain(pairs, tmp_path / "stopped", config=config, resume=True)
    assert_same_tensors(last_checkpoint(tmp_path / "stopped"), last_checkpoint(tmp_path / "whole"))
