"""The contract of a zero-shot method: it learns from measured pairs of molecules and described assays, and scores molecules for a text."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from molbt.evaluation.zero_shot.training import Training


class ZeroShotMethod(ABC):
    """A way to rank molecules for an assay without a label of it.

    Parameters
    ----------
    training : Training

    Attributes
    ----------
    name : str
        That of the module; the column ``head`` of results.
    features : str
        What it looks at; the column ``features`` of results. Each method has another.
    needs_run : bool
        Whether it works with a run that pairs molecules with texts.
    """

    name: ClassVar[str]
    features: ClassVar[str]
    needs_run: ClassVar[bool] = False

    def __init__(self, training: Training) -> None:
        self.training = training

    @abstractmethod
    def fit(self) -> Self:
        """Learn from the training pairs."""

    @abstractmethod
    def score(self, smiles: Sequence[str], text: str) -> np.ndarray:
        """Return a score for each molecule, larger for those that are more likely active: ``(n,)`` float64, NaN where there is none.

        Scores rank the molecules of one assay; they need not be probabilities, nor be comparable between assays.
        """

    @classmethod
    def parameters(cls) -> dict[str, Any]:
        """Return what the method's scores depend on beside the training pairs and the run, as JSON values."""
        return {}
