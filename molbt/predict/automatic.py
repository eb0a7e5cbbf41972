"""A head that blends heads: several are fitted, and weighted by how well they predict held-out training rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from molbt.errors import ConfigError, suggestion
from molbt.predict.boosting import LightGBM
from molbt.predict.cross_validation import inner_folds
from molbt.predict.features import FeatureSet
from molbt.predict.forest import ForestHead
from molbt.predict.gaussian_process import GaussianProcess
from molbt.predict.head import Head
from molbt.predict.kernel_head import KernelHead
from molbt.predict.kernel_heads import DenseSVM, TanimotoSVM
from molbt.predict.neighbours import Neighbours
from molbt.predict.tanimoto_logistic import TanimotoLogistic

MEMBERS: dict[str, type[Head]] = {
    head.name: head for head in (TanimotoSVM, DenseSVM, GaussianProcess, TanimotoLogistic, Neighbours, LightGBM, ForestHead)
}
"""Heads that can be members, by name."""

# A blend needs fewer trees than LightGBM alone; on eight training parts of MoleculeACE 200 did as well as 500 (RMSE .672 both).
_SETTINGS: dict[str, dict[str, Any]] = {LightGBM.name: {"n_trees": 200}}
# Kernels of more rows take gigabytes.
_MOST_KERNEL_ROWS = 5_000


@dataclass(kw_only=True, eq=False, repr=False)
class Automatic(Head):
    """The weighted mean of several heads.

    Each member that can use the features and does the type of task is fitted on all rows, and predicts each row by a copy that was fitted
    without its fold; heads that validate to choose their settings use the same folds. A member's weight is its held-out loss to the power
    of −8, the loss being the root of the mean squared error (of probabilities: of the Brier score).

    On held-out fifths of the training parts of eight MoleculeACE targets this blend had a lower mean RMSE (.661 on counts, .653 with
    descriptors) than its best single member (.670, .664), than the member that validation picks (.672, .665) and than a plain mean (.663,
    .655), and the same as the greedy selection of Caruana et al. 2004 (.661, .654). On 24 of FS-Mol's validation tasks with 16 and 64
    labelled rows, where there is little to choose by, its ΔAUPRC (.106, .169) was above that of picking (.096, .153) and of greedy
    selection (.099, .157).

    Parameters
    ----------
    members : sequence of str
        Names in ``MEMBERS``; those that do not fit are passed over, and heads on kernels beyond 5,000 rows where there are others.
    folds : int
        Fewer when there are fewer rows (regression) or rows of the smaller class (classification); with too few rows for folds all members
        weigh equally.
    sharpness : float
        The power; 0 is a plain mean, and a large number picks the best.

    Attributes
    ----------
    members_ : dict of str to Head
    weights_ : dict of str to float
        They add up to 1.
    losses_ : dict of str to float
        Held-out loss of each member, and of their blend (``auto``, a little too good, because the weights were chosen on it); empty where
        there was nothing to choose.
    """

    name: ClassVar[str] = "auto"

    members: Sequence[str] = ("tanimoto_svm", "svm", "gp", "tanimoto_logistic", "knn", "lightgbm")
    folds: int = 5
    sharpness: float = 8.0

    _remedy: ClassVar[str] = "none of its members can: name others in `members`"

    def supports(self, features: FeatureSet) -> bool:
        return bool(self._candidates(features))

    def new_member(self, name: str) -> Head:
        """Return an unfitted member, which validates its own choices on the same folds.

        Raises
        ------
        ConfigError
            If there is no such member.
        """
        if name not in MEMBERS:
            raise ConfigError(f"unknown member {name!r} of the head 'auto'{suggestion(name, MEMBERS)}")
        head = MEMBERS[name](task_type=self.task_type, random_state=self.random_state, n_jobs=self.n_jobs, **_SETTINGS.get(name, {}))
        return head.set_params(folds=self.folds) if "folds" in head.parameters() else head

    def _fit(self, features: FeatureSet, y: np.ndarray) -> None:
        heads = self._candidates(features)
        folds = inner_folds(y, self.task_type, self.folds, self.random_state, features.molecules) if len(heads) > 1 else []
        self.members_ = {head.name: head for head in heads}
        self.losses_: dict[str, float] = {}
        if folds:
            held_out = np.array([head.fit_with_held_out(features, y, folds) for head in heads])
            losses = np.array([_loss(row, y) for row in held_out])
            weights = _weights(losses, self.sharpness)
            self.losses_ = dict(zip(self.members_, losses.tolist(), strict=True)) | {self.name: _loss(weights @ held_out, y)}
        else:
            for head in heads:
                head.fit(features, y)  # which still chooses its own settings
            weights = np.full(len(heads), 1 / len(heads))
        self.weights_ = dict(zip(self.members_, weights.tolist(), strict=True))

    def _predict(self, features: FeatureSet) -> np.ndarray:
        return np.sum([self.weights_[name] * head.predict(features) for name, head in self.members_.items()], axis=0)

    def _candidates(self, features: FeatureSet) -> list[Head]:
        """New members that can be tried, in the order of ``members``."""
        heads = [self.new_member(name) for name in dict.fromkeys(self.members)]
        fitting = [head for head in heads if self.task_type in head.task_types and head.supports(features)]
        light = [head for head in fitting if not isinstance(head, KernelHead)]
        return light if light and features.n_rows > _MOST_KERNEL_ROWS else fitting


def _loss(predictions: np.ndarray, y: np.ndarray) -> float:
    return float(np.sqrt(np.mean((predictions - y) ** 2)))


def _weights(losses: np.ndarray, sharpness: float) -> np.ndarray:
    """Weights that fall with the losses and add up to 1."""
    floored = np.maximum(losses, np.finfo(np.float64).tiny)  # a perfect member takes all the weight
    weights = (floored.min() / floored) ** sharpness
    return weights / weights.sum()
