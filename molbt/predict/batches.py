"""Dense features as LightGBM reads them from a file: in batches, of which it keeps one byte for each number."""

import lightgbm
import numpy as np

from molbt.errors import ConfigError
from molbt.predict.features import FeatureSet
from molbt.predict.stored_block import BATCH_ROWS, StoredBlock


class Batches(lightgbm.Sequence):
    """Columns of dense blocks side by side, some of them in files.

    Parameters
    ----------
    features : FeatureSet
    columns : ndarray of int, optional
        By default all.

    Raises
    ------
    ConfigError
        If a block is sparse.
    """

    batch_size = BATCH_ROWS

    def __init__(self, features: FeatureSet, columns: np.ndarray | None = None) -> None:
        if features.sparse_blocks:
            raise ConfigError(
                f"the features {features.name!r} put counts beside dense features that are kept in a file, which LightGBM cannot take "
                "together; use dense features (--features embedding) or a higher limit (--memory-limit)"
            )
        self._blocks = list(features.blocks.values())
        self._n_rows = features.n_rows
        self._columns: np.ndarray | slice = slice(None) if columns is None else columns

    def __len__(self) -> int:
        return self._n_rows

    def __getitem__(self, index: int | slice | list[int]) -> np.ndarray:
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            return self._read(start, stop)
        if isinstance(index, list):
            return np.stack([self[place] for place in index])
        return self._read(index, index + 1)[0]

    def varying_columns(self) -> np.ndarray:
        """Return which columns hold more than one value, and not only missing ones: ``(width,)`` bool."""
        first = self[0]
        varies, known = np.zeros(len(first), dtype=bool), np.zeros(len(first), dtype=bool)
        for start in range(0, len(self), self.batch_size):
            batch = self[start : start + self.batch_size]
            varies |= (batch != first).any(axis=0)
            known |= ~np.isnan(batch).all(axis=0)
        return varies & known

    def _read(self, start: int, stop: int) -> np.ndarray:
        rows = [block.read(start, stop) if isinstance(block, StoredBlock) else block[start:stop] for block in self._blocks]
        # LightGBM chooses bins from float64 only; every float32 is one, so that bins and splits are those of the array in memory.
        return np.ascontiguousarray(np.hstack(rows)[:, self._columns], dtype=np.float64)
