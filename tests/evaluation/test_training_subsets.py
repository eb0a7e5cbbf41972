import itertools

import numpy as np
import pytest

from molbt.errors import ConfigError
from molbt.evaluation.training_subsets import check_fractions, training_subset


def labels(n: int, positives: int, missing: int = 0) -> np.ndarray:
    y = np.zeros(n)
    y[:positives] = 1
    y[n - missing :] = np.nan
    return np.random.default_rng(0).permutation(y)


def test_all_labels_are_the_training_rows_themselves() -> None:
    train = np.array([4, 1, 2])
    assert training_subset(labels(10, 3, 2), train, 1.0, task_type="classification", random_state=0) is train


@pytest.mark.parametrize("task_type", ["regression", "classification"])
def test_subsets_are_nested_labelled_training_rows(task_type) -> None:
    y, train = labels(1_000, 100, 200), np.arange(100, 1_000)
    subsets = [
        set(training_subset(y, train, fraction, task_type=task_type, random_state=7).tolist()) for fraction in (0.001, 0.05, 0.1, 0.37, 0.9)
    ]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(subsets))
    labelled = {row for row in train.tolist() if np.isfinite(y[row])}
    assert subsets[-1] < labelled
    n = len(labelled)
    assert [len(subset) for subset in subsets[2:]] == pytest.approx([0.1 * n, 0.37 * n, 0.9 * n], abs=1.1)
    assert len(subsets[0]) >= 8


def test_classes_keep_their_shares() -> None:
    y = labels(1_000, 100)
    chosen = training_subset(y, np.arange(1_000), 0.1, task_type="classification", random_state=1)
    assert (len(chosen), y[chosen].sum()) == (100, 10)


@pytest.mark.parametrize(("positives", "expected"), [(1, 1), (2, 2), (5, 2)])
def test_a_rare_class_is_in_every_subset(positives, expected) -> None:
    y = labels(1_000, positives)
    for state in range(5):
        chosen = training_subset(y, np.arange(1_000), 0.01, task_type="classification", random_state=state)
        assert y[chosen].sum() == expected


def test_the_seed_chooses_the_rows_and_their_order_does_not() -> None:
    y, train = labels(200, 60), np.arange(150)
    first = training_subset(y, train, 0.2, task_type="classification", random_state=0)
    np.testing.assert_array_equal(first, training_subset(y, train[::-1], 0.2, task_type="classification", random_state=0))
    assert not np.array_equal(first, training_subset(y, train, 0.2, task_type="classification", random_state=1))


def test_few_or_no_labels_are_all_taken() -> None:
    y = np.full(20, np.nan)
    assert len(training_subset(y, np.arange(20), 0.1, task_type="classification", random_state=0)) == 0
    y[3:8] = [0, 0, 1, 1, 1]
    assert training_subset(y, np.arange(20), 0.1, task_type="classification", random_state=0).tolist() == [3, 4, 5, 6, 7]
    assert training_subset(y, np.arange(20), 0.1, task_type="regression", random_state=0).tolist() == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("fractions", [[], [0.1, 0.1], [0.0], [1.1], [-1], [float("nan")]])
def test_fractions_that_make_no_sense_are_refused(fractions) -> None:
    with pytest.raises(ConfigError, match="different fractions above 0 and up to 1"):
        check_fractions(fractions)
