"""When are two SMILES the same molecule? A cheap key for overlaps between files."""

import hashlib
from collections.abc import Sequence

import numpy as np
from rdkit import Chem
from rdkit.Chem import Mol
from rdkit.Chem.MolStandardize import rdMolStandardize

from molbt.data.molecules import ParsePolicy, parse_molecules


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
    choose = rdMolStandardize.LargestFragmentChooser(preferOrganic=True)
    uncharge = rdMolStandardize.Uncharger()
    hashes = np.zeros(len(values), dtype=np.uint64)
    for position, (mol, _) in enumerate(parse_molecules(values, policy)):
        if mol is None:
            continue
        # Each step costs as much as the parse, and the text tells which of them can change anything.
        smiles = values[position]
        if "." in smiles:
            mol = choose.choose(mol)
        if "+" in smiles or "-" in smiles:
            mol = uncharge.uncharge(mol)
        if "H]" in smiles or ":" in smiles:
            mol = _without_labels(mol)
        key = Chem.MolToSmiles(mol, isomericSmiles=False)
        hashes[position] = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") or 1
    return hashes


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


def replicates(hashes: np.ndarray, train: np.ndarray, test: np.ndarray) -> int:
    """Return how many test rows hold a molecule that stands in a training row too (measured twice, or written in another form)."""
    known = hashes[train]
    return int((np.isin(hashes[test], known) & (hashes[test] != 0)).sum())
