"""Measured pairs of molecules and described assays to learn from, each molecule and each text held once."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from molbt.data.rows import text_of
from molbt.errors import DataError, ShapeError

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

    @classmethod
    def of_texts(cls, smiles: Sequence[Any], texts: Sequence[Any], labels: Sequence[float] | np.ndarray) -> Self:
        """Return the labelled rows of a table of pairs, equal texts being one assay; rows without a text are left out.

        Parameters
        ----------
        smiles, texts, labels : sequences of n
            Labels are 0, 1 or NaN.

        Raises
        ------
        DataError
            As in ``of``, or if a label is neither 0 nor 1.
        ShapeError
            If the sequences differ in length.
        """
        rows = labelled_pairs(smiles, texts, labels)
        rows = rows[rows["text"].str.strip() != ""].rename(columns={"text": "task"})
        return cls.of(rows, {text: text for text in rows["task"].unique()})

    def __len__(self) -> int:
        return len(self.label)

    def sampled(self, n: int, random_state: int = 0) -> "TrainingPairs":
        """Return at most ``n`` pairs drawn at random, in their order, with the molecules and assays that are among them."""
        if len(self) <= n:
            return self
        return self.chosen(np.sort(np.random.default_rng([_STREAM, random_state]).permutation(len(self))[:n]))

    def chosen(self, index: np.ndarray) -> "TrainingPairs":
        """Return the pairs at ``index`` (integers), in that order, with the molecules and assays that are among them."""
        molecules, molecule = np.unique(self.molecule[index], return_inverse=True)
        assays, assay = np.unique(self.assay[index], return_inverse=True)
        return TrainingPairs(
            [self.smiles[place] for place in molecules.tolist()],
            [self.assays[place] for place in assays.tolist()],
            [self.texts[place] for place in assays.tolist()],
            molecule.astype(np.int32),
            assay.astype(np.int32),
            self.label[index],
        )

    @cached_property
    def identity(self) -> str:
        """A checksum of molecules, texts and labels: what a method that learns from them depends on."""
        digest = hashlib.sha256(json.dumps([self.smiles, self.assays, self.texts]).encode())
        for array in (self.molecule, self.assay, self.label):
            digest.update(array.tobytes())
        return digest.hexdigest()


def labelled_pairs(smiles: Sequence[Any], texts: Sequence[Any], labels: Sequence[float] | np.ndarray) -> pd.DataFrame:
    """Return ``smiles``, ``text`` (both str) and ``label`` (float64) of the rows that have a label.

    Raises
    ------
    DataError
        If a label is neither 0 nor 1.
    ShapeError
        If the sequences differ in length.
    """
    truth = np.asarray(labels, dtype=np.float64)
    if not len(smiles) == len(texts) == len(truth):
        raise ShapeError(f"expected as many texts and labels as SMILES, received {len(smiles)}, {len(texts)} and {len(truth)}")
    odd = truth[~np.isnan(truth) & ~np.isin(truth, (0.0, 1.0))]
    if len(odd):
        raise DataError(f"expected the labels 0 and 1, received {odd[0]:g}; cut values into classes first (molbt fit --active-above)")
    frame = pd.DataFrame({"smiles": [text_of(value) for value in smiles], "text": [text_of(value) for value in texts], "label": truth})
    return frame.dropna(subset="label")
