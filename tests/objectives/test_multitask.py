"""The multi-task objective against scikit-learn's losses, its two forms, views, and runs on real molecules."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import Crippen
from sklearn.metrics import log_loss
from small_run import DESCRIPTORS, FINGERPRINTS, assert_same_tensors, last_checkpoint, nci_smiles, small_config, stop_after
from torch import Tensor

from molbt.data.columns import RaggedBatch
from molbt.data.corpus import Corpus, prepare
from molbt.errors import ConfigError, DataError, Interrupted
from molbt.objectives.base import StepContext
from molbt.objectives.multitask import Multitask
from molbt.training.trainer import pretrain

WIDTH, N_TASKS = 5, 7
LABELS = {"activity": {"task": "assay", "value": "label"}}


class _Twin:
    """Two encoders of different widths; ``c`` shares that of ``a``."""

    def encoder_key(self, view: str) -> str:
        return {"a": "a", "b": "b", "c": "a"}[view]

    def embedding_dim(self, view: str) -> int:
        return {"a": WIDTH, "b": 2}[self.encoder_key(view)]


class _Views:
    def __init__(self, embeddings: dict[str, Tensor]) -> None:
        self._embeddings = embeddings

    def embedding(self, view: str) -> Tensor:
        return self._embeddings[view]


def built(*, n_tasks: int = N_TASKS, pairs: Sequence[tuple[str, str]] = (("a", "c"),), **parameters: Any) -> Multitask:
    objective = Multitask(labels="activity", **parameters)
    objective.build(_Twin(), pairs=pairs, n_tasks={"activity": n_tasks})
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        objective.weight.copy_(torch.randn(objective.weight.shape, generator=generator))
        objective.bias.copy_(torch.randn(objective.bias.shape, generator=generator))
    return objective


def items(rows: Sequence[int], tasks: Sequence[int], values: Sequence[float], *, n_rows: int) -> RaggedBatch:
    offsets = torch.tensor(np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_rows))]))
    fields = {"task": torch.tensor(tasks, dtype=torch.int32), "value": torch.tensor(values, dtype=torch.float32)}
    return RaggedBatch(fields, torch.tensor(rows, dtype=torch.int64), offsets)


def random_case(n_rows: int, n_items: int, seed: int = 0) -> tuple[Tensor, RaggedBatch]:
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.integers(n_rows, size=n_items))
    labels = items(rows, rng.integers(N_TASKS, size=n_items), rng.integers(2, size=n_items).astype(np.float32), n_rows=n_rows)
    return torch.from_numpy(rng.normal(size=(n_rows, WIDTH)).astype(np.float32)), labels


def scored(objective: Multitask, embeddings: dict[str, Tensor], labels: RaggedBatch):
    context = StepContext(pairs=[], draws=None, step_draws=None, labels={"activity": labels})  # type: ignore[arg-type]
    return objective.step(_Twin(), _Views(embeddings), context)  # type: ignore[arg-type]


def logits_by_hand(objective: Multitask, embedding: Tensor, labels: RaggedBatch) -> np.ndarray:
    weight, bias = objective.weight.detach().double().numpy(), objective.bias.detach().double().numpy()
    pairs = zip(labels.row_of_item.tolist(), labels.fields["task"].tolist(), strict=True)
    return np.array([embedding[row].double().numpy() @ weight[task] + bias[task] for row, task in pairs])


@pytest.mark.parametrize(("n_rows", "n_items"), [(50, 9), (4, 300)], ids=["few labels", "dense labels"])
def test_class_loss_is_the_mean_log_loss_of_the_labels(n_rows, n_items):
    objective = built()
    embedding, labels = random_case(n_rows, n_items)
    logits = logits_by_hand(objective, embedding, labels)
    truth = labels.fields["value"].numpy()
    output = scored(objective, {"a": embedding}, labels)
    expected = log_loss(truth, 1 / (1 + np.exp(-logits)), labels=[0, 1])
    assert float(output.terms["loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(output.terms["labels"]) == n_items
    assert float(output.terms["accuracy"]) == pytest.approx(np.mean((logits > 0) == (truth == 1)))


@pytest.mark.parametrize(("n_rows", "n_items"), [(50, 9), (4, 300)], ids=["few labels", "dense labels"])
def test_gradient_reaches_embedding_and_the_tasks_that_have_labels(n_rows, n_items):
    objective = built()
    embedding, labels = random_case(n_rows, n_items, seed=1)
    embedding.requires_grad_()
    scored(objective, {"a": embedding}, labels).loss.backward()
    residual = 1 / (1 + np.exp(-logits_by_hand(objective, embedding.detach(), labels))) - labels.fields["value"].numpy()
    of_embedding = np.zeros((n_rows, WIDTH))
    of_bias = np.zeros(N_TASKS)
    for error, row, task in zip(residual, labels.row_of_item.tolist(), labels.fields["task"].tolist(), strict=True):
        of_embedding[row] += error * objective.weight[task].detach().double().numpy() / n_items
        of_bias[task] += error / n_items
    np.testing.assert_allclose(embedding.grad.numpy(), of_embedding, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(objective.bias.grad.numpy(), of_bias, rtol=1e-4, atol=1e-6)


def test_value_loss_is_the_mean_squared_error_and_r2_compares_it_with_zero():
    objective = built(kind="value")
    embedding, labels = random_case(6, 20)
    errors = logits_by_hand(objective, embedding, labels) - labels.fields["value"].numpy()
    output = scored(objective, {"a": embedding}, labels)
    assert float(output.terms["loss"]) == pytest.approx(np.mean(errors**2), rel=1e-5)
    assert float(output.terms["r2"]) == pytest.approx(1 - np.sum(errors**2) / np.sum(labels.fields["value"].numpy() ** 2), rel=1e-4)


def test_a_batch_without_labels_has_no_loss():
    objective = built()
    embedding = torch.randn(3, WIDTH, requires_grad=True)
    output = scored(objective, {"a": embedding}, items([], [], [], n_rows=3))
    output.loss.backward()
    assert float(output.terms["loss"]) == 0
    assert float(embedding.grad.abs().sum()) == 0


def test_views_of_one_encoder_are_read_once_and_two_encoders_side_by_side():
    assert built(pairs=[("a", "c")]).weight.shape == (N_TASKS, WIDTH)
    both = built(pairs=[("c", "b")])
    assert both.weight.shape == (N_TASKS, WIDTH + 2)
    embedding, labels = random_case(6, 20)
    other = torch.randn(6, 2)
    logits = logits_by_hand(both, torch.cat([embedding, other], 1), labels)
    expected = log_loss(labels.fields["value"].numpy(), 1 / (1 + np.exp(-logits)), labels=[0, 1])
    assert float(scored(both, {"c": embedding, "b": other}, labels).terms["loss"]) == pytest.approx(expected, rel=1e-5)


def test_tasks_start_undecided():
    objective = Multitask(labels="activity")
    objective.build(_Twin(), pairs=[("a", "c")], n_tasks={"activity": N_TASKS})
    embedding, labels = random_case(6, 20)
    assert float(scored(objective, {"a": embedding}, labels).terms["loss"]) == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"kind": "regression"}, "class, value"),
        ({"views": "a"}, "list of views"),
        ({"views": ["a", "c"]}, "encoders of their own"),
        ({"dropout": 1.0}, r"\[0, 1\)"),
    ],
)
def test_a_wrong_parameter_is_refused(parameters, words):
    with pytest.raises(ConfigError, match=words):
        built(**parameters)


def test_an_unknown_label_set_is_refused():
    with pytest.raises(ConfigError, match="potency"):
        Multitask(labels="potency").build(_Twin(), pairs=[("a", "c")], n_tasks={"activity": 2})


def test_measured_values_are_not_taken_for_classes():
    with pytest.raises(DataError, match=r"7.5.*kind: value"):
        scored(built(), {"a": torch.randn(2, WIDTH)}, items([0, 1], [0, 1], [1.0, 7.5], n_rows=2))


def lipophilicity(smiles: str) -> float:
    return Crippen.MolLogP(Chem.MolFromSmiles(smiles))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Whether a molecule is lipophilic, and whether it has a ring: two tasks of real molecules."""
    rows: list[dict[str, Any]] = []
    for smiles in nci_smiles(300):
        mol = Chem.MolFromSmiles(smiles)
        if mol is not None:
            rows.append({"smiles": smiles, "assay": "lipophilic", "label": float(lipophilicity(smiles) > 2)})
            rows.append({"smiles": smiles, "assay": "ring", "label": float(mol.GetRingInfo().NumRings() > 0)})
    config = small_config(views={**FINGERPRINTS, "descriptors": DESCRIPTORS}, labels=LABELS)
    return prepare(pd.DataFrame(rows), config, directory=tmp_path_factory.mktemp("labelled") / "corpus")


