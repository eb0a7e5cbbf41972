"""Kernels of the blocks of a feature set, and their blend: what all kernel heads compare molecules with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from molbt.predict.features import FeatureSet
from molbt.predict.scaling import BlockScaler
from molbt.predict.shared_kernel import count_kernel
from molbt.predict.tanimoto import row_parts

# A squared distance below this share of the squared lengths is rounding of the product it comes from: the rows are equal.
_EQUAL = 1e-10
# Rows, evenly spaced, that a median distance is taken of.
_MOST_MEASURED = 5_000


@dataclass(frozen=True)
class Grams:
    """Kernels between two lists of rows, one for all count blocks and one for all dense blocks.

    Parameters
    ----------
    counts, dense : ndarray of shape (n_a, n_b), float64, or None
        None where there is no such block. Each is 1 between equal rows.
    """

    counts: np.ndarray | None
    dense: np.ndarray | None

    def shares(self, candidates: Sequence[float]) -> tuple[float, ...]:
        """Return the shares of the dense blocks worth trying: the candidates where there are both kinds, or the one that is possible."""
        if self.counts is None or self.dense is None:
            return (0.0,) if self.dense is None else (1.0,)
        return tuple(candidates)

    def blend(self, dense_share: float) -> np.ndarray:
        """Return ``(1 − share) · counts + share · dense``: shape (n_a, n_b), float64; not to be written to."""
        kernels = ((1.0 - dense_share, self.counts), (dense_share, self.dense))
        terms = [(share, kernel) for share, kernel in kernels if kernel is not None and share > 0]
        if len(terms) == 1 and terms[0][0] == 1.0:
            return terms[0][1]  # it may take a gigabyte, and a copy says nothing new
        return np.asarray(sum(share * kernel for share, kernel in terms))


class BlockKernels:
    """Kernels to the training rows: count Tanimoto for counts, a radial one of z-scores for dense blocks; blocks of a kind weigh equally.

    The width of the radial kernel is the median distance between training rows, block by block, so it needs no search.

    Parameters
    ----------
    power : {1, 2}
        Dense blocks are compared with exp(−(distance / width)^power): exponential or Gaussian. Beside counts the exponential did best in
        five-fold validation inside the training parts of eight MoleculeACE targets with descriptors as the dense block: mean RMSE .647,
        against .648 for the Gaussian, .651 for the cosine and .651 without the block.
    """

    def __init__(self, power: int = 1) -> None:
        self.power = power

    def fit(self, features: FeatureSet) -> Self:
        """Learn scales and widths from training rows, which are kept."""
        self._scaler = BlockScaler().fit(features)
        self._training, self._dense = features, self._prepared(features)
        self._widths = {name: _median_distance(block) for name, block in self._dense.items()}
        self.n_rows = features.n_rows
        return self

    def between(self, features: FeatureSet | None = None) -> Grams:
        """Return the kernels between some rows, or the training rows themselves, and the training rows."""
        rows, dense = (self._training, self._dense) if features is None else (features, self._prepared(features))
        return Grams(count_kernel(rows, self._training) if rows.sparse_blocks else None, self._radial(dense) if dense else None)

    def _radial(self, blocks: dict[str, np.ndarray]) -> np.ndarray:
        kernel = np.empty((len(next(iter(blocks.values()))), self.n_rows))
        for part in row_parts(*kernel.shape):
            kernels = [
                np.exp(-((_distances(block[part], self._dense[name]) / self._widths[name]) ** self.power)) for name, block in blocks.items()
            ]
            kernel[part] = sum(kernels[1:], start=kernels[0]) / len(kernels)
        return kernel

    def _prepared(self, features: FeatureSet) -> dict[str, np.ndarray]:
        """The scaled dense blocks."""
        dense = FeatureSet(features.name, features.dense_blocks, features.valid) if features.dense_blocks else None
        return self._scaler.transform(dense).dense_blocks if dense else {}


def _median_distance(rows: np.ndarray) -> float:
    """The median distance between different rows, 1 where all are equal; of some thousand rows where there are more."""
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_MEASURED)).astype(int))]
    distances = _distances(rows, rows)[np.triu_indices(len(rows), 1)]
    apart = distances[distances > 0]
    return float(np.median(apart)) if len(apart) else 1.0


def _distances(rows_a: np.ndarray, rows_b: np.ndarray) -> np.ndarray:
    """Euclidean distances: (n_a, n_b) float64, exactly 0 between equal rows."""
    a, b = rows_a.astype(np.float64), rows_b.astype(np.float64)
    lengths = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :]
    squared = lengths - 2.0 * (a @ b.T)
    squared[squared <= _EQUAL * lengths] = 0.0
    return np.sqrt(squared)
