"""How well molecules match the description of an assay: the zero-shot score that a few-shot head starts from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from molbt.model.checkpoint import find_model, read_config
from molbt.pair_featurizer import PairFeaturizer


class TextScores:
    """The scores of a twin of molecules and texts, by assay.

    Parameters
    ----------
    model : path
        A run or model directory that pairs molecules with texts.
    texts : mapping of str to str
        Descriptions of the evaluated assays.
    n_jobs : int
        Worker processes for reading molecules.

    Raises
    ------
    ConfigError
        If the model pairs no molecules with texts.
    CheckpointError
        If there is no whole model at the path.
    """

    def __init__(self, model: str | Path, texts: Mapping[str, str], *, n_jobs: int = 1) -> None:
        self._featurizer = PairFeaturizer(model, on_invalid="nan", n_jobs=n_jobs).fit()
        self._texts = dict(texts)
        content = json.dumps([read_config(find_model(model))["sha256"], sorted(self._texts.items())])
        self.identity = hashlib.sha256(content.encode()).hexdigest()

    def __call__(self, assay: str, smiles: Sequence[str]) -> np.ndarray:
        """Return ``(n,)`` float64: NaN for a molecule that was refused, and for all where the assay has no description."""
        if assay not in self._texts:
            return np.full(len(smiles), np.nan)
        return self._featurizer.score(smiles, [self._texts[assay]])[:, 0].astype(np.float64)
