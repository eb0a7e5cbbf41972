"""Support and query sets as FS-Mol draws them."""

import numpy as np
from sklearn.model_selection import StratifiedShuffleSplit

from molbt.errors import ConfigError, ShapeError

SUPPORT_SIZES = (16, 32, 64, 128)
"""Sizes of the published tables, which most test tasks allow; 256 is the fifth."""

N_DRAWS = 10
"""Support sets per task and size, with the seeds 0 to 9."""

SPLIT = "stratified"
"""What results call these draws; published ones are of the same kind."""


def draw_support(y: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a stratified support set of a task, and the rest of its rows as the query set.

    These are the draws of FS-Mol's ``StratifiedTaskSampler`` with all remaining rows as the query set: the same splitter of scikit-learn on
    the same order of the rows (actives first, because ``more_itertools.partition`` there returns what is false first and the two names are
    swapped), with the same seed. They differ where scikit-learn's splitter does between versions, and where a row has no usable label: it
    is left out here, FS-Mol has none. FS-Mol passes over a draw that cannot be made; here it is None.

    Parameters
    ----------
    y : ndarray of shape (rows,), float64
        1 active, 0 inactive, NaN for a row that takes no part.
    size : int
        Of the support set; at 0 the query set is the whole task.
    seed : int

    Returns
    -------
    support, query : ndarray of int
        Positions in ``y`` in the order in which they were drawn; each labelled row is in one of them. None if either would lack a class.

    Raises
    ------
    ConfigError
        If the size is negative.
    ShapeError
        If a label is neither 0, 1 nor NaN.

    References
    ----------
    Stanley et al. 2021, ``microsoft/FS-Mol`` at 92aa95d, ``fs_mol/data/fsmol_task_sampler.py`` and ``fs_mol/utils/test_utils.py``.
    """
    if size < 0:
        raise ConfigError(f"the size of a support set must be 0 or more, got {size}")
    actives, inactives = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    if len(actives) + len(inactives) != int(np.isfinite(y).sum()):
        raise ShapeError("a few-shot task needs the labels 0 and 1, or NaN for rows that take no part; got others")
    order = np.concatenate([actives, inactives])
    if size == 0:
        return (order[:0], np.sort(order)) if len(actives) and len(inactives) else None
    smaller = min(len(actives), len(inactives))
    # One row of each class in both sets is what the splitter and FS-Mol ask for.
    if smaller < 2 or size < 2 or len(order) - size < 2:
        return None
    classes = np.repeat([0, 1], [len(actives), len(inactives)])
    splitter = StratifiedShuffleSplit(n_splits=1, train_size=size, test_size=len(order) - size, random_state=seed)
    support, query = (order[positions] for positions in next(splitter.split(classes, classes)))
    if any(len(np.unique(y[rows])) < 2 for rows in (support, query)):
        return None
    return support, query
