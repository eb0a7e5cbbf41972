"""Scores of a zero-shot method, kept on disk assay by assay: a stopped evaluation goes on, and a finished one fits nothing again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from rdkit import rdBase

from molbt.data.array_files import read_array
from molbt.data.files import write_array
from molbt.evaluation.zero_shot.methods.base import ZeroShotMethod
from molbt.evaluation.zero_shot.training import Training
from molbt.model.checkpoint import find_model, read_config


class KeptScores:
    """A zero-shot method as ``evaluate_few_shot`` takes it: from the name of an assay and SMILES to a score each.

    Parameters
    ----------
    method : type of ZeroShotMethod
        Fitted when the first score is asked for that is not on disk.
    training : Training
    texts : mapping of str to str
        Descriptions of the evaluated assays; one without has no scores (NaN).
    directory : Path
        A file for each assay, whose name tells all that its scores depend on.
    """

    def __init__(self, method: type[ZeroShotMethod], training: Training, texts: Mapping[str, str], directory: Path) -> None:
        self.method = method
        self.training = training
        self.texts = texts
        self._directory = directory

    def __call__(self, assay: str, smiles: Sequence[str]) -> np.ndarray:
        """Return ``(n,)`` float64."""
        text = self.texts.get(assay)
        if text is None:
            return np.full(len(smiles), np.nan)
        path = self._directory / f"{self.method.name}-{_digest([self.identity, text, list(smiles)])[:32]}.npy"
        if path.is_file():
            return read_array(path, remedy="delete it, it is made again")
        scores = self._fitted.score(smiles, text)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_array(path, scores)
        return scores

    @cached_property
    def identity(self) -> str:
        """A checksum of what the method learns from and of its settings."""
        training = self.training
        run = read_config(find_model(training.run))["sha256"] if self.method.needs_run and training.run is not None else None
        settings = [self.method.name, self.method.parameters(), run, training.max_pairs, training.random_state, rdBase.rdkitVersion]
        return _digest([training.pairs.identity, *settings])

    @cached_property
    def _fitted(self) -> ZeroShotMethod:
        return self.method(self.training).fit()


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
