"""Which rows belong together: one molecule, one scaffold, one cluster. Splits keep such groups whole.

A key per row: equal for rows of one group, and the same whatever the order of the rows. A row that cannot be read is a group of its own,
together with rows of the same text.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from rdkit.Chem import Mol, rdFingerprintGenerator
from rdkit.DataStructs import BulkTanimotoSimilarity
from rdkit.SimDivFilters import rdSimDivPickers

from molbt.data.identity import identity_hashes
from molbt.data.isolation import map_rows
from molbt.data.molecules import ParsePolicy, murcko_scaffold, parse_molecules

Key = tuple[str, str]
"""Kind of group (``molecule``, ``scaffold``, ``cluster`` or ``refused``), and its name."""

_K = TypeVar("_K", bound=Hashable)

SIMILARITY = 0.4
"""ECFP4 Tanimoto similarity from which a molecule belongs to a leader."""

_BITS = 2_048


def leader_clusters(mols: Sequence[Mol], *, similarity: float = SIMILARITY) -> np.ndarray:
    """Return the cluster of each molecule: sphere exclusion on ECFP4 bits, then each molecule to its most similar leader.

    A molecule becomes a leader unless it has that Tanimoto similarity to a leader before it. The order of the molecules decides who leads,
    so give them in an order that does not depend on their rows. Members of two clusters may be as similar as a member and its leader are:
    these are spheres, not islands.

    Time grows with molecules × leaders.

    Parameters
    ----------
    mols : sequence of Mol
    similarity : float
        Above 0 and up to 1.

    Returns
    -------
    ndarray of shape (mols,), int64
        Numbers of clusters from 0, in the order of their leaders.

    References
    ----------
    Taylor, "Simulation Analysis of Experimental Design Strategies for Screening Random Compounds as Potential New Drugs and Agrochemicals",
    J. Chem. Inf. Comput. Sci. 1995, 35, 59, https://doi.org/10.1021/ci00023a009 (the same spheres; Butina 1999 orders the leaders by their
    number of neighbours, which takes the similarity of every pair)
    """
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=_BITS)
    fingerprints = [generator.GetFingerprint(mol) for mol in mols]
    if not fingerprints:
        return np.zeros(0, dtype=np.int64)
    chosen = rdSimDivPickers.LeaderPicker().LazyBitVectorPick(fingerprints, len(fingerprints), 1 - similarity)
    leaders = [fingerprints[place] for place in chosen]
    return np.array([np.argmax(BulkTanimotoSimilarity(fingerprint, leaders)) for fingerprint in fingerprints], dtype=np.int64)


def molecule_keys(smiles: Sequence[object]) -> list[Key]:
    """Return the molecule of each row, as ``molbt.data.identity`` tells molecules apart."""
    texts = _texts(smiles)
    hashes = map_rows(identity_hashes, texts, ParsePolicy())
    return [("molecule", f"{key:016x}") if key else ("refused", text) for key, text in zip(hashes, texts, strict=True)]


def scaffold_keys(smiles: Sequence[object]) -> list[Key]:
    """Return the Bemis–Murcko scaffold of each row's molecule; all acyclic molecules share one.

    A molecule that occurs in several forms has the scaffold of the form whose SMILES comes first in the alphabet: a ring in a counter-ion
    would put it into two groups.
    """
    keys = molecule_keys(smiles)
    scaffolds = {key: ("scaffold", murcko_scaffold(mol)) for key, mol in _first_forms(smiles, keys).items()}
    return [scaffolds.get(key, key) for key in keys]


def cluster_keys(smiles: Sequence[object]) -> list[Key]:
    """Return the cluster of each row's molecule, from `leader_clusters`."""
    keys = molecule_keys(smiles)
    mols = dict(sorted(_first_forms(smiles, keys).items()))  # by hash: an order that knows neither rows nor chemistry
    clusters = {key: ("cluster", f"{place:09d}") for key, place in zip(mols, leader_clusters(list(mols.values())), strict=True)}
    return [clusters.get(key, key) for key in keys]


def rows_by(keys: Iterable[_K]) -> dict[_K, list[int]]:
    """Return the rows of each key, keys in the order of their first row."""
    groups: dict[_K, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    return groups


def _first_forms(smiles: Sequence[object], keys: Sequence[Key]) -> dict[Key, Mol]:
    """One form of each molecule that can be read: the first in the alphabet."""
    texts = _texts(smiles)
    first = {key: min(texts[row] for row in rows) for key, rows in rows_by(keys).items() if key[0] == "molecule"}
    mols = parse_molecules(first.values(), ParsePolicy())
    return {key: mol for key, (mol, _) in zip(first, mols, strict=True) if mol is not None}


def _texts(smiles: Sequence[object]) -> list[str]:
    return ["" if text is None else str(text) for text in smiles]
