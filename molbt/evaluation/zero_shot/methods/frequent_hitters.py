"""Which molecules are active whatever the assay: the text is ignored. It is the control of every claim about texts."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from molbt.evaluation.zero_shot.methods.base import ZeroShotMethod
from molbt.evaluation.zero_shot.training import DESCRIPTORS
from molbt.predict.pair_boosting import PARAMETERS, pair_boosting


class FrequentHitters(ZeroShotMethod):
    """LightGBM on ECFP4 counts and descriptors over the sample of training pairs, whose assays it is not told."""

    name: ClassVar[str] = "frequent_hitters"
    features: ClassVar[str] = "molecules"

    def fit(self) -> Self:
        sample, training = self.training.sample, self.training
        self.head_ = pair_boosting(random_state=training.random_state, n_jobs=training.n_jobs)
        self.head_.fit(training.sample_molecules.rows(sample.molecule), sample.label)
        return self

    def score(self, smiles: Sequence[str], text: str) -> np.ndarray:
        return self.head_.predict(self.training.molecules(smiles))

    @classmethod
    def parameters(cls) -> dict[str, Any]:
        return {**PARAMETERS, "descriptors": list(DESCRIPTORS)}
