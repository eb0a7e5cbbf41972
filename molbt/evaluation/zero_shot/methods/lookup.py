"""A table of remembered labels: the mean label of the same molecule in the training assays, without chemistry and without the text."""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from molbt.data.exclusions import in_shards
from molbt.data.identity import identity_hashes
from molbt.data.molecules import ParsePolicy
from molbt.evaluation.zero_shot.methods.base import ZeroShotMethod

_UNKNOWN = 0.5


class Lookup(ZeroShotMethod):
    """The mean label of a molecule of the same connectivity over all training pairs, one half where there is none."""

    name: ClassVar[str] = "lookup"
    features: ClassVar[str] = "training labels"

    def fit(self) -> Self:
        pairs = self.training.pairs
        hashes = in_shards(identity_hashes, pairs.smiles, ParsePolicy(), n_jobs=self.training.n_jobs, label="hashing", progress=None)
        labels = pd.Series(pairs.label.astype(np.float64)).groupby(hashes[pairs.molecule]).mean()
        self.means_ = labels.drop(0, errors="ignore")  # 0 stands for what cannot be read
        return self

    def score(self, smiles: Sequence[str], text: str) -> np.ndarray:
        hashes = identity_hashes(list(smiles), ParsePolicy())
        return pd.Series(hashes).map(self.means_).fillna(_UNKNOWN).to_numpy(dtype=np.float64)
