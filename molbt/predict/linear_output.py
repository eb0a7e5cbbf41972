"""The head of a fine-tuned encoder: a linear function of its output."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from molbt.predict.cross_validation import inner_folds
from molbt.predict.features import FeatureSet
from molbt.predict.head import Head

_PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0)
_COSTS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_FOLDS = 5


@dataclass(kw_only=True, eq=False, repr=False)
class LinearOutput(Head):
    """A linear function of dense features: a value, or by the logistic function the probability of class 1.

    ``fit`` finds the weights on features that stay as they are: ridge regression, or logistic regression with balanced classes, on
    standardised columns, the penalty chosen by validation on the training rows. That is where fine-tuning starts
    (``molbt.predict.finetune``), and it puts its own weights in at the end. Balanced classes are undone in the bias (the log odds of the
    training labels are added), so that probabilities are those of the classes as they occur.

    Attributes
    ----------
    weight_ : ndarray of shape (width,), float64
    bias_ : float
        ``features @ weight_ + bias_`` is the value in the label's unit, or the log odds of class 1.
    centre_, spread_ : float
        Mean and standard deviation of the training labels; log odds and 1 in classification.
    penalty_ : float
        Factor of the squared standardised weights beside the mean loss of a label.
    """

    name: ClassVar[str] = "linear_output"
    _remedy: ClassVar[str] = "give dense features without counts"

    def supports(self, features: FeatureSet) -> bool:
        return not features.sparse_blocks

    def set_weights(self, weight: np.ndarray, bias: float) -> None:
        """Take over weights for raw features."""
        self.weight_, self.bias_ = np.asarray(weight, dtype=np.float64), float(bias)

    def from_standardised(self, outputs: np.ndarray) -> np.ndarray:
        """Return values or probabilities for outputs in units of ``spread_`` around ``centre_``."""
        if self.constant_ is not None:
            return np.full(len(outputs), self.constant_)
        return self._told(self.centre_ + self.spread_ * outputs)

    def _told(self, margin: np.ndarray) -> np.ndarray:
        return margin if self.task_type == "regression" else expit(margin)

    def _fit(self, features: FeatureSet, y: np.ndarray) -> None:
        matrix = np.asarray(features.matrix(), dtype=np.float64)
        scaler = StandardScaler().fit(matrix)
        standardised = scaler.transform(matrix)
        if self.task_type == "regression":
            self.centre_, self.spread_ = float(y.mean()), float(y.std())
            ridge = RidgeCV(_PENALTIES).fit(standardised, (y - self.centre_) / self.spread_)
            coefficients, intercept, self.penalty_ = ridge.coef_, float(ridge.intercept_), float(ridge.alpha_) / len(y)
        else:
            self.centre_, self.spread_ = float(np.log(y.sum() / (1 - y).sum())), 1.0
            folds = inner_folds(y, self.task_type, _FOLDS, self.random_state, features.molecules)
            model = LogisticRegression(C=_COSTS[len(_COSTS) // 2], class_weight="balanced", max_iter=2_000)
            if folds:
                search = GridSearchCV(model, {"C": _COSTS}, scoring="neg_log_loss", cv=folds, error_score="raise")
                model = search.fit(standardised, y).best_estimator_
            else:
                model.fit(standardised, y)
            coefficients, intercept, self.penalty_ = model.coef_[0], float(model.intercept_[0]), 1 / (2 * model.C * len(y))
        weight = self.spread_ * coefficients / scaler.scale_
        self.set_weights(weight, self.centre_ + self.spread_ * intercept - scaler.mean_ @ weight)

    def _predict(self, features: FeatureSet) -> np.ndarray:
        return self._told(np.asarray(features.matrix(), dtype=np.float64) @ self.weight_ + self.bias_)
