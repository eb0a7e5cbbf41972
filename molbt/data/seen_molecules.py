"""What an encoder was pretrained on, as hashes small enough to lie beside its weights: 8 bytes per molecule and per scaffold."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from molbt.config import RunConfig
from molbt.data.array_files import read_array
from molbt.data.files import write_array
from molbt.errors import DataError

if TYPE_CHECKING:
    from molbt.data.samples import Samples
    from molbt.data.stored_corpus import Corpus

_FILES = {"molecules": "seen_molecules.npy", "scaffolds": "seen_scaffolds.npy"}


@dataclass(frozen=True, eq=False)
class SeenMolecules:
    """The molecules and scaffolds of a pretraining, those of the run that it started from included.

    Attributes
    ----------
    molecules, scaffolds : ndarray of uint64
        Sorted, each once, as ``molecule_and_scaffold_hashes`` gives them; without the key 0.
    """

    molecules: np.ndarray
    scaffolds: np.ndarray

    @classmethod
    def of_hashes(cls, hashes: Iterable[np.ndarray]) -> "SeenMolecules":
        """Return those of arrays of shape (molecules, 2)."""
        molecules, scaffolds = np.concatenate([np.zeros((1, 2), dtype=np.uint64), *hashes]).T
        return cls(np.unique(molecules)[1:], np.unique(scaffolds)[1:])

    def joined(self, other: "SeenMolecules") -> "SeenMolecules":
        """Return what either has."""
        return SeenMolecules(np.union1d(self.molecules, other.molecules), np.union1d(self.scaffolds, other.scaffolds))

    def save(self, directory: Path) -> None:
        """Write both arrays into a directory: that of a model, so that a copy of it can still be judged."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, file in _FILES.items():
            write_array(directory / file, getattr(self, name))

    @classmethod
    def load(cls, directory: Path) -> "SeenMolecules | None":
        """Return what a model directory tells, or None for a model that was saved without (not by ``pretrain``, or from nothing molecular).

        Raises
        ------
        DataError
            If the files cannot be read.
        """
        paths = {name: directory / file for name, file in _FILES.items()}
        if not any(path.exists() for path in paths.values()):
            return None
        return cls(**{name: _read(path) for name, path in paths.items()})


def seen_in_samples(corpus: "Corpus", config: RunConfig, samples: "Samples") -> SeenMolecules | None:
    """Return the molecules of a run's samples, over all its molecular views; None where the corpus does not hold their hashes."""
    hashes = []
    for name, view in config.views.items():
        if view.build_modality().is_molecular:
            known = corpus.identities(view.column)
            if known is None:
                return None
            hashes.append(known[np.unique(samples.entries[name].numpy())])
    return SeenMolecules.of_hashes(hashes) if hashes else None


def _read(path: Path) -> np.ndarray:
    array = read_array(path, remedy="it is the record of what the encoder has seen: copy the whole model directory again")
    if array.dtype != np.uint64 or array.ndim != 1:
        raise DataError(
            f"expected a row of 64-bit hashes in {path}, found {array.dtype} of shape {array.shape}; copy the whole model directory again"
        )
    return array
