"""Draws against the text of FS-Mol's sampler, followed step by step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from molbt.errors import ConfigError, ShapeError
from molbt.evaluation.few_shot.sampling import draw_support


def official_draw(labels: list[bool], size: int, seed: int) -> tuple[list[int], list[int]]:
    """``StratifiedTaskSampler(train_size, test_size_or_ratio=None).sample`` of microsoft/FS-Mol, on row numbers instead of molecules.

    ``more_itertools.partition`` returns what is false first, so what it calls positive samples are the inactives.
    """
    pos_samples = [row for row, label in enumerate(labels) if not label]
    neg_samples = [row for row, label in enumerate(labels) if label]
    samples = neg_samples + pos_samples
    y = np.concatenate((np.zeros(len(neg_samples)), np.ones(len(pos_samples))), axis=0)
    splitter = StratifiedShuffleSplit(n_splits=1, train_size=size, test_size=len(samples) - size, random_state=seed)
    train, test = next(iter(splitter.split(X=np.arange(len(samples)), y=y)))
    return [samples[i] for i in train], [samples[i] for i in test]


def labels_of(n: int, share: float, seed: int) -> np.ndarray:
    y = np.zeros(n)
    y[: max(int(share * n), 2)] = 1
    return np.random.default_rng(seed).permutation(y)


@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("share", [0.3, 0.47, 0.5])
def test_draws_are_those_of_the_official_sampler(size: int, share: float) -> None:
    y = labels_of(151, share, seed=size)
    for seed in range(10):
        support, query = draw_support(y, size, seed)
        assert (support.tolist(), query.tolist()) == official_draw([bool(label) for label in y], size, seed)


@given(n=st.integers(8, 200), share=st.floats(0.1, 0.9), size=st.integers(4, 64), seed=st.integers(0, 20))
def test_draws_are_disjoint_complete_stratified_and_repeatable(n: int, share: float, size: int, seed: int) -> None:
    y = labels_of(n, share, seed)
    drawn = draw_support(y, size, seed)
    if drawn is None:
        return
    support, query = drawn
    assert len(support) == size
    assert sorted([*support, *query]) == list(range(n))
    assert abs(y[support].sum() - size * y.mean()) < 1
    assert set(y[support]) == set(y[query]) == {0.0, 1.0}
    again = draw_support(y, size, seed)
    np.testing.assert_array_equal(again[0], support)
    np.testing.assert_array_equal(again[1], query)


def test_seeds_give_different_draws() -> None:
    y = labels_of(100, 0.5, seed=0)
    assert len({tuple(sorted(draw_support(y, 16, seed)[0])) for seed in range(10)}) == 10


def test_rows_without_a_label_take_no_part() -> None:
    y = labels_of(60, 0.5, seed=1)
    gaps = y.copy()
    gaps[::7] = np.nan
    support, query = draw_support(gaps, 16, 0)
    assert sorted([*support, *query]) == np.flatnonzero(np.isfinite(gaps)).tolist()


def test_draws_that_cannot_be_made_are_none() -> None:
    assert draw_support(labels_of(17, 0.5, 0), 16, 0) is None  # one row is no query set of two classes
    assert draw_support(labels_of(10, 0.5, 0), 16, 0) is None
    assert draw_support(np.zeros(40), 16, 0) is None
    assert draw_support(np.array([1.0, *[0.0] * 39]), 16, 0) is None
    assert draw_support(np.array([1.0, 1.0, *[0.0] * 398]), 16, 0) is None  # stratified, the support set has no active


def test_a_support_set_of_nothing_leaves_the_whole_task_to_the_query_set() -> None:
    y = np.array([0.0, 1.0, np.nan, 1.0])
    support, query = draw_support(y, 0, 0)
    assert support.tolist() == []
    assert query.tolist() == [0, 1, 3]
    assert draw_support(np.zeros(4), 0, 0) is None


def test_what_is_no_size_and_no_label_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 or more"):
        draw_support(np.array([0.0, 1.0]), -1, 0)
    with pytest.raises(ShapeError, match="0 and 1"):
        draw_support(np.array([0.0, 1.0, 2.0]), 2, 0)
