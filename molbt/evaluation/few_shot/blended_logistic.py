"""The few-shot head of profile transfer: fixed shares of a Tanimoto and a dense kernel, around a zero-shot score."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit

from molbt.errors import ConfigError
from molbt.evaluation.few_shot.offset_regression import fit_around
from molbt.predict.features import FeatureSet
from molbt.predict.head import Head, Trial
from molbt.predict.shared_kernel import count_kernel

ZERO_SHOT = "zero_shot"
"""The block that holds the zero-shot score of each row for the row's assay: (n, 1)."""


@dataclass(kw_only=True, eq=False, repr=False)
class BlendedLogistic(Head):
    """Class-balanced logistic regression on ``(1 − share) · Tanimoto + share · cosine`` around ``weight · zero-shot score``.

    Nothing is chosen by validation, for which 16 rows are too few. The cosine is that of each dense block as it comes, the mean of several
    blocks: standardise them on many molecules beforehand (``few_shot.reference``), the support set cannot tell what is common. Where there
    are counts only or dense blocks only, these have the whole kernel. The zero-shot score, if the features have it, is an offset: the fit
    starts from it, and labels that it explains ask for no weights. The defaults did best on FS-Mol's validation assays with the preset
    ``fsmol_profile_transfer`` (shares .5 and .65 were alike; of the weights, .1 came before .2, .25, .3, .5, 1 and 2).

    Parameters
    ----------
    cost : float
        C, the inverse of the penalty.
    dense_share : float in [0, 1]
        Share of the dense blocks beside counts.
    score_weight : float
        What the score of a twin is multiplied by; ``matching`` trains it as a logit, up to a scale.
    """

    name: ClassVar[str] = "blended_logistic"
    task_types: ClassVar[tuple[str, ...]] = ("classification",)

    cost: float = 3.0
    dense_share: float = 0.5
    score_weight: float = 0.1

    def supports(self, features: FeatureSet) -> bool:
        return set(features.blocks) != {ZERO_SHOT} and not features.is_stored

    def suggest(self, trial: Trial, features: FeatureSet) -> dict[str, Any]:
        suggested = {"cost": trial.suggest_float("cost", 0.03, 100.0, log=True)}
        if features.sparse_blocks and set(features.dense_blocks) - {ZERO_SHOT}:
            suggested["dense_share"] = trial.suggest_float("dense_share", 0.0, 1.0)
        return suggested

    def _check(self, features: FeatureSet) -> None:
        super()._check(features)
        if not 0 <= self.dense_share <= 1 or not self.cost > 0:
            raise ConfigError(
                f"the head {self.name!r} needs a dense_share from 0 to 1 and a cost above 0, received {self.dense_share} and {self.cost}; "
                "give such as 0.5 and 3.0"
            )

    def _fit(self, features: FeatureSet, y: np.ndarray) -> None:
        self._training = features
        self._weights, self._intercept = fit_around(self._kernel(features), y, self._offset(features), self.cost)

    def _predict(self, features: FeatureSet) -> np.ndarray:
        return expit(self._kernel(features) @ self._weights + self._intercept + self._offset(features))

    def _offset(self, features: FeatureSet) -> np.ndarray:
        if ZERO_SHOT not in features.blocks:
            return np.zeros(features.n_rows)
        return self.score_weight * np.nan_to_num(features.dense_blocks[ZERO_SHOT][:, 0].astype(np.float64))

    def _kernel(self, features: FeatureSet) -> np.ndarray:
        """Between some rows and the training rows: (n, n_train) float64."""
        cosines = [
            _unit(block) @ _unit(self._training.dense_blocks[name]).T for name, block in features.dense_blocks.items() if name != ZERO_SHOT
        ]
        if not features.sparse_blocks:
            return np.mean(cosines, axis=0)
        counts = count_kernel(features, self._training)
        return (1 - self.dense_share) * counts + self.dense_share * np.mean(cosines, axis=0) if cosines else counts


def _unit(block: np.ndarray) -> np.ndarray:
    """Rows of length 1; a missing number counts as 0, and a row of zeros stays one."""
    values = np.nan_to_num(block.astype(np.float64))
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float64).tiny)
