"""Bring the blocks of a feature set to comparable sizes, with numbers learned from training rows only."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import numpy as np

from molbt.predict.features import Block, FeatureSet

# Beyond this many standard deviations a value says "extreme" and no more; one odd descriptor must not rule a linear head or a kernel.
_LARGEST_Z = 10.0
_STATISTICS = ("median", "mean", "deviation")


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

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what was learned, by ``block.statistic``; ``from_arrays`` takes it."""
        found = {f"{name}.occurring": columns for name, columns in self._occurring.items()}
        for name, statistics in self._statistics.items():
            found |= {f"{name}.{kind}": array for kind, array in zip(_STATISTICS, statistics, strict=True)}
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Return the scaler whose ``arrays`` these are."""
        scaler = cls()
        named = [key.rsplit(".", 1) for key in arrays]
        scaler._occurring = {name: arrays[f"{name}.{kind}"] for name, kind in named if kind == "occurring"}
        dense = dict.fromkeys(name for name, kind in named if kind in _STATISTICS)
        scaler._statistics = {name: (arrays[f"{name}.median"], arrays[f"{name}.mean"], arrays[f"{name}.deviation"]) for name in dense}
        return scaler

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
