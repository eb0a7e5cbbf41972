"""Linear heads on scaled features."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV

from molbt.predict.cross_validation import inner_folds
from molbt.predict.features import FeatureSet
from molbt.predict.head import Head, Trial
from molbt.predict.scaling import BlockScaler


@dataclass(kw_only=True, eq=False, repr=False)
class _LinearHead(Head):
    """A linear model on scaled features (z-scores; log(1 + count) for counts); the penalty is chosen by inner validation on training
    rows."""

    folds: int = 5

    def _fit(self, features: FeatureSet, y: np.ndarray) -> None:
        self._scaler = BlockScaler().fit(features)
        matrix = self._scaler.transform(features).matrix()
        model, (parameter, values) = self._candidates()
        folds = inner_folds(y, self.task_type, self.folds, self.random_state, features.molecules)
        if not folds:
            self._model = model.set_params(**{parameter: values[len(values) // 2]}).fit(matrix, y)
            return
        search = GridSearchCV(
            model,
            {parameter: list(values)},
            scoring="neg_mean_squared_error" if self.task_type == "regression" else "neg_log_loss",
            cv=folds,
            n_jobs=self.n_jobs,
            error_score="raise",
        )
        self._model = search.fit(matrix, y).best_estimator_

    def _predict(self, features: FeatureSet) -> np.ndarray:
        matrix = self._scaler.transform(features).matrix()
        return self._model.predict(matrix) if self.task_type == "regression" else self._model.predict_proba(matrix)[:, 1]

    @abstractmethod
    def _candidates(self) -> tuple[Any, tuple[str, Sequence[float]]]:
        """The model, and its penalty's name and candidates."""


@dataclass(kw_only=True, eq=False, repr=False)
class RidgeHead(_LinearHead):
    """Ridge regression.

    Parameters
    ----------
    penalties : sequence of float
        Candidates for α; the middle one is used when there are fewer than four rows.
    folds : int
    """

    name: ClassVar[str] = "ridge"
    task_types: ClassVar[tuple[str, ...]] = ("regression",)

    penalties: Sequence[float] = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)

    def suggest(self, trial: Trial, features: FeatureSet) -> dict[str, Any]:
        return {"penalties": [trial.suggest_float("penalty", 0.1, 10_000.0, log=True)]}

    def _candidates(self) -> tuple[Any, tuple[str, Sequence[float]]]:
        return Ridge(random_state=self.random_state), ("alpha", self.penalties)


@dataclass(kw_only=True, eq=False, repr=False)
class LogisticHead(_LinearHead):
    """Logistic regression with a ridge penalty.

    Parameters
    ----------
    costs : sequence of float
        Candidates for C; the middle one is used when a class has fewer than two rows.
    folds : int
    """

    name: ClassVar[str] = "logistic"
    task_types: ClassVar[tuple[str, ...]] = ("classification",)

    costs: Sequence[float] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)

    def suggest(self, trial: Trial, features: FeatureSet) -> dict[str, Any]:
        return {"costs": [trial.suggest_float("cost", 1e-4, 100.0, log=True)]}

    def _candidates(self) -> tuple[Any, tuple[str, Sequence[float]]]:
        model = LogisticRegression(max_iter=2_000, random_state=self.random_state)
        return model, ("C", self.costs)
