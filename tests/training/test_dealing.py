"""Batches that repeat an entity as little as is possible at all, and a run that takes them: on any number of ranks, and after a stop."""

import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_run import DESCRIPTORS, FINGERPRINTS, assert_same_run, model_hash, model_tensors, nci_smiles, small_config, stop_after

from molbt.data.corpus import Corpus, prepare
from molbt.errors import ConfigError, Interrupted
from molbt.training.batches import SampleStore
from molbt.training.dealing import deal, deal_episodes
from molbt.training.trainer import pretrain

TEXT_VIEW = {"modality": "lsa", "column": "assay", "components": 8}
SIZE = 32


def random_entities(n: int, n_entities: int, *, seed: int = 0) -> torch.Tensor:
    """Some entities with very many samples and many with few, as assays are."""
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.choice(n_entities, n, p=draw.dirichlet(np.full(n_entities, 0.3))))


def counts(samples: torch.Tensor, entities: torch.Tensor, size: int) -> np.ndarray:
    """Samples of each entity in each whole batch: ``(batches, entities)``."""
    whole = samples[: len(samples) // size * size].reshape(-1, size)
    return np.stack([np.bincount(entities[batch], minlength=int(entities.max()) + 1) for batch in whole.numpy()])


@pytest.mark.parametrize(("n", "n_entities", "size"), [(1000, 200, 32), (1000, 10, 64), (640, 640, 64), (300, 3, 30), (50, 5, 50)])
def test_no_order_could_repeat_entities_less(n, n_entities, size):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    entities = random_entities(n, n_entities)
    dealt = deal(order, entities, size, seed=0)
    assert sorted(dealt.tolist()) == list(range(n))
    left = n % size
    assert torch.equal(dealt[n - left :], order[n - left :])  # what fills no batch is left out by chance, as without dealing
    found = counts(dealt, entities, size)
    # A mean over batches can only be met by its neighbours; so the entities in a batch are as many as they can be.
    mean = found.mean(axis=0)
    assert (np.floor(mean) <= found).all()
    assert (found <= np.ceil(mean)).all()


def test_fewer_samples_than_a_batch_stay_as_they_are():
    order = torch.tensor([2, 0, 1])
    assert torch.equal(deal(order, torch.tensor([0, 0, 0]), 4, seed=0), order)


@pytest.mark.parametrize(("n", "n_tasks", "size"), [(1000, 40, 16), (1000, 3, 64), (100, 100, 8), (7, 1, 3)])
def test_samples_of_a_task_come_together(n, n_tasks, size):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    tasks = random_entities(n, n_tasks)
    dealt = deal_episodes(order, tasks, size, seed=0)
    assert sorted(dealt.tolist()) == list(range(n))
    # Stretches of one task: as many episodes as its samples fill, the rest in one more; two of a task may stand side by side.
    taken, lengths = tasks[dealt].unique_consecutive(return_counts=True)
    filled = [-(-int(count) // size) for count in tasks.bincount()]
    for task, episodes in enumerate(filled):
        own = lengths[taken == task]
        assert int(((own + size - 1) // size).sum()) <= episodes
        assert int((own % size != 0).sum()) <= 1
    assert len(taken) > n_tasks or size >= n // n_tasks or n_tasks == 1  # episodes of one task are not all in one place
    assert not torch.equal(dealt, deal_episodes(order, tasks, size, seed=1)) or n_tasks == 1
    assert not torch.equal(dealt, deal_episodes(order.flip(0), tasks, size, seed=0))  # which samples share an episode is drawn anew


def test_random_order_repeats_them_more():
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(1))
    entities = random_entities(1000, 200)
    dealt, at_random = (np.mean((counts(samples, entities, 32) > 0).sum(axis=1)) for samples in (deal(order, entities, 32, seed=0), order))
    assert dealt > at_random + 3


def test_order_depends_on_the_seed_and_mixes_entities():
    order = torch.randperm(960, generator=torch.Generator().manual_seed(1))
    entities = torch.arange(960) // 10
    dealt = [deal(order, entities, SIZE, seed=seed) for seed in range(40)]
    assert torch.equal(dealt[0], deal(order, entities, SIZE, seed=0))
    assert not torch.equal(dealt[0], dealt[1])
    # Which entities meet in a batch is left to chance: of 95 others a batch of 32 has 31, each about as often.
    met = np.zeros(96)
    for samples in dealt:
        found = counts(samples, entities, SIZE) > 0
        met += (found & found[:, :1]).sum(axis=0)
    expected = met[0] * 31 / 95
    assert abs(met[1:].mean() - expected) < 1e-6
    assert met[1:].min() > 0.5 * expected
    assert met[1:].max() < 1.6 * expected
    # Nor does the place in a batch tell the entity: ranks get rows of all kinds.
    assert np.corrcoef(entities[dealt[0]].numpy(), np.tile(np.arange(SIZE), 30))[0, 1] == pytest.approx(0, abs=0.15)


@pytest.fixture(scope="module")
def assays(tmp_path_factory) -> Corpus:
    """280 molecules, each with the text of one of 40 assays; half of them in the first four."""
    draw = np.random.default_rng(3)
    numbers = np.where(draw.random(280) < 0.5, draw.integers(0, 4, 280), draw.integers(4, 40, 280))
    words = ["kinase", "receptor", "channel", "binding", "human", "rat", "liver", "brain"]
    texts = [f"assay {number} of {words[number % 8]} and {words[number // 8]}" for number in numbers]
    frame = pd.DataFrame({"smiles": nci_smiles(280), "assay": texts})
    return prepare(frame, config_of(None), directory=tmp_path_factory.mktemp("assays") / "corpus")


def config_of(unique_entities: str | None, **trainer: object):
    # Without dropout: ranks draw it each for themselves, and batches are to be compared.
    views = {"molecule": FINGERPRINTS["a"], "text": TEXT_VIEW}
    own = {"unique_entities": unique_entities, "batch_size": SIZE, "epochs": 2, **trainer}
    return small_config(views=views, pairs=[["molecule", "text"]], encoder={"dropout": 0.0}, trainer=own)


def batches(corpus: Corpus, unique_entities: str | None) -> tuple[SampleStore, list[torch.Tensor]]:
    config = config_of(unique_entities)
    modalities = {name: view.build_modality() for name, view in config.views.items()}
    columns = {name: corpus.columns(view) for name, view in config.views.items()}
    samples = corpus.samples(config)
    store = SampleStore(modalities, columns, samples, seed=0, device=torch.device("cpu"), unique_entities=unique_entities)
    return store, [store.batch(1, position, SIZE).samples for position in range(len(store) // SIZE)]


def test_store_deals_the_entries_of_the_view(assays):
    store, found = batches(assays, "text")
    entries = store.entries["text"]
    together = torch.cat(found)
    assert len(together) == len(together.unique()) == 256
    assert set(together.tolist()) == set(torch.cat(batches(assays, None)[1]).tolist())
    per_batch = counts(together, entries, SIZE)
    assert (per_batch.max(axis=0) - per_batch.min(axis=0)).max() == 1
    at_random = counts(torch.cat(batches(assays, None)[1]), entries, SIZE)
    assert (at_random.max(axis=0) - at_random.min(axis=0)).max() > 3
    # Any batch can be asked for first, and other sizes are dealt anew.
    fresh, _ = batches(assays, "text")
    assert torch.equal(fresh.batch(1, 5, SIZE).samples, found[5])
    halves = torch.cat([fresh.batch(1, position, 16).samples for position in range(17)])
    assert (np.ptp(counts(halves, entries, 16), axis=0)).max() == 1


def test_unique_entities_are_counted_where_samples_repeat_them(assays):
    store, found = batches(assays, "text")
    batch = store.batch(1, 3, SIZE)
    assert {name: int(value) for name, value in batch.unique_entities().items()} == {
        "unique_entities.text": len(store.entries["text"][found[3]].unique())
    }
    assert store.repeated_views == ("text",)


def test_run_logs_the_entities_of_its_batches(assays, tmp_path):
    logged = []
    for unique_entities in (None, "text"):
        run = tmp_path / str(unique_entities)
        pretrain(assays, run, config=config_of(unique_entities))
        logged.append(pd.read_csv(run / "metrics.csv")["unique_entities.text"])
    store, _ = batches(assays, "text")
    expected = [
        np.mean([len(store.entries["text"][store.batch(epoch, position, SIZE).samples].unique()) for position in range(8)])
        for epoch in (0, 1)
    ]
    assert logged[1].tolist() == pytest.approx(expected)
    assert (logged[1] > logged[0] + 1).all()
    assert model_hash(tmp_path / "None") != model_hash(tmp_path / "text")


def test_runs_of_distinct_molecules_log_none(corpus, tmp_path):
    pretrain(corpus, tmp_path / "run", config=small_config(trainer={"max_steps": 2}))
    assert not [name for name in pd.read_csv(tmp_path / "run" / "metrics.csv") if "unique" in name]


def test_stopped_run_resumes_with_the_same_bits(assays, tmp_path):
    pretrain(assays, tmp_path / "whole", config=config_of("text"))
    with pytest.raises(Interrupted):
        pretrain(assays, tmp_path / "run", config=config_of("text"), progress=stop_after(11, signal.SIGTERM))
    pretrain(assays, tmp_path / "run", config=config_of("text"), resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def train_on_rank(rank: int, world_size: int, corpus: str, run: str) -> None:
    pretrain(Corpus.open(corpus), run, config=config_of("text", max_steps=5))


def distance_of_weights(run: Path, other: Path) -> float:
    """The relative distance of what is trained: the numbers of terms are so large that they would hide it."""
    numbers = [
        torch.cat([tensor.flatten() for name, tensor in sorted(model_tensors(path).items()) if name.endswith((".weight", ".bias"))])
        for path in (run, other)
    ]
    return float((numbers[0] - numbers[1]).norm() / numbers[1].norm())


@pytest.mark.parametrize("world_size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_ranks_train_on_the_batches_of_one_process(assays, tmp_path, on_ranks, world_size):
    pretrain(assays, tmp_path / "alone", config=config_of("text", max_steps=5))
    on_ranks(train_on_rank, world_size, corpus=str(assays.directory), run=str(tmp_path / "ranks"))
    logged = [pd.read_csv(tmp_path / name / "metrics.csv")["unique_entities.text"] for name in ("alone", "ranks")]
    assert logged[0].tolist() == logged[1].tolist()
    assert distance_of_weights(tmp_path / "ranks", tmp_path / "alone") < 1e-4
    # The control: batches in random order, as far from these as other data is.
    pretrain(assays, tmp_path / "random", config=config_of(None, max_steps=5))
    assert distance_of_weights(tmp_path / "random", tmp_path / "alone") > 1e-2


def test_a_view_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"trainer\.unique_entities names the view 'texts', which is not defined; did you mean 'text'"):
        config_of("texts")
    assert small_config(views={**FINGERPRINTS, "d": DESCRIPTORS}, trainer={"unique_entities": "d"}).trainer.unique_entities == "d"
