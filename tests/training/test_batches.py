"""Which samples a batch has, and what their views depend on: sample, epoch, view and seed, and nothing else."""

import pytest
import torch
from small_run import DESCRIPTORS, FINGERPRINTS, small_config
from torch import Tensor

from molbt.draws import Draws
from molbt.training.batches import SampleStore

SIZE = 60
ALL = torch.arange(SIZE)


@pytest.fixture(scope="module")
def store(corpus) -> SampleStore:
    return make_store(corpus, seed=0)


def make_store(corpus, *, seed: int) -> SampleStore:
    views = {**FINGERPRINTS, "descriptors": {**DESCRIPTORS, "mask": 0.5}}
    config = small_config(views=views, pairs=[["a", "b"]])
    modalities = {name: view.build_modality() for name, view in config.views.items()}
    columns = {name: corpus.columns(view) for name, view in config.views.items()}
    return SampleStore(modalities, columns, corpus.samples(config), seed=seed, device=torch.device("cpu"))


def dense(view: object) -> Tensor:
    return torch.nan_to_num(view, nan=-1.0) if isinstance(view, Tensor) else view.to_dense()


def test_epoch_takes_each_sample_at_most_once_and_each_epoch_another_order(store):
    epochs = [torch.cat([store.batch(epoch, position, SIZE).samples for position in range(4)]) for epoch in (0, 1)]
    for samples in epochs:
        assert len(samples) == len(samples.unique()) == 240
        assert samples.max() < len(store) == 280
    assert not torch.equal(*epochs)
    assert set(epochs[0].tolist()) != set(epochs[1].tolist())  # what is left out changes too


def test_order_depends_on_the_seed_and_not_on_what_was_asked_before(corpus, store):
    store.batch(0, 0, SIZE)
    again = make_store(corpus, seed=0).batch(5, 2, SIZE)
    assert torch.equal(store.batch(5, 2, SIZE).samples, again.samples)
    assert not torch.equal(make_store(corpus, seed=1).batch(5, 2, SIZE).samples, again.samples)


@pytest.mark.parametrize("view", ["a", "descriptors"])
def test_view_of_a_sample_does_not_depend_on_its_batch(store, view):
    batch = store.batch(1, 0, SIZE)
    whole = dense(batch.gather(view, ALL))
    positions = torch.tensor([41, 3, 3, 17])
    assert torch.equal(dense(batch.gather(view, positions)), whole[positions])
    everything = dense(store.batch(1, 0, 240).gather(view, torch.arange(240)))
    assert torch.equal(everything[:SIZE], whole)


def test_augmentation_changes_with_epoch_view_and_seed(corpus, store):
    samples = store.batch(0, 0, SIZE)
    usual = dense(samples.gather("a", ALL))
    assert not torch.equal(dense(samples.gather("b", ALL)), usual)
    for store_of_seed, epoch in ((store, 1), (make_store(corpus, seed=1), 0)):
        other = type(samples)(store_of_seed, samples.samples, epoch)
        assert not torch.equal(dense(other.gather("a", ALL)), usual)
        assert torch.equal(dense(other.gather("a", ALL, augmented=False)), dense(samples.gather("a", ALL, augmented=False)))


def test_probe_is_the_same_each_time_and_no_larger_than_the_data(store):
    first, again = store.probe(100), store.probe(100)
    assert len(first) == 100
    assert len(store.probe(10_000)) == 280
    for view, batch in first.all_views().items():
        assert torch.equal(dense(batch), dense(again.all_views()[view]))


def test_draws_of_objectives_are_their_own(store):
    batch = store.batch(2, 1, SIZE)
    views = [Draws.for_rows(batch.samples, seed=0, epoch=2, view=view) for view in ("a", "b", "descriptors")]
    found = [batch.draws("x"), batch.draws("y"), store.batch(3, 1, SIZE).draws("x"), *views]
    numbers = torch.stack([draws.uniform() for draws in found])
    correlations = torch.corrcoef(numbers) - torch.eye(len(found))
    assert correlations.abs().max() < 0.6  # independent: a standard deviation of 0.13
    assert sorted(batch.draws("x").permutation().tolist()) == ALL.tolist()
    steps = {float(batch.step_draws(label, step).uniform()) for label in "xy" for step in range(50)}
    assert len(steps) == 100
    assert batch.step_draws("x", 0).uniform().shape == (1,)


def test_entities_are_the_numbers_of_the_entries(corpus, store):
    batch = store.batch(0, 0, SIZE)
    expected = corpus.samples(small_config()).entries["a"][batch.samples[:5]]
    assert torch.equal(batch.entities(ALL[:5])["a"], expected)
    assert torch.equal(batch.entities(ALL[:5])["descriptors"], expected)
