"""Nearest neighbours, weighted by similarity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from molbt.errors import ConfigError
from molbt.predict.features import FeatureSet
from molbt.predict.head import Trial
from molbt.predict.kernel_head import Folds, KernelHead


@dataclass(kw_only=True, eq=False, repr=False)
class Neighbours(KernelHead):
    """The mean label of the most similar training rows, weighted by a power of their similarity in the blended kernel.

    Neighbours of equal similarity are taken in the order of the training rows; where all similarities are 0 the neighbours weigh equally.

    Parameters
    ----------
    neighbours : sequence of int
        Candidates for the number of neighbours; the middle one is used when there are too few rows to choose, and all rows where there
        are fewer.
    power : float
        Of the similarity, as a weight. In five-fold validation inside the training parts of eight MoleculeACE targets, counts: mean RMSE
        .738 at 1, .720 at 3, .710 at 6.
    """

    name: ClassVar[str] = "knn"

    neighbours: Sequence[int] = (1, 3, 5, 10, 20)
    power: float = 6.0

    _candidates: ClassVar[str] = "neighbours"

    def suggest(self, trial: Trial, features: FeatureSet) -> dict[str, Any]:
        return super().suggest(trial, features) | {
            "neighbours": [trial.suggest_int("neighbours", 1, 50, log=True)],
            "power": trial.suggest_float("power", 1.0, 16.0, log=True),
        }

    def _check(self, features: FeatureSet) -> None:
        super()._check(features)
        if min(self.neighbours) < 1 or self.power < 0:
            raise ConfigError(
                f"the head {self.name!r} needs one neighbour or more and a power of 0 or more, received neighbours {list(self.neighbours)} "
                f"and power {self.power:g}; give such as 5 and 6"
            )

    def _held_out(self, kernel: np.ndarray, targets: np.ndarray, folds: Folds, settings: Sequence[float]) -> np.ndarray:
        decisions = np.empty((len(settings), len(targets)))
        for train, held_out in folds:
            decisions[:, held_out] = self._means(kernel[np.ix_(held_out, train)], targets[train], settings)
        return decisions

    def _new_machine(self, kernel: np.ndarray, targets: np.ndarray, setting: float) -> tuple[np.ndarray, float]:
        return targets, setting

    def _decide(self, machine: tuple[np.ndarray, float], kernel: np.ndarray) -> np.ndarray:
        targets, setting = machine
        return self._means(kernel, targets, (setting,))[0]

    def _means(self, kernel: np.ndarray, targets: np.ndarray, numbers: Sequence[float]) -> np.ndarray:
        """The weighted means over so many neighbours each: (number of numbers, n_new)."""
        nearest = np.argsort(-kernel, axis=1, kind="stable")[:, : int(max(numbers))]
        similarities = np.take_along_axis(kernel, nearest, axis=1)
        weights = np.where(similarities[:, :1] > 0, similarities**self.power, 1.0)
        sums, totals = np.cumsum(weights * targets[nearest], axis=1), np.cumsum(weights, axis=1)
        last = [min(int(number), nearest.shape[1]) - 1 for number in numbers]
        return (sums / totals)[:, last].T
