"""The heads by name: boosting, support vectors, linear models and a forest, all with the interface of ``Head``."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold

from molbt.errors import ConfigError, suggestion
from molbt.predict.boosting import LightGBM
from molbt.predict.features import FeatureSet
from molbt.predict.head import TASK_TYPES, Head
from molbt.predict.kernel_heads import DenseSVM, TanimotoSVM
from molbt.predict.scaling import BlockScaler


@dataclass(kw_only=True, eq=False, repr=False)
class _LinearHead(Head):
    """A linear model on scaled features (z-scores; log(1 + count) for counts); the penalty is chosen by inner validation on training
    rows."""

    folds: int = 5

    def _fit(self, features: FeatureSet, y: np.ndarray) -> None:
        self._scaler = BlockScaler().fit(features)
        matrix = self._scaler.transform(features).matrix()
        model, grid, rarest = self._candidates(y)
        (parameter, values) = grid
        n_folds = min(self.folds, rarest)
        if n_folds < 2 or len(y) < 4:
            self._model = model.set_params(**{parameter: values[len(values) // 2]}).fit(matrix, y)
            return
        splitter = KFold if self.task_type == "regression" else StratifiedKFold
        search = GridSearchCV(
            model,
            {parameter: list(values)},
            scoring="neg_mean_squared_error" if self.task_type == "regression" else "neg_log_loss",
            cv=splitter(n_folds, shuffle=True, random_state=self.random_state),
            n_jobs=self.n_jobs,
            error_score="raise",
        )
        self._model = search.fit(matrix, y).best_estimator_

    def _predict(self, features: FeatureSet) -> np.ndarray:
        matrix = self._scaler.transform(features).matrix()
        return self._model.predict(matrix) if self.task_type == "regression" else self._model.predict_proba(matrix)[:, 1]

    @abstractmethod
    def _candidates(self, y: np.ndarray) -> tuple[Any, tuple[str, Sequence[float]], int]:
        """The model, its penalty's name and candidates, and the largest number of folds that can be fitted."""


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

    def _candidates(self, y: np.ndarray) -> tuple[Any, tuple[str, Sequence[float]], int]:
        return Ridge(random_state=self.random_state), ("alpha", self.penalties), len(y)


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

    def _candidates(self, y: np.ndarray) -> tuple[Any, tuple[str, Sequence[float]], int]:
        model = LogisticRegression(max_iter=2_000, random_state=self.random_state)
        return model, ("C", self.costs), int(np.bincount(y.astype(int)).min())


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


HEADS: dict[str, type[Head]] = {head.name: head for head in (LightGBM, TanimotoSVM, RidgeHead, LogisticHead, DenseSVM, ForestHead)}


def build_head(name: str, task_type: str = "regression", *, random_state: int = 0, n_jobs: int = 1, **parameters: Any) -> Head:
    """Return an unfitted head.

    Parameters
    ----------
    name : str
        A key of ``HEADS``.
    task_type : {"regression", "classification"}
    random_state, n_jobs : int
    **parameters
        The head's own, as ``Head.parameters`` returns them.

    Raises
    ------
    ConfigError
        If the name, the task type or a parameter is unknown, or the head does not do that type of task.
    """
    if name not in HEADS:
        raise ConfigError(f"unknown head {name!r}{suggestion(name, HEADS)}")
    kind = HEADS[name]
    if task_type not in TASK_TYPES:
        raise ConfigError(f"unknown task type {task_type!r}{suggestion(task_type, TASK_TYPES)}")
    if task_type not in kind.task_types:
        others = [other for other, head in HEADS.items() if task_type in head.task_types]
        raise ConfigError(f"the head {name!r} does {kind.task_types[0]} only, got task_type={task_type!r}; use one of {', '.join(others)}")
    known = set(kind().parameters())
    for parameter in parameters:
        if parameter not in known:
            raise ConfigError(f"unknown parameter {parameter!r} of the head {name!r}{suggestion(parameter, known)}")
    return kind(task_type=task_type, random_state=random_state, n_jobs=n_jobs, **parameters)
