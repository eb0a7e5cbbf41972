"""Features within a limit of memory: dense blocks that would exceed it are kept in a file, from which LightGBM can learn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from molbt.data.files import cache_directory, writing
from molbt.errors import ConfigError
from molbt.predict.features import Block, FeatureBuilder, FeatureSet
from molbt.predict.stored_block import StoredRows

_SHARD_ROWS = 8_192
_REMEDY = "free space there, or name another folder with the variable MOLBT_CACHE"


class BoundedBuilder(FeatureBuilder):
    """A builder of features that works through the molecules in shards.

    Parameters
    ----------
    builder : FeatureBuilder
    limit : int
        Bytes for the features. Dense blocks go to a file in the cache directory when they take more together; the labels and the
        text of the molecules are held in memory in any case.
    """

    def __init__(self, builder: FeatureBuilder, limit: int) -> None:
        self.name = builder.name
        self._builder = builder
        self._limit = limit
        self._last: tuple[list[str], FeatureSet] | None = None

    def __call__(self, smiles: Sequence[str]) -> FeatureSet:
        """Return the features of molecules.

        Raises
        ------
        ConfigError
            If counts take more than the limit: they are sparse, and held in memory.
        DataError
            If a file cannot be written.
        """
        values = list(smiles)
        if self._last is None or self._last[0] != values:
            self._last = values, self._build(values)
        return self._last[1]

    def _build(self, smiles: list[str]) -> FeatureSet:
        widths = sum(block.shape[1] for block in self._builder(smiles[:1]).dense_blocks.values())
        is_stored = len(smiles) * widths * np.dtype(np.float32).itemsize > self._limit
        stored: dict[str, StoredRows] = {}
        held: dict[str, list[Block]] = {}
        names: list[str] = []
        valid, n_bytes = [], 0
        with writing(cache_directory(), remedy=_REMEDY):
            for start in range(0, max(len(smiles), 1), _SHARD_ROWS):
                shard = self._builder(smiles[start : start + _SHARD_ROWS])
                names = list(shard.blocks)
                valid.append(shard.valid)
                for name, block in shard.blocks.items():
                    if is_stored and isinstance(block, np.ndarray):
                        stored.setdefault(name, StoredRows(_directory(), block.shape[1])).append(block)
                    else:
                        held.setdefault(name, []).append(block)
                n_bytes += sum(block.data.nbytes + block.indices.nbytes for block in shard.sparse_blocks.values())
                if n_bytes > self._limit:
                    raise ConfigError(
                        f"the features {self.name!r} hold counts, which are kept in memory and take more than the {self._limit:,} bytes of "
                        f"--memory-limit after {start + len(shard.valid):,} of {len(smiles):,} molecules; use dense features (--features "
                        "embedding), and leave out what compares counts (--folds 0 --no-applicability)"
                    )
        blocks: dict[str, Any] = {name: stored[name].block() if name in stored else _stacked(held[name]) for name in names}
        return FeatureSet(self.name, blocks, np.concatenate(valid))


def _directory() -> Path:
    return cache_directory() / "features"


def _stacked(parts: list[Block]) -> Block:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return sparse.csr_array(sparse.vstack(parts, format="csr"), dtype=np.float32)
