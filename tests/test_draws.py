"""Counter-based draws: the mixing function, uniformity, independence, and what a number may depend on."""

import numpy as np
import pytest
import torch

from molbt.draws import Draws, _mix_integer, _mix_tensor, _signed, mix_words

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def make(rows, *, seed: int = 0, epoch: int = 0, view: str = "a") -> Draws:
    return Draws.for_rows(torch.as_tensor(rows), seed=seed, epoch=epoch, view=view)


def chi_square(counts: np.ndarray) -> float:
    """Standardised chi-square statistic of equally likely bins: near 0, spread about 1."""
    expected = counts.sum() / counts.size
    freedom = counts.size - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom))


def test_mixing_is_splitmix64():
    # The published first outputs of SplitMix64 from the state 1234567.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [_mix_integer((1234567 + k * GOLDEN) & MASK) for k in range(1, 6)] == published


def test_mixing_of_tensors_equals_that_of_integers():
    words = [0, 1, 1 << 63, MASK, GOLDEN, *(int(word) for word in np.random.default_rng(0).integers(0, 1 << 63, 200)), 0xF000000000000001]
    mixed = _mix_tensor(torch.tensor([_signed(word) for word in words])).tolist()
    assert mixed == [_signed(_mix_integer(word)) for word in words]


def test_mix_words_tells_words_orders_and_types_apart():
    seeds = [
        mix_words(*words) for words in ((1, 2), (2, 1), (1, 2, 0), ("1", 2), (1, "2"), (12,), ("a", "b"), ("ab",), ("b", "a"), (-1,), ())
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    assert mix_words(1, "view", 2) == mix_words(1, "view", 2)


@pytest.mark.parametrize("kind", ["rows", "items", "grid", "slots_of_one_row", "epochs"])
def test_numbers_are_uniform(kind):
    n = 1 << 17
    if kind == "rows":
        numbers = make(torch.arange(n)).uniform()
    elif kind == "items":
        rows = torch.arange(n) % 512
        numbers = make(torch.arange(512)).uniform_items(rows, torch.arange(n) // 512)
    elif kind == "grid":
        numbers = make(torch.arange(256)).uniform_grid(512).flatten()
    elif kind == "slots_of_one_row":
        numbers = make([7]).uniform_grid(n).flatten()
    else:
        numbers = torch.cat([make(torch.arange(512), epoch=epoch).uniform() for epoch in range(256)])
    assert numbers.dtype == torch.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    # Six standard deviations: the numbers are fixed, so this does not fail by chance.
    assert abs(chi_square(np.histogram(numbers.numpy(), bins=256, range=(0, 1))[0])) < 6
    last_bits = (numbers.numpy() * (1 << 24)).astype(np.int64) % 256
    assert abs(chi_square(np.bincount(last_bits, minlength=256))) < 6


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (make(torch.arange(100_000)), make(torch.arange(100_000) + 1)),
        (make(torch.arange(100_000)), make(torch.arange(100_000), epoch=1)),
        (make(torch.arange(100_000)), make(torch.arange(100_000), seed=1)),
        (make(torch.arange(100_000)), make(torch.arange(100_000), view="b")),
        (make(torch.arange(100_000)).stream("drop"), make(torch.arange(100_000)).stream("flip")),
        (make(torch.arange(100_000)), make(torch.arange(100_000)).stream("drop")),
    ],
    ids=["row", "epoch", "seed", "view", "stream", "stream and its origin"],
)
def test_numbers_of_other_words_are_independent(first, second):
    pairs = np.histogram2d(first.uniform().numpy(), second.uniform().numpy(), bins=16, range=[[0, 1], [0, 1]])[0]
    assert abs(chi_square(pairs)) < 6
    slots = np.histogram2d(*(draws.uniform_grid(3)[:, 2].numpy() for draws in (first, second)), bins=16, range=[[0, 1], [0, 1]])[0]
    assert abs(chi_square(slots)) < 6


def test_numbers_of_neighbouring_slots_are_independent():
    grid = make(torch.arange(100_000)).uniform_grid(2).numpy()
    assert abs(chi_square(np.histogram2d(grid[:, 0], grid[:, 1], bins=16, range=[[0, 1], [0, 1]])[0])) < 6


def test_numbers_do_not_depend_on_the_batch_or_its_order():
    whole, part = make(torch.arange(50)), make([31, 4, 4, 17])
    rows = torch.tensor([31, 4, 4, 17])
    assert torch.equal(part.uniform(), whole.uniform()[rows])
    assert torch.equal(part.stream("x").uniform_grid(5), whole.stream("x").uniform_grid(5)[rows])
    assert torch.equal(whole.select(rows).keys, part.keys)
    items, slots = torch.tensor([3, 0, 0, 2]), torch.tensor([9, 9, 70_000, 0], dtype=torch.int32)
    assert torch.equal(part.uniform_items(items, slots), whole.uniform_items(rows[items], slots))
    assert torch.equal(part.uniform_items(items.flip(0), slots.flip(0)), part.uniform_items(items, slots).flip(0))


def test_numbers_repeat_for_the_same_words_and_a_grid_is_its_slots():
    rows = torch.arange(6, dtype=torch.int32)
    assert torch.equal(make(rows, seed=3, epoch=2, view="b").uniform(), make(rows, seed=3, epoch=2, view="b").uniform())
    grid = make(rows).uniform_grid(4)
    assert torch.equal(grid.flatten(), make(rows).uniform_items(torch.arange(6).repeat_interleave(4), torch.arange(4).repeat(6)))


def test_keys_of_many_rows_are_distinct():
    assert len(make(torch.arange(200_000)).keys.unique()) == 200_000


def test_permutation_holds_each_row_once_and_every_place_is_equally_likely():
    counts = np.zeros((8, 8), dtype=np.int64)
    for epoch in range(2000):
        order = make(torch.arange(8), epoch=epoch).permutation().tolist()
        assert sorted(order) == list(range(8))
        counts[np.arange(8), order] += 1
    assert abs(chi_square(counts)) < 6
