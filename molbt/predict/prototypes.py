"""Prototypes: a molecule belongs to the class whose mean is nearer."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit
from sklearn.utils.extmath import randomized_svd

from molbt.errors import ConfigError
from molbt.predict.features import Block, FeatureSet
from molbt.predict.head import Head, Trial
from molbt.predict.scaling import BlockScaler

# Directions of the training rows whose singular value is below this share of the largest are rounding.
_NO_DIRECTION = 1e-6
# The most that a class's own covariance counts beside that of all rows, as FS-Mol's prototypical network has it.
_OWN_SHARE = 0.1
_MOST_DIRECTIONS = 512


@dataclass(kw_only=True, eq=False, repr=False)
class _Prototypes(Head):
    """Class means of scaled features (z-scores; log(1 + count) for counts). Each block is divided by the root of its summed variance, so
    that a wide one does not drown the others."""

    task_types: ClassVar[tuple[str, ...]] = ("classification",)

    def _fit(self, features: FeatureSet, y: np.ndarray) -> None:
        self._scaler = BlockScaler().fit(features)
        blocks = self._scaler.transform(features).blocks
        self._weights = {name: 1.0 / spread if (spread := _spread(block)) > 0 else 1.0 for name, block in blocks.items()}
        self._fit_classes(self._matrix(features), y)

    def _predict(self, features: FeatureSet) -> np.ndarray:
        return expit(self._nearer(self._matrix(features)))

    def _matrix(self, features: FeatureSet) -> Block:
        scaled = self._scaler.transform(features)
        blocks = {name: block * np.float32(self._weights[name]) for name, block in scaled.blocks.items()}
        return FeatureSet(features.name, blocks, features.valid).matrix()

    @abstractmethod
    def _fit_classes(self, matrix: Block, y: np.ndarray) -> None:
        """Learn from scaled rows of both classes."""

    @abstractmethod
    def _nearer(self, matrix: Block) -> np.ndarray:
        """Return how much nearer each row is to the mean of class 1, in squared distances: (n,)."""


@dataclass(kw_only=True, eq=False, repr=False)
class EuclideanPrototypes(_Prototypes):
    """Prototypes at Euclidean distance: the probability of class 1 is the logistic function of the difference of the squared distances.

    References
    ----------
    Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017, equation 2, https://arxiv.org/abs/1703.05175
    """

    name: ClassVar[str] = "prototypes"

    def _fit_classes(self, matrix: Block, y: np.ndarray) -> None:
        inactive, active = (np.asarray(matrix[np.flatnonzero(y == label)].mean(axis=0), np.float64).ravel() for label in (0.0, 1.0))
        self._normal, self._offset = 2.0 * (active - inactive), float(inactive @ inactive - active @ active)

    def _nearer(self, matrix: Block) -> np.ndarray:
        return matrix @ self._normal + self._offset  # |x − inactive|² − |x − active|²


@dataclass(kw_only=True, eq=False, repr=False)
class MahalanobisPrototypes(_Prototypes):
    """Prototypes at Mahalanobis distance, with ``λ · covariance of the class + (1 − λ) · covariance of all rows + ridge · identity``.

    λ is n / (n + 1) for the n rows of the class (equation 2 of Bateni et al.), but 0.1 at most, as in the prototypical network of FS-Mol.
    Computed in the directions in which training rows differ, fewer than there are rows: what a molecule has in others is the same distance
    from both means. Of more than 512 directions the widest 512 are used.

    Parameters
    ----------
    ridge : float
        Above 0, in units of the summed variance of a block, which is 1.

    References
    ----------
    Bateni et al., "Improved Few-Shot Visual Classification", CVPR 2020, https://arxiv.org/abs/1912.03432; Stanley et al. 2021,
    ``microsoft/FS-Mol`` at 92aa95d, ``fs_mol/models/protonet.py``
    """

    name: ClassVar[str] = "prototypes_mahalanobis"

    ridge: float = 0.1

    def suggest(self, trial: Trial, features: FeatureSet) -> dict[str, Any]:
        return {"ridge": trial.suggest_float("ridge", 1e-3, 10.0, log=True)}

    def _check(self, features: FeatureSet) -> None:
        super()._check(features)
        if self.ridge <= 0:
            raise ConfigError(f"the ridge of the head {self.name!r} must be above 0, received {self.ridge:g}; give such as 0.1")

    def _fit_classes(self, matrix: Block, y: np.ndarray) -> None:
        rows = _as_dense(matrix)
        self._centre = rows.mean(axis=0)
        self._directions = _directions(rows - self._centre, self.random_state)
        places = self._places(matrix)
        overall = _covariance(places)
        self._classes = []
        for label in (0.0, 1.0):
            members = places[y == label]
            own = min(len(members) / (len(members) + 1), _OWN_SHARE)
            blended = own * _covariance(members) + (1.0 - own) * overall
            self._classes.append((members.mean(axis=0), np.linalg.inv(blended + self.ridge * np.eye(len(overall)))))

    def _nearer(self, matrix: Block) -> np.ndarray:
        places = self._places(matrix)
        inactive, active = (
            np.einsum("nd,de,ne->n", places - mean, precision, places - mean, optimize=True) for mean, precision in self._classes
        )
        return inactive - active

    def _places(self, matrix: Block) -> np.ndarray:
        """Coordinates in the directions of the training rows: (n, number of directions)."""
        return np.asarray(matrix @ self._directions) - self._centre @ self._directions


def _spread(block: Block) -> float:
    """The root of the summed variances of the columns."""
    mean = np.asarray(block.mean(axis=0), np.float64).ravel()
    squares = block**2 if isinstance(block, np.ndarray) else block.power(2)
    return float(np.sqrt(max(float(np.asarray(squares.sum(axis=0), np.float64).sum()) / block.shape[0] - float(mean @ mean), 0.0)))


def _as_dense(matrix: Block) -> np.ndarray:
    return np.asarray(matrix if isinstance(matrix, np.ndarray) else matrix.toarray(), np.float64)


def _directions(centred: np.ndarray, random_state: int) -> np.ndarray:
    """Orthonormal directions in which the rows differ: (width, number of directions), one at least."""
    if min(centred.shape) > _MOST_DIRECTIONS:
        _, sizes, directions = randomized_svd(centred, _MOST_DIRECTIONS, random_state=random_state)
    else:
        _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    kept = sizes > _NO_DIRECTION * sizes[0]
    kept[0] = True
    return directions[kept].T


def _covariance(rows: np.ndarray) -> np.ndarray:
    """Unbiased; zeros for a single row, whose covariance is not defined."""
    centred = rows - rows.mean(axis=0)
    return centred.T @ centred / max(len(rows) - 1, 1)