def two_terms(**changes: Any):
    objectives = [{"name": "barlow_twins", "redundancy_weight": 8.0, "weight": 0.01}, {"name": "multitask", "labels": "activity"}]
    return small_config(objectives=objectives, labels=LABELS, **changes)


def test_it_learns_real_labels_beside_a_twin_term(labelled, tmp_path):
    metrics = pretrain(labelled, tmp_path / "run", config=two_terms(trainer={"epochs": 12})).metrics
    assert metrics["multitask.loss"].iloc[0] < 1.0
    assert metrics["multitask.accuracy"].iloc[-1] > 0.9
    assert metrics["barlow_twins.loss"].iloc[-1] < metrics["barlow_twins.loss"].iloc[0]


def test_two_encoders_share_the_outputs(labelled, tmp_path):
    views = {"fingerprint": FINGERPRINTS["a"], "descriptors": DESCRIPTORS}
    config = two_terms(views=views, pairs=[["fingerprint", "descriptors"]])
    pretrain(labelled, tmp_path / "run", config=config)
    assert last_checkpoint(tmp_path / "run")["objectives.multitask.weight"].shape == (2, 32)


def test_stopped_run_resumes_to_the_same_bits(labelled, tmp_path):
    pretrain(labelled, tmp_path / "whole", config=two_terms())
    with pytest.raises(Interrupted):
        pretrain(labelled, tmp_path / "stopped", config=two_terms(), progress=stop_after(4))
    pretrain(labelled, tmp_path / "stopped", config=two_terms(), resume=True)
    assert_same_tensors(last_checkpoint(tmp_path / "stopped"), last_checkpoint(tmp_path / "whole"))


