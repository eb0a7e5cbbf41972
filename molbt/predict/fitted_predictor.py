"""What a fitted predictor answers about molecules: predictions, how sure they are, and what in training they resemble."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from molbt.data.molecules import ParsePolicy
from molbt.errors import ConfigError, suggestion
from molbt.featurizer import MoleculeFeaturizer, smiles_of
from molbt.predict.applicability import Applicability
from molbt.predict.calibration import Calibration
from molbt.predict.encoder_part import builders_with
from molbt.predict.features import FeatureSet, parse_feature_name
from molbt.predict.head import Head

_COUNTS = "counts"
_NO_MOLECULES = "expected a predictor that kept its training molecules, this one has none; fit it with applicability=True (--applicability)"


class FittedPredictor(BaseEstimator):
    """The part of ``Predictor`` that needs no labels; its attributes are set by ``Predictor.fit`` and ``Predictor.load``."""

    n_jobs: int
    memory_limit: int | None
    heads_: dict[str, Head]
    targets_: list[str]
    units_: dict[str, str]
    features_: str
    featurizer_: MoleculeFeaturizer | None
    calibrations_: dict[str, Calibration]
    applicability_: Applicability | None
    _is_matrix: bool

    @property
    def head_(self) -> Head:
        """The head of the only target; ConfigError where there are several."""
        return self.heads_[self.target_named(None)]

    @property
    def task_type_(self) -> str:
        """The task type of the only target."""
        return self.head_.task_type

    def predict(self, X: Any) -> np.ndarray:
        """Return ``(n,)`` float64, or ``(n, targets)`` if the labels had columns.

        Values, or probabilities of class 1; NaN where the molecule was refused.
        """
        built = self.features_of(X)
        predictions = np.column_stack([self.heads_[name].predict(built) for name in self.targets_])
        return predictions if self._is_matrix else predictions[:, 0]

    def predict_interval(self, X: Any, confidence: float = 0.9, *, target: str | None = None) -> np.ndarray:
        """Return the lower and upper end of an interval around each predicted value: ``(n, 2)`` float64, NaN where it was refused.

        Parameters
        ----------
        X : sequence of str, Series, or DataFrame with one column
        confidence : float
            The share of labels that intervals should hold, of molecules like those of the calibration.
        target : str, optional
            Needed where there are several.

        Raises
        ------
        ConfigError
            If the target is unknown, no regression or was not calibrated, or the confidence is not between 0 and 1.
        """
        name, calibration = self._calibrated(target)
        return calibration.conformal.intervals(self.heads_[name].predict(self.features_of(X)), confidence)

    def predict_set(self, X: Any, confidence: float = 0.9, *, target: str | None = None) -> np.ndarray:
        """Return which classes cannot be ruled out: ``(n, 2)`` bool, for class 0 and class 1; neither where the molecule was refused.

        Parameters and errors are those of ``predict_interval``, for classification.
        """
        name, calibration = self._calibrated(target)
        return calibration.conformal.sets(self.heads_[name].predict(self.features_of(X)), confidence)

    def p_values(self, X: Any, *, target: str | None = None) -> np.ndarray:
        """Return the conformal p-values of class 0 and class 1: ``(n, 2)`` float64, NaN where the molecule was refused.

        Parameters and errors are those of ``predict_set``.
        """
        name, calibration = self._calibrated(target)
        return calibration.conformal.p_values(self.heads_[name].predict(self.features_of(X)))

    def nearest_training(self, X: Any) -> pd.DataFrame:
        """Return the nearest labelled molecule of the training table for each molecule, as ``Applicability.describe`` does.

        Raises
        ------
        ConfigError
            If the training molecules were not kept.
        """
        check_is_fitted(self, "heads_")
        if self.applicability_ is None:
            raise ConfigError(_NO_MOLECULES)
        return self.applicability_.describe(self._built(X, [self._compared])[0])

    def predict_table(self, X: Any, *, confidence: float | None = None, nearest: bool | None = None) -> pd.DataFrame:
        """Return predictions and what stands beside them, one row per molecule.

        Parameters
        ----------
        X : sequence of str, Series, or DataFrame with one column
        confidence : float, optional
            Of intervals and sets; by default 0.9 for the targets that were calibrated.
        nearest : bool, optional
            Whether to look for the nearest training molecule: by default, where they were kept. It takes about a second for 10,000 new
            molecules and 1,000 in training.

        Returns
        -------
        DataFrame
            For each target ``prediction``, followed by the target where there are several and the unit where it is known. Calibrated
            targets also have that name with ``_low`` and ``_high``, or with ``_set`` (text such as ``{0,1}``), ``_p0`` and ``_p1``. At the
            end stand the columns of ``nearest_training``. All are missing where the molecule was refused.

        Raises
        ------
        ConfigError
            If a confidence is asked for and no target was calibrated, or it is not between 0 and 1; or as in ``nearest_training``.
        """
        check_is_fitted(self, "heads_")
        if confidence is not None and not self.calibrations_:
            self._calibrated(self.targets_[0])
        if nearest and self.applicability_ is None:
            raise ConfigError(_NO_MOLECULES)
        built, compared = self._built(
            X, [self.features_, self._compared if nearest is not False and self.applicability_ else self.features_]
        )
        table, level = pd.DataFrame(index=range(built.n_rows)), 0.9 if confidence is None else confidence
        for name in self.targets_:
            column = "_".join(filter(None, ["prediction", name if len(self.targets_) > 1 else "", self.units_.get(name)]))
            table[column] = predictions = self.heads_[name].predict(built)
            if name in self.calibrations_:
                conformal = self.calibrations_[name].conformal
                if conformal.task_type == "regression":
                    table[[f"{column}_low", f"{column}_high"]] = conformal.intervals(predictions, level)
                else:
                    table[f"{column}_set"] = _in_words(conformal.sets(predictions, level), np.isfinite(predictions))
                    table[[f"{column}_p0", f"{column}_p1"]] = conformal.p_values(predictions)
        if nearest is not False and self.applicability_ is not None:
            table = pd.concat([table, self.applicability_.describe(compared)], axis=1)
        return table

    @property
    def policy(self) -> ParsePolicy:
        """How molecules are read: as the encoder does, where there is one."""
        return self.featurizer_.policy_ if self.featurizer_ is not None else ParsePolicy()

    def features_of(self, X: Any) -> FeatureSet:
        """Return what the heads predict from, one row per molecule."""
        check_is_fitted(self, "heads_")
        return self._built(X, [self.features_])[0]

    @property
    def _compared(self) -> str:
        """The features that similarity is measured on: those of the heads where they have counts, otherwise counts alone."""
        return self.features_ if _COUNTS in parse_feature_name(self.features_) else _COUNTS

    def _built(self, X: Any, names: Sequence[str]) -> list[FeatureSet]:
        """The named features of molecules; parts that they share are computed once."""
        smiles, distinct = smiles_of(X), list(dict.fromkeys(names))
        builders = builders_with(distinct, self.featurizer_, n_jobs=self.n_jobs, memory_limit=self.memory_limit)
        return [builders[name](smiles) for name in names]

    def target_named(self, target: str | None) -> str:
        """Return the target of that name, or the only one for None; ConfigError if it is unknown, or none is named of several."""
        if target is None and len(self.heads_) == 1:
            return self.targets_[0]
        if target is None:
            raise ConfigError(
                f"expected a predictor of one target, this one has {', '.join(self.targets_)}; use heads_[{self.targets_[0]!r}] or "
                f"target={self.targets_[0]!r} (--target)"
            )
        if target not in self.heads_:
            raise ConfigError(f"unknown target {target!r}{suggestion(target, self.targets_)}")
        return target

    def _calibrated(self, target: str | None) -> tuple[str, Calibration]:
        check_is_fitted(self, "heads_")
        name = self.target_named(target)
        if name not in self.calibrations_:
            raise ConfigError(
                f"expected a calibrated predictor, {name!r} was fitted without calibration; fit it with calibration='cross' (--calibrate "
                "cross) on more rows, or predict without a confidence"
            )
        return name, self.calibrations_[name]


def _in_words(sets: np.ndarray, known: np.ndarray) -> pd.Series:
    """``{}``, ``{0}``, ``{1}`` or ``{0,1}``; missing where there is no prediction."""
    words = np.array(["{}", "{0}", "{1}", "{0,1}"], dtype=object)
    return pd.Series(words[sets @ np.array([1, 2])]).where(known, None)
