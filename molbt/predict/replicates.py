"""Molecules that were measured more than once: one label for each, and folds that keep their rows together."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from molbt.data.identity import identity_hashes
from molbt.data.isolation import map_rows
from molbt.data.molecule_groups import rows_by
from molbt.data.molecules import ParsePolicy, canonical_smiles, parse_molecules
from molbt.predict.cross_validation import random_folds


def measured_molecules(smiles: Sequence[object]) -> list[str]:
    """Return the molecule that was measured in each row: canonical SMILES of the largest fragment, uncharged, with its stereochemistry.

    Stereoisomers are different molecules here: a measured difference between them is a fact, not an error of measurement. A SMILES that
    leaves a centre open is a third one. (Folds do keep them together, `molecule_folds`, because fingerprints without stereochemistry do not
    tell them apart.)

    Returns
    -------
    list of str
        ``""`` where the molecule cannot be read, or where no other row has its connectivity: it has no replicate.
    """
    texts = _texts(smiles)
    hashes = map_rows(identity_hashes, texts, ParsePolicy())
    repeated = np.flatnonzero(pd.Series(hashes).duplicated(keep=False).to_numpy() & (hashes != 0))
    molecules = [""] * len(texts)
    mols = parse_molecules([texts[row] for row in repeated], ParsePolicy(standardise="neutral"))
    for row, (mol, _) in zip(repeated.tolist(), mols, strict=True):
        molecules[row] = canonical_smiles(mol) if mol is not None else ""
    return molecules


def replicate_groups(molecules: Sequence[str], rows: np.ndarray) -> list[list[int]]:
    """Return the rows of each molecule that stands in more than one of ``rows``, in the order of their first row."""
    groups = rows_by(molecules[row] for row in rows.tolist())
    return [[int(rows[place]) for place in places] for molecule, places in groups.items() if molecule and len(places) > 1]


def molecule_numbers(smiles: Sequence[object]) -> np.ndarray:
    """Return which molecule each row is: ``(n,)`` int64, equal for rows of the same connectivity, from 0 in the order of first rows.

    Salts, charges and stereochemistry do not count (``molbt.data.identity``). What cannot be read stands for itself.
    """
    hashes = map_rows(identity_hashes, _texts(smiles), ParsePolicy())
    keys = [int(key) or -row for row, key in enumerate(hashes, 1)]
    return pd.factorize(np.array(keys, dtype=object))[0].astype(np.int64)


def molecule_folds(
    labels: np.ndarray, smiles: Sequence[object], task_type: str, n_splits: int, random_state: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return train and test positions of each fold: ``random_folds`` of the distinct molecules, as ``molecule_numbers`` tells them apart.

    Parameters
    ----------
    labels : ndarray of shape (n,), float64
        Without NaN.
    smiles : sequence of n str
    task_type, n_splits, random_state
        As in ``random_folds``.

    Raises
    ------
    ConfigError, DataError
        As in ``random_folds``.
    """
    return random_folds(labels, task_type, n_splits, random_state, molecule_numbers(smiles))


def _texts(smiles: Sequence[object]) -> list[str]:
    """A missing value as an empty text, which no molecule has."""
    return [value if isinstance(value, str) else "" for value in smiles]
