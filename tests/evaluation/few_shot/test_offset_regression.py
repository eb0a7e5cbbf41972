"""Against scikit-learn's logistic regression, a general minimiser, and what an offset has to do."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from molbt.evaluation.few_shot.offset_regression import fit_around


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A kernel of 40 rows, unbalanced labels that follow it, and an offset of its own."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 60))
    return rows @ rows.T / 60, (rows[:, 0] + 0.5 * rng.normal(size=40) > 0.6).astype(float), rng.normal(size=40)


@pytest.mark.parametrize("cost", [0.1, 3.0, 100.0])
def test_without_an_offset_it_is_scikit_learns_balanced_logistic_regression(drawn, cost: float) -> None:
    kernel, y, _ = drawn
    weights, intercept = fit_around(kernel, y, np.zeros(40), cost)
    factor = np.linalg.cholesky(kernel + 1e-8 * np.eye(40))
    reference = LogisticRegression(C=cost, class_weight="balanced", tol=1e-10, max_iter=20_000).fit(factor, y)
    np.testing.assert_allclose(kernel @ weights + intercept, reference.decision_function(factor), atol=1e-4)


def test_with_an_offset_it_minimises_the_stated_objective(drawn) -> None:
    kernel, y, offset = drawn
    weights, intercept = fit_around(kernel, y, offset, 2.0)
    balance = np.where(y == 1, 20 / y.sum(), 20 / (40 - y.sum()))

    def objective(values: np.ndarray) -> float:
        odds = kernel @ values[:-1] + values[-1] + offset
        return 0.5 * values[:-1] @ kernel @ values[:-1] + 2.0 * balance @ (np.logaddexp(0, odds) - y * odds)

    found = objective(np.append(weights, intercept))
    assert found <= minimize(objective, np.zeros(41), method="L-BFGS-B", options={"maxiter": 5_000}).fun + 1e-6
    assert found < objective(np.append(fit_around(kernel, y, np.zeros(40), 2.0)[0], intercept)) - 0.01


def test_an_offset_that_explains_the_labels_leaves_nothing_to_learn(drawn) -> None:
    kernel, y, _ = drawn
    weights, _ = fit_around(kernel, y, np.where(y == 1, 30.0, -30.0), 3.0)
    np.testing.assert_allclose(weights, 0, atol=1e-6)


def test_equal_rows_and_a_huge_cost_stay_finite() -> None:
    weights, intercept = fit_around(np.ones((16, 16)), np.tile([0.0, 1.0], 8), np.zeros(16), 1e6)
    assert np.isfinite(weights).all()
    assert expit(np.ones(16) @ weights + intercept) == pytest.approx(0.5, abs=1e-3)