def loss_on_rank(rank: int, world_size: int, *, directory: str) -> tuple[float, list[float]]:
    """Value and gradient over a batch whose labels lie unevenly on the ranks: the last rank may have none."""
    objective = built()
    embedding, labels = random_case(8, 25)
    kept = torch.arange(8).chunk(world_size)[rank]
    mine = torch.isin(labels.row_of_item, kept) & (labels.row_of_item < 6)
    part = items(
        (labels.row_of_item[mine] - kept[0]).tolist(),
        labels.fields["task"][mine].tolist(),
        labels.fields["value"][mine].tolist(),
        n_rows=len(kept),
    )
    output = scored(objective, {"a": embedding[kept]}, part)
    output.loss.backward()
    gradient = objective.bias.grad.clone()
    if world_size > 1:
        torch.distributed.all_reduce(gradient)
        gradient /= world_size
    return float(output.terms["loss"]), gradient.tolist()


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_equal_one_process(on_ranks, tmp_path: Path, world_size):
    loss, gradient = loss_on_rank(0, 1, directory=str(tmp_path))
    for other_loss, other_gradient in on_ranks(loss_on_rank, world_size, directory=str(tmp_path)):
        assert other_loss == pytest.approx(loss, rel=1e-5)
        assert other_gradient == pytest.approx(gradient, rel=1e-5, abs=1e-7)
