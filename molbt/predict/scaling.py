"""Bring the blocks of a feature set to comparable sizes, with numbers learned from training rows only."""

from dataclasses import replace
from typing import Self

import numpy as np

from molbt.predict.features import Block, FeatureSet

# Beyond this many standard deviations a value says "extreme" and no more; one odd descriptor must not rule a linear head or a kernel.
_LARGEST_Z = 10.0


class BlockScaler:
    """Dense blocks: missing numbers become the training median, then z-scores clipped to ±10. Sparse blocks: ``log(1 + count)``.

    A constant dense column becomes 0, and so does one that is missing in every training row. Columns of a sparse block that are empty in
    training are left out: a penalised linear model gives them no weight and a tree cannot split on them.
    """

    def fit(self, features: FeatureSet) -> Self:
        self._statistics: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._occurring = {
            name: np.flatnonzero(np.bincount(block.indices, minlength=block.shape[1])) for name, block in features.sparse_blocks.items()
        }
        for name, block in features.dense_blocks.items():
            values = _finite(block)
            median = np.zeros(values.shape[1])
            known = ~np.isnan(values).all(axis=0)
            median[known] = np.nanmedian(values[:, known], axis=0)
            filled = np.where(np.isnan(values), median, values)
            mean, deviation = filled.mean(axis=0), filled.std(axis=0)
            # A column of equal numbers has a deviation of rounding errors rather than 0.
            deviation[deviation <= 1e-12 * np.maximum(np.abs(mean), 1.0)] = np.inf
            self._statistics[name] = median, mean, deviation
        return self

    def transform(self, features: FeatureSet) -> FeatureSet:
        """Return the scaled blocks, float32; no number is missing in a valid row."""
        return replace(features, blocks={name: self._scaled(name, block) for name, block in features.blocks.items()})

    def _scaled(self, name: str, block: Block) -> Block:
        if not isinstance(block, np.ndarray):
            return block[:, self._occurring[name]].log1p()
        median, mean, deviation = self._statistics[name]
        values = _finite(block)
        filled = np.where(np.isnan(values), median, values)
        return np.clip((filled - mean) / deviation, -_LARGEST_Z, _LARGEST_Z).astype(np.float32)


def _finite(block: np.ndarray) -> np.ndarray:
    """The block in float64 with infinities as missing numbers."""
    values = block.astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    return values
