"""When are two SMILES the same molecule? A cheap key for overlaps between files."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Mol
from rdkit.Chem.MolStandardize import rdMolStandardize

from molbt.data.molecules import ParsePolicy, Perception, murcko_scaffold, parse_molecule, parse_molecules

# Isotopes, map numbers and hydrogens written as atoms: what `_without_labels` removes.
_LABEL = re.compile(r":|\[(?:\d|H(?![a-z])|#1\D)")


def identity_hashes(values: Sequence[str], policy: ParsePolicy) -> np.ndarray:
    """Return a 64-bit key per value: equal for SMILES of the same connectivity.

    Salts and solvents, charges that a proton can remove, stereochemistry, isotopes and atom map numbers do not count; tautomers are told
    apart (an InChIKey merges some of them at three times the cost). Two different molecules of a million share a key with a chance of
    3e-8.

    Parameters
    ----------
    values : sequence of str
    policy : ParsePolicy

    Returns
    -------
    ndarray of shape (values,), uint64
        0 where the value cannot be read.
    """
    keys = (_connectivity(mol) for mol in _parents(values, policy))
    return np.fromiter(map(_hash, keys), dtype=np.uint64, count=len(values))


def molecule_and_scaffold_hashes(values: Sequence[str], policy: ParsePolicy) -> np.ndarray:
    """Return the key of each value and that of its Bemis–Murcko scaffold.

    The scaffold is that of the same reduced molecule: the largest fragment, uncharged, without stereochemistry and labels.

    Returns
    -------
    ndarray of shape (values, 2), uint64
        0 for a value that cannot be read, and for the scaffold of an acyclic molecule, which has none.
    """
    hashes = np.zeros((len(values), 2), dtype=np.uint64)
    for row, mol in zip(hashes, _parents(values, policy), strict=True):
        row[:] = _hash(_connectivity(mol)), _hash(_scaffold(mol))
    return hashes


def inchi_connectivity(values: Sequence[str], policy: ParsePolicy) -> list[str]:
    """Return the first block of the InChIKey of each reduced molecule: its formula and connectivity; ``""`` where there is none."""
    parents = _parents(values, policy, perception=Perception.ALL)
    with rdBase.BlockLogs():
        return [Chem.MolToInchiKey(mol).partition("-")[0] if mol is not None else "" for mol in parents]


def _parents(values: Sequence[str], policy: ParsePolicy, *, perception: Perception = Perception.AROMATICITY) -> Iterator[Mol | None]:
    """Yield each molecule without what identity does not depend on, stereochemistry excepted; None where it cannot be read."""
    choose = rdMolStandardize.LargestFragmentChooser(preferOrganic=True)
    uncharge = rdMolStandardize.Uncharger()
    for smiles, (mol, _) in zip(values, parse_molecules(values, policy, perception=perception), strict=True):
        if mol is not None:
            # Each step costs as much as the parse, and the text tells which of them can change anything.
            if "." in smiles:
                whole, _ = parse_molecule(smiles, policy)  # fragments of one size are told apart by their isomeric SMILES
                mol = _where_possible(choose.choose, whole or mol)
            is_charged = "+" in smiles or "-" in smiles
            if is_charged:
                mol = _where_possible(uncharge.uncharge, mol)
            # A molecule with another charge is sanitised again where it has hydrogens in brackets.
            if _LABEL.search(smiles) or (is_charged and "H]" in smiles):
                mol = _without_labels(mol)
        yield mol


def _where_possible(step: Callable[[Mol], Mol], mol: Mol) -> Mol:
    """Return the molecule after a step, or as it was where RDKit cannot do it: a ring cut out of a complex may not be kekulisable."""
    try:
        return step(mol)
    except (ValueError, RuntimeError):
        return mol


def _connectivity(mol: Mol | None) -> str:
    return Chem.MolToSmiles(mol, isomericSmiles=False) if mol is not None else ""


def _scaffold(mol: Mol | None) -> str:
    if mol is None:
        return ""
    try:
        return murcko_scaffold(mol)
    except (ValueError, RuntimeError):  # a cut-out ring system that RDKit cannot kekulise, or the odd molecule that lost its ring table
        return ""


def _hash(key: str) -> int:
    return (int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") or 1) if key else 0


def _without_labels(mol: Mol) -> Mol:
    """Drop isotopes and map numbers, and with them the hydrogens that only they made atoms of their own (``[2H]``)."""
    mol = Chem.Mol(mol)
    for atom in mol.GetAtoms():
        atom.SetIsotope(0)
        atom.SetAtomMapNum(0)
    try:
        return Chem.RemoveHs(mol)
    except Chem.MolSanitizeException:  # uncharging may leave a bridging hydrogen (boranes) with a valence that RDKit refuses
        return Chem.RemoveHs(mol, sanitize=False)
