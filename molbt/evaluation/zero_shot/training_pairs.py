"""Measured pairs of molecules and described assays that zero-shot methods learn from, each molecule and each text held once."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd

from molbt.errors import DataError

MAX_PAIRS = 200_000
"""Most pairs that a method learns from which holds features of each pair."""

_STREAM = 0x25A0


@dataclass(frozen=True, eq=False)
class TrainingPairs:
    """Labelled pairs of a molecule and an assay.

    Parameters
    ----------
    smiles : list of str
        Distinct molecules.
    assays, texts : list of str
        Distinct assays and their descriptions, which several may share.
    molecule, assay : ndarray of shape (pairs,), int32
        Places in these lists.
    label : ndarray of shape (pairs,), float32
        0 or 1.
    """

    smiles: list[str]
    assays: list[str]
    texts: list[str]
    molecule: np.ndarray
    assay: np.ndarray
    label: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame, texts: dict[str, str]) -> Self:
        """Return the labelled rows of described assays.

        Parameters
        ----------
        rows : DataFrame
            ``smiles``, ``task`` and ``label`` (0, 1 or NaN).
        texts : dict of str to str
            By task.

        Raises
        ------
        DataError
            If no row is labelled and described, or all labels are the same.
        """
        rows = rows[rows["label"].notna() & rows["task"].isin(texts)]
        if rows["label"].nunique() < 2:
            raise DataError(
                f"expected labelled rows of described assays with both classes, received {len(rows)} rows; are the texts those of the "
                "training assays?"
            )
        molecule, smiles = pd.factorize(rows["smiles"])
        assay, assays = pd.factorize(rows["task"])
        return cls(
            [str(value) for value in smiles],
            [str(value) for value in assays],
            [texts[name] for name in assays],
            molecule.astype(np.int32),
            assay.astype(np.int32),
            rows["label"].to_numpy(np.float32),
        )

    def __len__(self) -> int:
        return len(self.label)

    def sampled(self, n: int, random_state: int = 0) -> "TrainingPairs":
        """Return at most ``n`` pairs drawn at random, in their order, with the molecules and assays that are among them."""
        if len(self) <= n:
            return self
        chosen = np.sort(np.random.default_rng([_STREAM, random_state]).permutation(len(self))[:n])
        molecules, molecule = np.unique(self.molecule[chosen], return_inverse=True)
        assays, assay = np.unique(self.assay[chosen], return_inverse=True)
        return TrainingPairs(
            [self.smiles[place] for place in molecules.tolist()],
            [self.assays[place] for place in assays.tolist()],
            [self.texts[place] for place in assays.tolist()],
            molecule.astype(np.int32),
            assay.astype(np.int32),
            self.label[chosen],
        )

    @cached_property
    def identity(self) -> str:
        """A checksum of molecules, texts and labels: what a method that learns from them depends on."""
        digest = hashlib.sha256(json.dumps([self.smiles, self.assays, self.texts]).encode())
        for array in (self.molecule, self.assay, self.label):
            digest.update(array.tobytes())
        return digest.hexdigest()
