"""The Tanimoto kernel of the counts of a feature set: computed when asked for, or once for rows of which many subsets are used."""

from dataclasses import dataclass

import numpy as np

from molbt.errors import ShapeError
from molbt.predict.features import FeatureSet
from molbt.predict.tanimoto import mean_tanimoto_kernel


@dataclass(frozen=True, kw_only=True)
class SharedKernelFeatures(FeatureSet):
    """A feature set whose rows know their places in a kernel that was computed once: what few-shot draws of one task share.

    Make it with ``share_kernel``. Its subsets, made with ``rows``, share the kernel too.

    Parameters
    ----------
    kernel : ndarray of shape (n_all, n_all), float64
        Mean Tanimoto kernel of the sparse blocks of all rows.
    places : ndarray of shape (n_rows,), int
        Of these rows in it.
    """

    kernel: np.ndarray
    places: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel.ndim != 2 or self.kernel.shape[0] != self.kernel.shape[1] or len(self.places) != self.n_rows:
            raise ShapeError(
                f"the shared kernel of {self.name!r} must be square and have a place for each of {self.n_rows} rows, got a kernel of shape "
                f"{self.kernel.shape} and {len(self.places)} places; make it with share_kernel"
            )

    def rows(self, index: np.ndarray) -> "SharedKernelFeatures":
        chosen = super().rows(index)
        return SharedKernelFeatures(
            chosen.name, chosen.blocks, chosen.valid, chosen.molecules, kernel=self.kernel, places=self.places[index]
        )


def share_kernel(features: FeatureSet) -> FeatureSet:
    """Return the same features with the Tanimoto kernel of their counts; a set without counts is returned as it is.

    It takes 8 bytes per pair of rows.
    """
    if not features.sparse_blocks:
        return features
    kernel = count_kernel(features, features)
    places = np.arange(features.n_rows)
    return SharedKernelFeatures(features.name, features.blocks, features.valid, features.molecules, kernel=kernel, places=places)


def count_kernel(rows_a: FeatureSet, rows_b: FeatureSet) -> np.ndarray:
    """Return the mean Tanimoto kernel between the counts of two sets of rows, ``(n_a, n_b)`` float64; looked up where they share it."""
    if isinstance(rows_a, SharedKernelFeatures) and isinstance(rows_b, SharedKernelFeatures) and rows_a.kernel is rows_b.kernel:
        return rows_a.kernel[np.ix_(rows_a.places, rows_b.places)]
    return mean_tanimoto_kernel(list(rows_a.sparse_blocks.values()), list(rows_b.sparse_blocks.values()))
