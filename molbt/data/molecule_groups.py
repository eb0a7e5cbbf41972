"""Which rows belong together: one molecule, one scaffold, one cluster. Splits keep such groups whole.

A key per row: equal for rows of one group, and the same whatever the order of the rows. A row that cannot be read is a group of its own,
together with rows of the same text.
"""

from collections.abc import Hashable, Iterable, Sequence
from itertools import chain
from typing import TypeVar

import numpy as np
from rdkit.Chem import Mol, rdFingerprintGenerator
from rdkit.DataStructs import BitVectToBinaryText, BulkTanimotoSimilarity, CreateFromBinaryText, ExplicitBitVect
from rdkit.SimDivFilters import rdSimDivPickers

from molbt.data.identity import identity_hashes
from molbt.data.isolation import map_blocks, map_rows
from molbt.data.molecule_values import scaffolds
from molbt.data.molecules import ParsePolicy, parse_molecules

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
    return _clusters([generator.GetFingerprint(mol) for mol in mols], similarity)


def _clusters(fingerprints: list[ExplicitBitVect], similarity: float) -> np.ndarray:
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
    first = _first_forms(smiles, keys)
    found = zip(first, scaffolds(list(first.values())), strict=True)
    scaffold_of = {key: ("scaffold", scaffold) for key, scaffold in found if scaffold is not None}
    return [scaffold_of.get(key, key) for key in keys]


def cluster_keys(smiles: Sequence[object]) -> list[Key]:
    """Return the cluster of each row's molecule, from `leader_clusters`."""
    keys = molecule_keys(smiles)
    first = dict(sorted(_first_forms(smiles, keys).items()))  # by hash: an order that knows neither rows nor chemistry
    found = chain.from_iterable(map_blocks(_packed_fingerprints, list(first.values()), ParsePolicy()))
    packed = {key: bits for key, bits in zip(first, found, strict=True) if bits}
    clusters = _clusters([CreateFromBinaryText(bits) for bits in packed.values()], SIMILARITY)  # type: ignore[arg-type]  # the stubs say str
    cluster_of = {key: ("cluster", f"{place:09d}") for key, place in zip(packed, clusters, strict=True)}
    return [cluster_of.get(key, key) for key in keys]


def rows_by(keys: Iterable[_K]) -> dict[_K, list[int]]:
    """Return the rows of each key, keys in the order of their first row."""
    groups: dict[_K, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    return groups


def _first_forms(smiles: Sequence[object], keys: Sequence[Key]) -> dict[Key, str]:
    """One form of each molecule that can be read: the first in the alphabet."""
    texts = _texts(smiles)
    return {key: min(texts[row] for row in rows) for key, rows in rows_by(keys).items() if key[0] == "molecule"}


def _packed_fingerprints(values: Sequence[str], policy: ParsePolicy) -> list[bytes]:
    """ECFP4 bits as bytes, which cross to another process; ``b""`` where a molecule cannot be read."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=_BITS)
    mols = (mol for mol, _ in parse_molecules(values, policy))
    return [b"" if mol is None else BitVectToBinaryText(generator.GetFingerprint(mol)) for mol in mols]


def _texts(smiles: Sequence[object]) -> list[str]:
    return ["" if text is None else str(text) for text in smiles]
