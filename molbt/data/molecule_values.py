"""A number or a text of each molecule, worked out in isolation: a molecule that RDKit does not survive has none."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from rdkit.Chem import Mol, rdMolDescriptors

from molbt.data.isolation import map_blocks
from molbt.data.molecules import ParsePolicy, murcko_scaffold, parse_molecules


def molar_masses(smiles: Sequence[object], policy: ParsePolicy | None = None) -> np.ndarray:
    """Return the molar masses in g/mol, ``(molecules,)`` float64; NaN where one cannot be read."""
    return _numbers(_molar_mass, smiles, policy)


def crippen_logp(smiles: Sequence[object], policy: ParsePolicy | None = None) -> np.ndarray:
    """Return Crippen's logP, ``(molecules,)`` float64; NaN where one cannot be read."""
    return _numbers(_crippen_logp, smiles, policy)


def scaffolds(smiles: Sequence[object], policy: ParsePolicy | None = None) -> list[str | None]:
    """Return the Bemis–Murcko scaffolds (``""`` for an acyclic molecule); None where one cannot be read."""
    return _of_each(murcko_scaffold, smiles, policy)


def _numbers(function: Callable[[Mol], float], smiles: Sequence[object], policy: ParsePolicy | None) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in _of_each(function, smiles, policy)], dtype=np.float64)


def _of_each(function: Callable[[Mol], Any], smiles: Sequence[object], policy: ParsePolicy | None) -> list[Any]:
    texts = [text if isinstance(text, str) else "" for text in smiles]
    return list(chain.from_iterable(map_blocks(partial(_apply, function=function), texts, policy or ParsePolicy())))


def _apply(values: Sequence[str], policy: ParsePolicy, *, function: Callable[[Mol], Any]) -> list[Any]:
    return [None if mol is None else function(mol) for mol, _ in parse_molecules(values, policy)]


def _molar_mass(mol: Mol) -> float:
    return rdMolDescriptors._CalcMolWt(mol)  # what Descriptors.MolWt is, without importing all descriptors


def _crippen_logp(mol: Mol) -> float:
    return rdMolDescriptors.CalcCrippenDescriptors(mol)[0]
