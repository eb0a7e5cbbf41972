"""Kernel logistic regression: the control of few-shot classification."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import linalg
from sklearn.linear_model import LogisticRegression

from molbt.predict.features import FeatureSet
from molbt.predict.head import Trial
from molbt.predict.kernel_head import KernelHead

# Makes the Cholesky factor of a kernel with equal rows exist.
_JITTER = 1e-8


@dataclass(frozen=True)
class _DualModel:
    weights: np.ndarray
    intercept: float


@dataclass(kw_only=True, eq=False, repr=False)
class TanimotoLogistic(KernelHead):
    """Logistic regression on the blended kernel, with a ridge penalty; classes weigh equally.

    With the Cholesky factor L of the kernel, ``f = L β + b`` is a linear logistic regression on the rows of L whose penalty ‖β‖² is the
    kernel's norm of f.

    Parameters
    ----------
    costs : sequence of float
        Candidates for C, the inverse of the penalty; the middle one is used when there are too few rows to choose.
    """

    name: ClassVar[str] = "tanimoto_logistic"
    task_types: ClassVar[tuple[str, ...]] = ("classification",)

    costs: Sequence[float] = (0.3, 1.0, 3.0, 10.0)
    max_rows: int = 5_000

    _candidates: ClassVar[str] = "costs"

    def suggest(self, trial: Trial, features: FeatureSet) -> dict[str, Any]:
        return super().suggest(trial, features) | {"costs": [trial.suggest_float("cost", 0.03, 100.0, log=True)]}

    def _new_machine(self, kernel: np.ndarray, targets: np.ndarray, setting: float) -> _DualModel:
        factor = linalg.cholesky(kernel + _JITTER * np.eye(len(kernel)), lower=True)
        model = LogisticRegression(C=setting, class_weight="balanced", tol=1e-6, max_iter=2_000).fit(factor, targets)
        return _DualModel(linalg.solve_triangular(factor, model.coef_[0], lower=True, trans="T"), float(model.intercept_[0]))

    def _decide(self, machine: _DualModel, kernel: np.ndarray) -> np.ndarray:
        return kernel @ machine.weights + machine.intercept
