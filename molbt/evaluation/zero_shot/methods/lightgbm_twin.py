"""LightGBM on the embeddings of a twin of molecules and texts: the design of TwinBooster."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from molbt.evaluation.zero_shot.methods._pair_boosting import PARAMETERS, pair_boosting
from molbt.evaluation.zero_shot.methods.base import ZeroShotMethod
from molbt.evaluation.zero_shot.pair_block import INTERACTIONS, PairBlock
from molbt.predict.features import FeatureSet

_COLUMN_FRACTION = 0.1  # all columns are dense: a tenth of them is as many numbers as the others' third


class LightgbmTwin(ZeroShotMethod):
    """LightGBM on both embeddings of a run, their product, difference and cosine, over the sample of training pairs.

    References
    ----------
    Schuh et al., "TwinBooster: Synergising Large Language Models with Barlow Twins and Gradient Boosting for Enhanced Molecular Property
    Prediction", 2024, https://arxiv.org/abs/2401.04478 (there on the two embeddings alone)
    """

    name: ClassVar[str] = "lightgbm_twin"
    features: ClassVar[str] = "twin embeddings"
    needs_run: ClassVar[bool] = True

    def fit(self) -> Self:
        sample, training = self.training.sample, self.training
        self.head_ = pair_boosting(random_state=training.random_state, n_jobs=training.n_jobs, column_fraction=_COLUMN_FRACTION)
        self.head_.fit(_pairs(*training.sample_embeddings, sample.molecule, sample.assay), sample.label)
        return self

    def score(self, smiles: Sequence[str], text: str) -> np.ndarray:
        twin = self.training.twin
        molecules, texts = twin.embed_molecules(smiles)[0], twin.embed_texts([text])[0]
        return self.head_.predict(_pairs(molecules, texts, np.arange(len(smiles)), np.zeros(len(smiles), dtype=np.int64)))

    @classmethod
    def parameters(cls) -> dict[str, Any]:
        return {**PARAMETERS, "column_fraction": _COLUMN_FRACTION, "interactions": list(INTERACTIONS)}


def _pairs(molecules: np.ndarray, texts: np.ndarray, molecule: np.ndarray, text: np.ndarray) -> FeatureSet:
    valid = np.isfinite(molecules).all(axis=1)[molecule] & np.isfinite(texts).all(axis=1)[text]
    return FeatureSet("twin embeddings", {"pairs": PairBlock(molecules, texts, molecule, text)}, valid)
