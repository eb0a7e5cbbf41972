"""Random forest."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from molbt.predict.features import FeatureSet
from molbt.predict.head import Head, Trial
from molbt.predict.scaling import BlockScaler


@dataclass(kw_only=True, eq=False, repr=False)
class ForestHead(Head):
    """Random forest on scaled features; each split looks at a share of the columns.

    Parameters
    ----------
    n_trees : int
    column_fraction : float or "sqrt"
    """

    name: ClassVar[str] = "forest"

    n_trees: int = 500
    column_fraction: float | str = "sqrt"

    def suggest(self, trial: Trial, features: FeatureSet) -> dict[str, Any]:
        return {"column_fraction": trial.suggest_float("column_fraction", 0.003, 1.0, log=True)}

    def _fit(self, features: FeatureSet, y: np.ndarray) -> None:
        self._scaler = BlockScaler().fit(features)
        forest = RandomForestRegressor if self.task_type == "regression" else RandomForestClassifier
        self._model = forest(self.n_trees, max_features=self.column_fraction, random_state=self.random_state, n_jobs=self.n_jobs)
        self._model.fit(self._scaler.transform(features).matrix(), y)
        # Threads that predict add up trees in the order in which they finish: the last bits would vary.
        self._model.n_jobs = 1

    def _predict(self, features: FeatureSet) -> np.ndarray:
        matrix = self._scaler.transform(features).matrix()
        return self._model.predict(matrix) if self.task_type == "regression" else self._model.predict_proba(matrix)[:, 1]
