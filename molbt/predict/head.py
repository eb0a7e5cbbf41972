"""The contract of a head: a supervised model on a feature set that keeps every row."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from sklearn.base import BaseEstimator, clone

from molbt.errors import ConfigError, DataError, ShapeError, suggestion
from molbt.predict.features import FeatureSet

TASK_TYPES = ("regression", "classification")


class Trial(Protocol):
    """What a head needs of an Optuna trial to suggest parameters."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...


@dataclass(kw_only=True, eq=False, repr=False)
class Head(BaseEstimator, ABC):
    """A supervised model on features. Subclasses are dataclasses whose fields are JSON values, so ``get_params`` is all there is to save.

    Parameters
    ----------
    task_type : {"regression", "classification"}
        Classification is binary, labels 0 and 1.
    random_state : int
    n_jobs : int
        Threads or processes; the result does not depend on it.

    Attributes
    ----------
    n_train_, n_refused_, n_unlabelled_ : int
        Rows used in training, left out because their features could not be computed, and left out because their label is missing.
    constant_ : float or None
        The one label there was in training, which is then predicted for every row.
    """

    name: ClassVar[str]
    task_types: ClassVar[tuple[str, ...]] = TASK_TYPES
    reads_stored: ClassVar[bool] = False
    """Whether the head can learn from blocks that are kept in a file."""

    task_type: str = "regression"
    random_state: int = 0
    n_jobs: int = 1

    def supports(self, features: FeatureSet) -> bool:
        """Return whether this head can use such features."""
        return True

    def suggest(self, trial: Trial, features: FeatureSet) -> dict[str, Any]:
        """Return parameters for a trial of ``search_head`` on such features. Empty where there is nothing to search for."""
        return {}

    def parameters(self) -> dict[str, Any]:
        """Return the head's own parameters as JSON values: with the name, the task type and ``random_state``, all that rebuilds it."""
        own = self.get_params(deep=False)
        return {key: value for key, value in own.items() if key not in {"task_type", "random_state", "n_jobs"}}

    def chosen_parameters(self) -> dict[str, Any]:
        """Return the parameters of a fitted head with what it chose in the place of its candidates: fitted anew on the same rows with
        these, it is the same model without the search."""
        return self.parameters()

    def fit(self, features: FeatureSet, y: np.ndarray) -> Self:
        """Learn from the valid rows that have a label.

        Parameters
        ----------
        features : FeatureSet of n rows
        y : ndarray of shape (n,)
            Values, or 0 and 1; NaN where there is no label.

        Raises
        ------
        ShapeError
            If ``y`` has another length.
        ConfigError
            If the task type or the kind of features does not fit this head.
        DataError
            If fewer than two rows remain, or a class label is neither 0 nor 1.
        """
        rows, targets = self._training_rows(features, y)
        if self.constant_ is None:
            self._fit(rows, targets)
        return self

    def fit_with_held_out(self, features: FeatureSet, y: np.ndarray, folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """Learn from all rows, and return what a model of the other folds' rows predicts for each row.

        Parameters
        ----------
        features, y : FeatureSet of n rows, ndarray of shape (n,)
            All valid and labelled, with at least two different labels.
        folds : sequence of (train positions, held-out positions)
            Together they hold out each row once.

        Returns
        -------
        ndarray of shape (n,), float64
            As ``predict`` returns it. A head that chooses by validation may use the same folds for its choice.
        """
        held_out = np.empty(len(y))
        for train, rest in folds:
            held_out[rest] = clone(self).fit(features.rows(train), y[train]).predict(features.rows(rest))
        self.fit(features, y)
        return held_out

    def predict(self, features: FeatureSet) -> np.ndarray:
        """Return ``(n,)`` float64: the value, or the probability of class 1. A refused row is NaN.

        Raises
        ------
        ShapeError
            If the blocks or their widths differ from those seen in training.
        """
        self._check_widths(features)
        predictions = np.full(features.n_rows, np.nan)
        if self.constant_ is not None:
            predictions[features.valid] = self.constant_
        elif features.valid.any():
            predictions[features.valid] = self._predict(features.rows(features.valid))
        return predictions

    def _check_widths(self, features: FeatureSet) -> None:
        if features.widths != self.widths_:
            raise ShapeError(f"the head was fitted on the blocks {self.widths_}, got {features.widths}; build the same features")

    def _training_rows(self, features: FeatureSet, y: np.ndarray) -> tuple[FeatureSet, np.ndarray]:
        """Check the input, count the rows, and return those that can be learned from."""
        self._check(features)
        y = np.asarray(y, dtype=np.float64)
        if y.shape != (features.n_rows,):
            raise ShapeError(f"expected one label for each of {features.n_rows} rows, got an array of shape {y.shape}")
        labelled = np.isfinite(y)
        usable = features.valid & labelled
        self.n_refused_ = int((~features.valid).sum())
        self.n_unlabelled_ = int((features.valid & ~labelled).sum())
        self.n_train_ = int(usable.sum())
        if self.n_train_ < 2:
            raise DataError(
                f"the head {self.name!r} needs at least two labelled rows, got {self.n_train_} of {features.n_rows} "
                f"({self.n_refused_} refused, {self.n_unlabelled_} without a label); give more molecules that can be read and have a label"
            )
        targets = y[usable]
        if self.task_type == "classification" and not np.isin(targets, (0.0, 1.0)).all():
            odd = targets[~np.isin(targets, (0.0, 1.0))][0]
            raise DataError(f"classification needs the labels 0 and 1, got {odd:g}; recode the labels or use task_type='regression'")
        self.widths_ = features.widths
        self.constant_ = float(targets[0]) if (targets == targets[0]).all() else None
        return features.rows(usable), targets

    @abstractmethod
    def _fit(self, features: FeatureSet, y: np.ndarray) -> None:
        """Learn from rows that are all valid and labelled, with at least two different labels."""

    @abstractmethod
    def _predict(self, features: FeatureSet) -> np.ndarray:
        """Predict rows that are all valid."""

    def _check(self, features: FeatureSet) -> None:
        if self.task_type not in TASK_TYPES:
            raise ConfigError(f"unknown task type {self.task_type!r}{suggestion(self.task_type, TASK_TYPES)}")
        if self.task_type not in self.task_types:
            raise ConfigError(f"the head {self.name!r} does {' and '.join(self.task_types)} only, got task_type={self.task_type!r}")
        if not self.supports(features):
            kinds = {name: "counts" if name in features.sparse_blocks else "dense" for name in features.blocks}
            raise ConfigError(f"the head {self.name!r} cannot use the features {features.name!r} with the blocks {kinds}; {self._remedy}")

        if features.is_stored and not self.reads_stored:
            raise ConfigError(
                f"the head {self.name!r} holds its features in memory, and {features.name!r} were kept in a file to stay within the limit; "
                "use the head lightgbm, or a higher limit (--memory-limit)"
            )

    _remedy: ClassVar[str] = "use another head"
