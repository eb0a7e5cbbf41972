"""RDKit's fingerprints by name, as flat arrays of the features that occur."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import DataStructs
from rdkit.Avalon import pyAvalonTools
from rdkit.Chem import Mol, rdFingerprintGenerator, rdMolDescriptors

from molbt.data.molecules import Perception
from molbt.errors import ConfigError, suggestion

MACCS_WIDTH = 167
# What a suggestion lists; any even diameter is valid.
_EXAMPLES = ("ecfp4", "ecfp6", "fcfp4", "atom_pair", "topological_torsion", "rdkit_path", "maccs", "avalon", "ecfp4_chiral")
_NAME = re.compile(r"(?:(ecfp|fcfp)(\d{1,2})|(atom_pair|topological_torsion))(_chiral)?|(rdkit_path|maccs|avalon)")
# RDKit's sparse vectors begin with version, index size, length and number of entries (4 bytes each), then come (index, count) pairs.
_SPARSE_HEADER = 16
_PAIR = np.dtype([("id", "<u4"), ("count", "<i4")])

_SIMULATES_COUNTS = {"atom_pair", "topological_torsion"}

Items = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Position of the molecule, feature id and count of each item, sorted by position and then id; int64."""


@dataclass(frozen=True)
class FingerprintKind:
    """One fingerprint of RDKit: a family, for circular ones a diameter, and whether stereocentres count.

    Parameters
    ----------
    family : {"ecfp", "fcfp", "atom_pair", "topological_torsion", "rdkit_path", "maccs", "avalon"}
    radius : int
        Of circular fingerprints: half the diameter in the name.
    chirality : bool
    """

    family: str
    radius: int = 0
    chirality: bool = False

    @classmethod
    def from_name(cls, name: str) -> "FingerprintKind":
        """Read a name such as ``ecfp4``, ``fcfp6``, ``atom_pair_chiral`` or ``maccs``.

        Raises
        ------
        ConfigError
            If the name is unknown or the diameter is odd.
        """
        found = _NAME.fullmatch(name)
        if found is None:
            raise ConfigError(f"unknown fingerprint kind {name!r}{suggestion(name, _EXAMPLES)} (any even diameter)")
        circular, diameter, pairs, chiral, other = found.groups()
        if diameter and int(diameter) % 2:
            raise ConfigError(
                f"expected an even diameter, received {name!r}: the number in a circular fingerprint's name is the diameter, twice the "
                f"radius; use {circular}{int(diameter) - 1} or {circular}{int(diameter) + 1}"
            )
        return cls(circular or pairs or other, int(diameter or 0) // 2, bool(chiral))

    @property
    def is_folded(self) -> bool:
        """Whether the width is free; MACCS keys have their own."""
        return self.family != "maccs"

    @property
    def perception(self) -> Perception:
        """How much of a molecule this fingerprint reads: the least perception that gives the fingerprint of the whole."""
        if self.chirality:
            return Perception.ALL
        # The π electrons of an atom's type are counted from its hybridisation.
        return Perception.HYBRIDISATION if self.family in {"atom_pair", "topological_torsion"} else Perception.AROMATICITY

    def items_of(self, width: int, counts: bool) -> Callable[[Sequence[Mol]], Items]:
        """Return a function from molecules to their items, folded to ``width`` by RDKit itself.

        With ``counts`` the ids and counts are those of RDKit's count fingerprint (MACCS keys count 1), without they are the set
        bits of its bit fingerprint and every count is 1. The two differ in more than the counts: RDKit simulates counts with several
        bits for atom pairs and torsions, and Avalon hashes them differently.

        The function holds RDKit generators, which cannot be pickled: make it in the process that calls it.
        """
        if self.family == "maccs":
            return lambda mols: _from_bits([rdMolDescriptors.GetMACCSKeysFingerprint(mol) for mol in mols], width)
        if self.family == "avalon":
            if counts:
                return lambda mols: _from_sparse([pyAvalonTools.GetAvalonCountFP(mol, width) for mol in mols])
            return lambda mols: _from_bits([pyAvalonTools.GetAvalonFP(mol, width) for mol in mols], width)
        generator = self.generator(width)
        if counts:
            return lambda mols: _from_sparse(generator.GetCountFingerprints(mols))
        if self.family not in _SIMULATES_COUNTS:  # the set bits are the counted features, and those are read faster
            return lambda mols: _as_bits(_from_sparse(generator.GetCountFingerprints(mols)))
        return lambda mols: _from_bits(generator.GetFingerprints(mols), width)

    def generator(self, width: int) -> rdFingerprintGenerator.FingerprintGenerator64:
        """Return RDKit's generator, folding to ``width``; MACCS keys and Avalon have none."""
        make = rdFingerprintGenerator
        if self.family == "ecfp":
            return make.GetMorganGenerator(radius=self.radius, fpSize=width, includeChirality=self.chirality)
        if self.family == "fcfp":
            invariants = make.GetMorganFeatureAtomInvGen()
            return make.GetMorganGenerator(
                radius=self.radius, fpSize=width, includeChirality=self.chirality, atomInvariantsGenerator=invariants
            )
        if self.family == "atom_pair":
            return make.GetAtomPairGenerator(fpSize=width, includeChirality=self.chirality)
        if self.family == "topological_torsion":
            return make.GetTopologicalTorsionGenerator(fpSize=width, includeChirality=self.chirality)
        return make.GetRDKitFPGenerator(fpSize=width)


def _from_sparse(vectors: Sequence[DataStructs.UIntSparseIntVect]) -> Items:
    # The binary form is ten times cheaper to read than a dictionary of Python integers, and it is sorted by id.
    parts = [vector.ToBinary()[_SPARSE_HEADER:] for vector in vectors]
    pairs = np.frombuffer(b"".join(parts), _PAIR)
    lengths = np.array([len(part) for part in parts], dtype=np.int64) // _PAIR.itemsize
    return np.repeat(np.arange(len(parts)), lengths), pairs["id"].astype(np.int64), pairs["count"].astype(np.int64)


def _from_bits(vectors: Sequence[DataStructs.ExplicitBitVect], width: int) -> Items:
    packed = np.frombuffer(b"".join([DataStructs.BitVectToBinaryText(vector) for vector in vectors]), np.uint8)
    packed = packed.reshape(len(vectors), -(-width // 8))
    row, ids = np.unpackbits(packed, axis=1, count=width, bitorder="little").nonzero()
    return row, ids, np.ones(len(ids), dtype=np.int64)


def _as_bits(items: Items) -> Items:
    row, ids, counts = items
    return row, ids, np.ones_like(counts)
