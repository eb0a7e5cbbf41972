"""Features of pairs made of two embeddings when they are read: memory holds each molecule and each text once, whatever the pairs."""

import numpy as np

from molbt.pair_featurizer import interactions_of
from molbt.predict.features import FeatureSet
from molbt.predict.stored_block import StoredBlock

INTERACTIONS = ("product", "difference", "cosine")


class PairBlock(StoredBlock):
    """Both embeddings of each pair, and where they are of one width their product, difference and cosine: as
    ``PairFeaturizer.transform`` gives them.

    Parameters
    ----------
    molecules, texts : ndarray of shape (molecules, width) and (texts, width), float32
    molecule, text : ndarray of shape (pairs,), int
        Places in these of each pair.
    """

    def __init__(self, molecules: np.ndarray, texts: np.ndarray, molecule: np.ndarray, text: np.ndarray) -> None:
        self._molecules, self._texts = molecules, texts
        self._molecule, self._text = molecule, text
        self._interactions = INTERACTIONS if molecules.shape[1] == texts.shape[1] else ()
        self._width = sum(self.part_widths.values())

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._molecule), self._width

    @property
    def part_widths(self) -> dict[str, int]:
        """Number of columns of ``molecule``, ``text`` and each interaction, in their order."""
        width = self._molecules.shape[1]
        of_interactions = {name: 1 if name == "cosine" else width for name in self._interactions}
        return {"molecule": width, "text": self._texts.shape[1], **of_interactions}

    def __len__(self) -> int:
        return len(self._molecule)

    def __getitem__(self, index: np.ndarray) -> "PairBlock":
        return PairBlock(self._molecules, self._texts, self._molecule[index], self._text[index])

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return the rows from ``start`` to ``stop``: ``(rows, width)`` float32."""
        molecules, texts = self._molecules[self._molecule[start:stop]], self._texts[self._text[start:stop]]
        return interactions_of(molecules, texts, self._interactions)


def pair_features(molecules: np.ndarray, texts: np.ndarray, molecule: np.ndarray, text: np.ndarray) -> FeatureSet:
    """Return a ``PairBlock`` as features; a pair is valid where neither embedding is NaN. Parameters are those of ``PairBlock``."""
    valid = np.isfinite(molecules).all(axis=1)[molecule] & np.isfinite(texts).all(axis=1)[text]
    return FeatureSet("twin embeddings", {"pairs": PairBlock(molecules, texts, molecule, text)}, valid)
