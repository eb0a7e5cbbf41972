"""Fewer labels to learn from: nested subsets of a task's training rows."""

from collections.abc import Sequence

import numpy as np

from molbt.errors import ConfigError

SMALLEST = 8
"""Fewest rows of a subset, where there are so many."""
SMALLEST_CLASS = 2
"""Fewest rows of a class in a subset, where there are so many."""

# A stream of its own: the same seed also draws splits and fits heads.
_STREAM = 0x5B5E7


def check_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    """Return the fractions, or raise ConfigError unless they are one or more different numbers above 0 and up to 1."""
    values = tuple(float(fraction) for fraction in fractions)
    if not values or len(set(values)) < len(values) or not all(0 < value <= 1 for value in values):
        raise ConfigError(f"expected one or more different fractions above 0 and up to 1, got {list(fractions)}; such as 0.01, 0.1, 1")
    return values


def training_subset(y: np.ndarray, train: np.ndarray, fraction: float, *, task_type: str, random_state: int) -> np.ndarray:
    """Return a share of the labelled training rows.

    A smaller fraction's rows are among a larger one's, and classes keep their shares. No subset has fewer than ``SMALLEST`` rows, or than
    ``SMALLEST_CLASS`` of a class, unless the training rows have.

    Parameters
    ----------
    y : ndarray of shape (rows,), float64
        Labels of the whole table; NaN where missing.
    train : ndarray of int
        Rows of the training part.
    fraction : float
        Above 0. At 1 the result is ``train``, rows without a label included.
    task_type : {"regression", "classification"}
    random_state : int

    Returns
    -------
    ndarray of int
        Sorted; the same for the same rows, labels and seed.
    """
    if fraction == 1:
        return train
    labelled = np.sort(train[np.isfinite(y[train])])
    wanted = max(round(fraction * len(labelled)), SMALLEST)
    order = np.random.default_rng([_STREAM, random_state]).permutation(labelled)
    if task_type == "regression":
        return np.sort(order[:wanted])
    chosen = []
    for label in np.unique(y[labelled]):
        members = order[y[order] == label]
        share = round(wanted * len(members) / len(labelled))
        chosen.append(members[: max(share, SMALLEST_CLASS)])
    return np.sort(np.concatenate(chosen)) if chosen else labelled
