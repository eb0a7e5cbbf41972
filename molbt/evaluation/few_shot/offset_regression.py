"""Kernel logistic regression around given scores: what a few labels add to what was known before."""

import numpy as np
from scipy import linalg
from scipy.special import expit

# Makes the Cholesky factor of a kernel with equal rows exist, and Newton's equations solvable where every probability is 0 or 1.
_JITTER = 1e-8
_MOST_STEPS = 100
_SMALLEST_STEP = 1e-8
# Relative change of the objective at which it is at its minimum.
_TOLERANCE = 1e-10


def fit_around(kernel: np.ndarray, y: np.ndarray, offset: np.ndarray, cost: float) -> tuple[np.ndarray, float]:
    """Return the weights a and the intercept b of ``f = K a + b + offset``, the log-odds of class 1.

    They minimise ``½ aᵀ K a + C · Σ w · log loss(y, f)``, in which classes weigh equally (``w = n / (2 · rows of the class)``): with an
    offset of zeros, class-balanced kernel logistic regression.

    Parameters
    ----------
    kernel : ndarray of shape (n, n), float64
        Positive semi-definite.
    y : ndarray of shape (n,)
        0 and 1, both present.
    offset : ndarray of shape (n,), float64
        Log-odds that the fit starts from and regularises towards.
    cost : float
        C, the inverse of the penalty.

    Returns
    -------
    weights : ndarray of shape (n,), float64
    intercept : float

    Notes
    -----
    Newton's method with halved steps: the objective is convex. With the Cholesky factor L of the kernel, ``K a = L β`` and the penalty is
    ‖β‖².
    """
    n = len(y)
    factor = linalg.cholesky(kernel + _JITTER * np.eye(n), lower=True)
    inputs = np.column_stack([factor, np.ones(n)])
    penalty = np.append(np.ones(n), _JITTER)
    weight = cost * np.where(y == 1, n / (2 * (y == 1).sum()), n / (2 * (y == 0).sum()))

    def objective(values: np.ndarray) -> float:
        odds = inputs @ values + offset
        return float(0.5 * penalty @ values**2 + weight @ (np.logaddexp(0.0, odds) - y * odds))

    solution = np.zeros(n + 1)
    reached = objective(solution)
    for _ in range(_MOST_STEPS):
        probability = expit(inputs @ solution + offset)
        gradient = penalty * solution + inputs.T @ (weight * (probability - y))
        curvature = np.diag(penalty) + inputs.T @ ((weight * probability * (1 - probability))[:, None] * inputs)
        direction, step = linalg.solve(curvature, gradient, assume_a="pos"), 1.0
        while objective(solution - step * direction) > reached and step > _SMALLEST_STEP:
            step /= 2
        before, solution = reached, solution - step * direction
        reached = objective(solution)
        if before - reached <= _TOLERANCE * max(1.0, abs(reached)):
            break
    return linalg.solve_triangular(factor, solution[:-1], lower=True, trans="T"), float(solution[-1])
