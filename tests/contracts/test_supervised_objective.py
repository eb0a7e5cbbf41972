"""A supervised objective beside a twin one through the trainer: measured (molecule, assay, label) triplets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from small_run import BARLOW_TWINS, assert_same_tensors, last_checkpoint, nci_smiles, registered, small_config, stop_after
from torch import nn

from molbt.data.corpus import Corpus, prepare
from molbt.errors import Interrupted
from molbt.nn.collectives import sum_over_ranks
from molbt.objectives.base import Objective, ObjectiveOutput, ParameterGroup, StepContext, Twin, Views
from molbt.training.trainer import pretrain

N_MOLECULES = 200
LABELS = {"activity": {"task": "assay", "value": "label"}}


class FewTasks(Objective):
    """Mean cross-entropy of the labels there are, one output per task on the embedding of a view."""

    requires_labels = True

    def __init__(self, *, labels: str, view: str = "a", rate_factor: float = 1.0) -> None:
        super().__init__()
        self.labels = labels
        self.view = view
        self.rate_factor = rate_factor

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        self.head = nn.Linear(twin.embedding_dim(self.view), n_tasks[self.labels])

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.head.parameters()), rate_factor=self.rate_factor)]

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        labels = context.labels[self.labels]
        logits = self.head(views.embedding(self.view)).float()[labels.row_of_item, labels.fields["task"]]
        total = nn.functional.binary_cross_entropy_with_logits(logits, labels.fields["value"], reduction="sum")
        n_labels = sum_over_ranks(torch.tensor(float(len(logits)), device=total.device))
        loss = sum_over_ranks(total) / n_labels.clamp(min=1)
        return ObjectiveOutput(loss, {"loss": loss.detach(), "labels": n_labels})


@pytest.fixture(autouse=True)
def _known():
    with registered("objectives", few_tasks=FewTasks):
        yield


def triplets() -> pd.DataFrame:
    """Which of three elements a molecule holds, as three assays; one in three molecules is missing in each, one in ten in all."""
    rows = []
    for number, smiles in enumerate(nci_smiles(N_MOLECULES)):
        for place, element in enumerate("NOS"):
            if (number + place) % 3 and number % 10:
                rows.append({"smiles": smiles, "assay": f"holds {element}", "label": int(element in smiles.upper())})
        if not number % 10:
            rows.append({"smiles": smiles, "assay": "holds N", "label": float("nan")})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def triplet_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return labelled_corpus(tmp_path_factory.mktemp("triplets") / "corpus")


def labelled_corpus(directory: Path) -> Corpus:
    return prepare(triplets(), small_config(labels=LABELS), directory=directory)


def two_objectives(**changes: Any):
    few_tasks = {"name": "few_tasks", "labels": "activity", "weight": 20.0}
    return small_config(**{"objectives": [BARLOW_TWINS, few_tasks], "labels": LABELS, **changes})


def test_labelled_loss_falls_beside_that_of_the_twin(triplet_corpus, tmp_path):
    metrics = pretrain(triplet_corpus, tmp_path / "run", config=two_objectives(trainer={"epochs": 12})).metrics
    assert metrics["few_tasks.loss"].iloc[-1] < 0.7 * metrics["few_tasks.loss"].iloc[0]
    assert metrics["barlow_twins.loss"].iloc[-1] < metrics["barlow_twins.loss"].iloc[0]
    expected = metrics["barlow_twins.loss"] + 20 * metrics["few_tasks.loss"]
    assert metrics["loss"].tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_each_molecule_brings_all_its_labels(triplet_corpus, tmp_path):
    # One batch that holds every molecule once holds every label once.
    config = two_objectives(trainer={"epochs": 1, "batch_size": 2 * N_MOLECULES})
    metrics = pretrain(triplet_corpus, tmp_path / "run", config=config).metrics
    table = triplets().dropna(subset="label").drop_duplicates()
    assert metrics["few_tasks.labels"].tolist() == [len(table)]
    assert last_checkpoint(tmp_path / "run")["objectives.few_tasks.head.weight"].shape == (3, 16)


@pytest.mark.parametrize("stop", [2, 3, 7])
def test_two_objectives_resume_bit_identically(triplet_corpus, tmp_path, stop):
    pretrain(triplet_corpus, tmp_path / "whole", config=two_objectives())
    with pytest.raises(Interrupted):
        pretrain(triplet_corpus, tmp_path / "stopped", config=two_objectives(), progress=stop_after(stop))
    pretrain(triplet_corpus, tmp_path / "stopped", config=two_objectives(), resume=True)
    assert_same_tensors(last_checkpoint(tmp_path / "stopped"), last_checkpoint(tmp_path / "whole"))


def test_objective_decides_how_fast_its_own_parameters_learn(triplet_corpus, tmp_path):
    heads = {}
    for rate_factor in (1e-6, 1.0):
        few_tasks = {"name": "few_tasks", "labels": "activity", "rate_factor": rate_factor}
        config = two_objectives(objectives=[few_tasks], trainer={"epochs": 1, "weight_decay": 0.0})
        pretrain(triplet_corpus, tmp_path / str(rate_factor), config=config)
        heads[rate_factor] = last_checkpoint(tmp_path / str(rate_factor))["objectives.few_tasks.head.bias"]
    fresh = pretrain_without_steps(triplet_corpus, tmp_path)
    torch.testing.assert_close(heads[1e-6], fresh, rtol=0, atol=1e-6)
    assert (heads[1.0] - fresh).abs().min() > 1e-3


def pretrain_without_steps(corpus: Corpus, tmp_path: Path) -> torch.Tensor:
    """The bias of the head as it is drawn: at a learning rate of almost nothing."""
    config = two_objectives(objectives=[{"name": "few_tasks", "labels": "activity"}], trainer={"epochs": 1, "learning_rate": 1e-12})
    pretrain(corpus, tmp_path / "fresh", config=config)
    return last_checkpoint(tmp_path / "fresh")["objectives.few_tasks.head.bias"]


def test_two_objectives_of_one_name_are_told_apart(corpus, tmp_path):
    config = small_config(objectives=[BARLOW_TWINS, {"name": "barlow_twins", "redundancy_weight": 1.0, "weight": 0.5}])
    metrics = pretrain(corpus, tmp_path / "run", config=config).metrics
    assert (metrics["barlow_twins.loss"] > metrics["barlow_twins_2.loss"]).all()
    assert metrics["loss"].tolist() == pytest.approx((metrics["barlow_twins.loss"] + 0.5 * metrics["barlow_twins_2.loss"]).tolist())


def train_on_rank(rank: int, world_size: int, *, directory: str) -> list[float]:
    # Batches of four: now and then one rank has no label at all, and its head no gradient.
    with registered("objectives", few_tasks=FewTasks):
        config = two_objectives(
            objectives=[{"name": "few_tasks", "labels": "activity"}], encoder={"dropout": 0.0}, trainer={"batch_size": 4, "max_steps": 30}
        )
        result = pretrain(labelled_corpus(Path(directory) / "corpus"), Path(directory) / f"run-{world_size}", config=config)
    return result.metrics["few_tasks.loss"].tolist()


def test_two_objectives_on_two_ranks_equal_one_process(on_ranks, tmp_path):
    labelled_corpus(tmp_path / "corpus")
    alone = train_on_rank(0, 1, directory=str(tmp_path))
    for losses in on_ranks(train_on_rank, 2, directory=str(tmp_path)):
        assert losses == pytest.approx(alone, rel=1e-3)
