"""The score of a twin of molecules and texts itself; of one trained with the objective ``matching``, it is a model like CLAMP."""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from molbt.evaluation.zero_shot.methods.base import ZeroShotMethod


class TwinScore(ZeroShotMethod):
    """The dot product of the two projections; nothing is fitted beside the run."""

    name: ClassVar[str] = "twin"
    features: ClassVar[str] = "twin projections"
    needs_run: ClassVar[bool] = True

    def fit(self) -> Self:
        return self

    def score(self, smiles: Sequence[str], text: str) -> np.ndarray:
        return self.training.twin.score(smiles, [text])[:, 0].astype(np.float64)
