"""Episodic prototypes: the formula written out in NumPy, odd batches, and real assays in episodes."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from small_run import assert_same_run, nci_smiles, small_config, stop_after
from torch import Tensor

from molbt.data.columns import RaggedBatch
from molbt.data.corpus import Corpus, prepare
from molbt.draws import Draws
from molbt.errors import ConfigError, DataError, Interrupted
from molbt.objectives.base import StepContext
from molbt.objectives.prototypes import Prototypes
from molbt.training.trainer import pretrain

N, D = 40, 6
PAIRS = [("molecule", "assay")]


class _Twin:
    def embedding_dim(self, view: str) -> int:
        return D


class _Views:
    def __init__(self, embeddings: dict[str, Tensor]) -> None:
        self._embeddings = embeddings
        self.rows = torch.arange(N)

    def embedding(self, view: str) -> Tensor:
        return self._embeddings[view]


def labels_of(items: list[list[tuple[int, float]]]) -> RaggedBatch:
    """Pairs of task and value, row by row."""
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in items])])
    rows = torch.tensor([number for number, row in enumerate(items) for _ in row], dtype=torch.int64)
    tasks = torch.tensor([task for row in items for task, _ in row], dtype=torch.int32)
    values = torch.tensor([value for row in items for _, value in row], dtype=torch.float32)
    return RaggedBatch({"task": tasks, "value": values}, rows, torch.tensor(offsets, dtype=torch.int64))


def random_items(seed: int = 0) -> list[list[tuple[int, float]]]:
    rng = np.random.default_rng(seed)
    items = [[(int(rng.integers(3)), float(rng.random() < 0.4))] for _ in range(N)]
    items[3], items[7] = [], [(0, 1.0), (2, 0.0)]
    items[9] = [(5, 1.0)]  # a task with one row
    return items


def scored(items: list[list[tuple[int, float]]], embeddings: dict[str, Tensor], **parameters: Any):
    objective = Prototypes(labels="activity", **parameters)
    objective.build(_Twin(), pairs=PAIRS, n_tasks={"activity": 6})  # type: ignore[arg-type]
    with torch.no_grad():
        objective.log_scale.fill_(0.3)
    draws = Draws.for_rows(torch.arange(N), seed=4, epoch=0, view="objective")
    context = StepContext(pairs=PAIRS, draws=draws, step_draws=draws, labels={"activity": labels_of(items)})
    return objective, objective.step(_Twin(), _Views(embeddings), context), draws  # type: ignore[arg-type]


def by_hand(items: list[list[tuple[int, float]]], x: np.ndarray, is_support: np.ndarray) -> tuple[float, int, int]:
    """Mean cross-entropy of the queries, episode by episode; the numbers of queries and episodes."""
    losses, n_episodes = [], 0
    for task in range(6):
        rows = [(row, value) for row, pairs in enumerate(items) for t, value in pairs if t == task]
        support = {label: [row for row, value in rows if is_support[row] and value == label] for label in (0.0, 1.0)}
        if not all(support.values()):
            continue
        n_episodes += 1
        means = {label: x[members].mean(axis=0) for label, members in support.items()}
        for row, value in rows:
            if not is_support[row]:
                difference = ((x[row] - means[0.0]) ** 2).sum() - ((x[row] - means[1.0]) ** 2).sum()
                logit = np.exp(0.3) * difference / np.sqrt(x.shape[1])
                losses.append(np.logaddexp(0, logit) - value * logit)
    return float(np.mean(losses)), len(losses), n_episodes


@pytest.mark.parametrize("views", [None, ["molecule", "assay"]])
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_the_loss_is_that_of_each_query_beside_the_means_of_its_episode(views, share):
    items = random_items()
    rng = np.random.default_rng(1)
    embeddings = {view: torch.tensor(rng.normal(size=(N, D)), dtype=torch.float64, requires_grad=True) for view in ("molecule", "assay")}
    _, output, draws = scored(items, embeddings, views=views, support_share=share)
    x = np.concatenate([embeddings[view].detach().numpy() for view in views or ["molecule"]], axis=1)
    expected, n_queries, n_episodes = by_hand(items, x, draws.uniform().numpy() < share)
    assert 0 < n_queries < N
    assert float(output.loss.detach()) == pytest.approx(expected, rel=1e-6)
    assert (float(output.terms["queries"]), float(output.terms["episodes"])) == (n_queries, n_episodes)

    # The gradient reaches the support through the means too.
    output.loss.backward()
    row = int(np.flatnonzero((draws.uniform().numpy() < share) & np.array([bool(pairs) and pairs[0][0] < 3 for pairs in items]))[0])
    moved = x.copy()
    moved[row, 2] += 1e-5
    slope = (by_hand(items, moved, draws.uniform().numpy() < share)[0] - expected) / 1e-5
    assert float(embeddings["molecule"].grad[row, 2]) == pytest.approx(slope, rel=1e-2, abs=1e-6)


@pytest.mark.parametrize(
    "items", [[[]] * N, [[(0, 1.0)]] * N, [[(row % 6, float(row == 0))] for row in range(N)]], ids=["none", "one", "few"]
)
def test_odd_batches_stay_finite(items):
    embedding = torch.ones(N, D, requires_grad=True)
    objective, output, _ = scored(items, {"molecule": embedding})
    output.loss.backward()
    assert all(torch.isfinite(number).all() for number in [output.loss, embedding.grad, objective.log_scale.grad, *output.terms.values()])


def test_settings_and_labels_are_checked():
    with pytest.raises(ConfigError, match="support_share"):
        Prototypes(labels="activity", support_share=0.0)
    with pytest.raises(ConfigError, match="list of views"):
        Prototypes(labels="activity", views="molecule")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"labels 0 and 1"):
        scored([[(0, 0.5)]] * N, {"molecule": torch.zeros(N, D)})


def config(**trainer: Any):
    views = {
        "molecule": {"modality": "fingerprint", "width": 512},
        "assay": {"modality": "lsa", "column": "text", "components": 8},
    }
    return small_config(
        views=views,
        pairs=[["molecule", "assay"]],
        objectives=[{"name": "prototypes", "labels": "activity", "views": ["molecule"]}],
        labels={"activity": {"task": "task", "value": "label"}},
        trainer={"epochs": 4, "batch_size": 64, "episodes": "activity", "episode_size": 16, "learning_rate": 3e-3, **trainer},
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Five rules about molecules, as assays."""
    rules = {"nitrogen": "N", "oxygen": "O", "ring": "1", "double": "=", "branch": "("}
    rows = [
        {"smiles": smiles, "task": name, "text": f"whether the molecule contains {name}", "label": float(sign in smiles)}
        for name, sign in rules.items()
        for smiles in nci_smiles(120)
    ]
    return prepare(pd.DataFrame(rows), config(), directory=tmp_path_factory.mktemp("prototypes") / "corpus")


def test_episodes_put_fewer_tasks_into_a_batch(corpus: Corpus, tmp_path: Path) -> None:
    found = [
        pretrain(corpus, tmp_path / str(episodes), config=config(epochs=2, episodes=episodes, episode_size=32)).metrics[
            "prototypes.episodes"
        ]
        for episodes in ("activity", None)
    ]
    assert found[0].mean() < found[1].mean() - 0.5


def test_a_run_learns_to_tell_actives_from_inactives_and_resumes(corpus: Corpus, tmp_path: Path) -> None:
    result = pretrain(corpus, tmp_path / "whole", config=config())
    accuracy = result.metrics["prototypes.accuracy"]
    assert accuracy.iloc[-1] > max(0.75, accuracy.iloc[0] + 0.05)
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "cut", config=config(), progress=stop_after(7))
    pretrain(corpus, tmp_path / "cut", config=config(), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
