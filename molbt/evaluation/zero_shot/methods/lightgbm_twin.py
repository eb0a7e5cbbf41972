"""LightGBM on the embeddings of a twin of molecules and texts: the design of TwinBooster."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from molbt.evaluation.zero_shot.methods.base import ZeroShotMethod
from molbt.predict.boosted_pairs import BoostedPairs, leaves_of
from molbt.predict.features import FeatureSet
from molbt.predict.pair_block import INTERACTIONS, pair_features
from molbt.predict.pair_boosting import EMBEDDINGS, PARAMETERS, pair_boosting


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
        training = self.training
        self.head_ = pair_boosting(random_state=training.random_state, n_jobs=training.n_jobs, **EMBEDDINGS)
        self.head_.fit(self._training_features, training.sample.label)
        return self

    def score(self, smiles: Sequence[str], text: str) -> np.ndarray:
        return self.head_.predict(self.pair_features(smiles, text))

    def pair_features(self, smiles: Sequence[str], text: str) -> FeatureSet:
        """Return the features of molecules in one described assay."""
        twin = self.training.twin
        molecules, texts = twin.embed_molecules(smiles)[0], twin.embed_texts([text])[0]
        return pair_features(molecules, texts, np.arange(len(smiles)), np.zeros(len(smiles), dtype=np.int64))

    @cached_property
    def boosted(self) -> BoostedPairs:
        """The fitted trees and the leaves of the sample's pairs: what explains a prediction."""
        return BoostedPairs(self.head_, self.training.sample, leaves_of(self.head_, self._training_features))

    @property
    def _training_features(self) -> FeatureSet:
        sample = self.training.sample
        return pair_features(*self.training.sample_embeddings, sample.molecule, sample.assay)

    @classmethod
    def parameters(cls) -> dict[str, Any]:
        return {**PARAMETERS, **EMBEDDINGS, "interactions": list(INTERACTIONS)}
