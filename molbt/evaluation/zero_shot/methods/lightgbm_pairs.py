"""LightGBM on molecules and texts side by side, without any pretraining: the control of every claim about a twin."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from molbt.evaluation.zero_shot.methods.base import ZeroShotMethod
from molbt.evaluation.zero_shot.text_features import COMPONENTS
from molbt.evaluation.zero_shot.training import DESCRIPTORS
from molbt.predict.boosted_pairs import BoostedPairs, leaves_of
from molbt.predict.features import FeatureSet
from molbt.predict.pair_boosting import PARAMETERS, pair_boosting


class LightgbmPairs(ZeroShotMethod):
    """LightGBM on ECFP4 counts and descriptors of the molecule and the leading directions of the text's TF-IDF, over the sample of
    training pairs."""

    name: ClassVar[str] = "lightgbm_pairs"
    features: ClassVar[str] = "molecules and texts"

    def fit(self) -> Self:
        sample, training = self.training.sample, self.training
        self.head_ = pair_boosting(random_state=training.random_state, n_jobs=training.n_jobs)
        self.head_.fit(self.training_features(np.arange(len(sample))), sample.label)
        return self

    def score(self, smiles: Sequence[str], text: str) -> np.ndarray:
        return self.head_.predict(self.pair_features(smiles, text))

    def training_features(self, rows: np.ndarray) -> FeatureSet:
        """Return the features of some pairs of the sample."""
        sample, training = self.training.sample, self.training
        texts = training.texts.coordinates(sample.texts)
        return _beside(training.sample_molecules.rows(sample.molecule[rows]), texts[sample.assay[rows]])

    def pair_features(self, smiles: Sequence[str], text: str) -> FeatureSet:
        """Return the features of molecules in one described assay."""
        texts = self.training.texts.coordinates([text])
        return _beside(self.training.molecules(smiles), np.repeat(texts, len(smiles), axis=0))

    @cached_property
    def boosted(self) -> BoostedPairs:
        """The fitted trees and the leaves of the sample's pairs: what explains a prediction."""
        sample = self.training.sample
        return BoostedPairs(self.head_, sample, leaves_of(self.head_, self.training_features(np.arange(len(sample)))))

    @classmethod
    def parameters(cls) -> dict[str, Any]:
        return {**PARAMETERS, "descriptors": list(DESCRIPTORS), "components": COMPONENTS}


def _beside(molecules: FeatureSet, texts: np.ndarray) -> FeatureSet:
    return FeatureSet("molecules and texts", {**molecules.blocks, "text": texts}, molecules.valid)
