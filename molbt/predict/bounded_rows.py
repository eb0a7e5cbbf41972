"""Which rows a head learns from whose cost grows with the square of their number or faster."""

import numpy as np

# A stream of its own: the same seed also draws folds and fits heads.
_STREAM = 0xB0DED


def bounded_rows(y: np.ndarray, task_type: str, max_rows: int, random_state: int) -> np.ndarray:
    """Return at most ``max_rows`` rows: all if there are no more, otherwise rows drawn at random.

    Of two classes the smaller one is kept whole before the other is drawn, up to half of ``max_rows``: where actives are rare, each of them
    tells more than an inactive does.

    Parameters
    ----------
    y : ndarray of shape (n,), float64
        Without NaN; 0 and 1 in classification.
    task_type : {"regression", "classification"}
    max_rows : int
    random_state : int

    Returns
    -------
    ndarray of int
        Sorted.
    """
    if len(y) <= max_rows:
        return np.arange(len(y))
    order = np.random.default_rng([_STREAM, random_state]).permutation(len(y))
    if task_type == "classification":
        is_rare = y[order] == float(y.mean() < 0.5)
        n_rare = min(int(is_rare.sum()), max_rows // 2)
        order = np.concatenate([order[is_rare][:n_rare], order[~is_rare][: max_rows - n_rare]])
    return np.sort(order[:max_rows])


def class_weights(y: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return a weight for each kept row: how many rows of its class it stands for. With them, shares of classes are those of all rows.

    Parameters
    ----------
    y : ndarray of shape (n,), float64
        0 and 1.
    kept : ndarray of int

    Returns
    -------
    ndarray of shape (kept,), float64
    """
    return np.array([(y == label).sum() / (y[kept] == label).sum() for label in (0.0, 1.0)])[y[kept].astype(int)]
