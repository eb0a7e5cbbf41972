"""What the training tasks tell about single molecules: who is labelled in them, and how often as active.

Most molecules of FS-Mol's test tasks are (three quarters, on the average task), so a table of remembered labels is a control of every
method that learns from the training tasks.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rdkit import rdBase

from molbt.data.array_files import read_array
from molbt.data.exclusions import in_shards
from molbt.data.files import cache_directory, write_array
from molbt.data.fs_mol import FSMolData
from molbt.data.identity import identity_hashes, inchi_connectivity
from molbt.data.molecules import ParsePolicy
from molbt.data.shards import Progress

_UNKNOWN = 0.5
_STREAM = 0xF5301


@dataclass(frozen=True, eq=False)
class TrainingLabels:
    """The labelled rows of the training tasks, by molecule: the same connectivity, whatever its salt, charge and stereochemistry.

    Attributes
    ----------
    rows : DataFrame
        ``smiles``, ``molecule`` (uint64, a hash; 0 for what cannot be read) and ``label``, one row per labelled row of the training tasks.
    """

    rows: pd.DataFrame

    @classmethod
    def read(cls, data: FSMolData, *, n_jobs: int = 1, progress: Progress | None = None) -> "TrainingLabels":
        """Return those of the training part. Hashing its 207,223 SMILES takes minutes, so the hashes are kept in the cache directory."""
        rows = data.rows("train")
        rows = rows.loc[rows["reason"] == "", ["smiles", "label"]]
        codes, distinct = pd.factorize(rows["smiles"])
        hashes = _cached_hashes(list(distinct), n_jobs=n_jobs, progress=progress)
        return cls(rows.assign(molecule=hashes[codes])[["smiles", "molecule", "label"]].reset_index(drop=True))

    @property
    def identity(self) -> str:
        """A checksum of molecules and labels: what a lookup in them depends on."""
        ordered = self.rows.sort_values(["molecule", "label"])
        content = ordered["molecule"].to_numpy(np.uint64).tobytes() + ordered["label"].to_numpy(np.float64).tobytes()
        return hashlib.sha256(content).hexdigest()

    def without(self, molecules: Collection[int] | np.ndarray) -> "TrainingLabels":
        """Return the rows of other molecules: the clean regime, when these are the evaluated ones."""
        return TrainingLabels(self.rows[~np.isin(self.rows["molecule"], _as_hashes(molecules))])

    def without_random(self, n_rows: int, random_state: int = 0) -> "TrainingLabels":
        """Return the rows without whole molecules drawn at random until at least ``n_rows`` rows are gone: the control of ``without``."""
        distinct, sizes = np.unique(self.rows["molecule"].to_numpy(np.uint64), return_counts=True)
        order = np.random.default_rng([_STREAM, random_state]).permutation(len(distinct))
        n_molecules = int(np.searchsorted(np.cumsum(sizes[order]), n_rows)) + 1 if n_rows > 0 else 0
        return self.without(distinct[order[:n_molecules]])

    def lookup(self) -> "Lookup":
        """Return the mean label of each molecule as a zero-shot method."""
        known = self.rows[self.rows["molecule"] != 0]
        return Lookup(known.groupby("molecule")["label"].mean())

    def seen(self, smiles: Sequence[str]) -> np.ndarray:
        """Return which of some SMILES are molecules of these rows: (values,) bool.

        Hashes find candidates. Where the SMILES are not the same text, the first blocks of the InChIKeys have to agree.
        """
        policy = ParsePolicy()
        hashes = identity_hashes(smiles, policy)
        texts = set(self.rows["smiles"])
        partner = self.rows.drop_duplicates("molecule").set_index("molecule")["smiles"]
        found = (hashes != 0) & np.isin(hashes, partner.index.to_numpy(np.uint64))
        to_compare = [place for place in np.flatnonzero(found).tolist() if smiles[place] not in texts]
        ours = inchi_connectivity([smiles[place] for place in to_compare], policy)
        theirs = inchi_connectivity([str(partner[hashes[place]]) for place in to_compare], policy)
        for place, mine, other in zip(to_compare, ours, theirs, strict=True):
            found[place] = mine == other
        return found


@dataclass(frozen=True, eq=False)
class Lookup:
    """A zero-shot method without chemistry: the mean training label of the same molecule, one half where it has none.

    Attributes
    ----------
    means : Series
        By hash of the molecule.
    """

    means: pd.Series

    def __call__(self, assay: str, smiles: Sequence[str]) -> np.ndarray:
        """Return ``(values,)`` float64 in [0, 1], whatever the assay is; none is NaN."""
        hashes = identity_hashes(smiles, ParsePolicy())
        return pd.Series(hashes).map(self.means).fillna(_UNKNOWN).to_numpy(dtype=np.float64)


def _as_hashes(molecules: Collection[int] | np.ndarray) -> np.ndarray:
    return np.asarray(molecules if isinstance(molecules, np.ndarray) else list(molecules), dtype=np.uint64)


def _cached_hashes(smiles: list[str], *, n_jobs: int, progress: Progress | None) -> np.ndarray:
    """``identity_hashes``, in a file named after the SMILES and the version of RDKit."""
    key = hashlib.sha256("\n".join([rdBase.rdkitVersion, *smiles]).encode()).hexdigest()
    path = cache_directory() / "molecule_hashes" / f"{key}.npy"
    if path.is_file():
        return read_array(path, remedy="delete it, it is made again")
    hashes = in_shards(identity_hashes, smiles, ParsePolicy(), n_jobs=n_jobs, label="hashing training molecules", progress=progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_array(path, hashes)
    return hashes
