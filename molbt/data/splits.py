"""Splits of molecules into training, validation and test rows, by name: ``SPLITS["scaffold"](smiles, random_state=0)``.

Every function takes ``(smiles, *, fractions, random_state)`` and returns three sorted int64 arrays of row numbers: disjoint, together all
rows, and the same for the same input on any machine. A row that cannot be read is a group of its own, together with rows of the same text.
"""

from collections.abc import Callable, Sequence

import numpy as np

from molbt.data.molecules import ParsePolicy, murcko_scaffold, parse_molecules
from molbt.errors import ConfigError, DataError

Parts = list[np.ndarray]
Fractions = tuple[float, float, float]

_DEFAULT: Fractions = (0.8, 0.1, 0.1)
_PARTS = ("training", "validation", "test")


def random_split(smiles: Sequence[str], *, fractions: Fractions = _DEFAULT, random_state: int) -> Parts:
    """Split rows at random, whatever they hold: repeats of a molecule may fall into different parts.

    Parameters
    ----------
    smiles : sequence of str
        Only its length matters.
    fractions : tuple of three floats
        Parts of training, validation and test; they add up to 1. Sizes are rounded at the cumulative fractions.
    random_state : int

    Returns
    -------
    list of three ndarray of int64

    Raises
    ------
    ConfigError
        If the fractions are negative or do not add up to 1.
    DataError
        If a part with a fraction above 0 would be empty.
    """
    n = len(smiles)
    edges = np.rint(np.cumsum(_checked(fractions)) * n).astype(np.int64)
    order = np.random.default_rng(random_state).permutation(n)
    return _filled([np.sort(part) for part in np.split(order, edges[:2])], fractions, "random", f"{n} rows")


def scaffold_split(smiles: Sequence[str], *, fractions: Fractions = _DEFAULT, random_state: int) -> Parts:
    """Split by Bemis–Murcko scaffold: the largest groups go to training, rare scaffolds to validation and test.

    Deterministic: ``random_state`` is taken so that every split is called alike, and changes nothing. Parameters, result and errors are
    otherwise those of `random_split`; all acyclic molecules are one group.

    Notes
    -----
    The filling is DeepChem's, but groups of one size are ordered by scaffold where DeepChem orders them by row, so that which molecules are
    together in a part does not depend on the order of the rows.

    References
    ----------
    Wu et al., "MoleculeNet: a benchmark for molecular machine learning", Chem. Sci. 2018, 9, 513, section 3.2,
    https://doi.org/10.1039/C7SC02664A; ``ScaffoldSplitter`` in ``deepchem/splits/splitters.py``
    """
    groups = _scaffold_groups(smiles)
    return _fill_in_turn(
        [groups[key] for key in sorted(groups, key=lambda key: (-len(groups[key]), key))], len(smiles), fractions, "scaffold"
    )


def scaffold_random_split(smiles: Sequence[str], *, fractions: Fractions = _DEFAULT, random_state: int) -> Parts:
    """Split by Bemis–Murcko scaffold with the groups in random order; parameters, result and errors as for `random_split`.

    Groups larger than half of the validation or test part come first and so go to training, as in Chemprop's balanced scaffold split: one
    such group would otherwise fill the part it falls into.

    References
    ----------
    Yang et al., "Analyzing Learned Molecular Representations for Property Prediction", J. Chem. Inf. Model. 2019, 59, 3370,
    https://doi.org/10.1021/acs.jcim.9b00237; ``scaffold_split(balanced=True)`` in ``chemprop/data/scaffold.py`` (version 1)
    """
    groups = _scaffold_groups(smiles)
    keys = sorted(groups)
    order = np.random.default_rng(random_state).permutation(len(keys))
    shuffled = [groups[keys[place]] for place in order]
    limit = min((fraction for fraction in _checked(fractions)[1:] if fraction > 0), default=0.0) * len(smiles) / 2
    shuffled.sort(key=lambda rows: len(rows) <= limit)  # stable: both kinds keep their random order
    return _fill_in_turn(shuffled, len(smiles), fractions, "scaffold_random")


SPLITS: dict[str, Callable[..., Parts]] = {
    "random": random_split,
    "scaffold": scaffold_split,
    "scaffold_random": scaffold_random_split,
}
"""Name of a split to its function."""


def _scaffold_groups(smiles: Sequence[str]) -> dict[tuple[str, str], list[int]]:
    """Rows by scaffold, or by their own text where they cannot be read."""
    groups: dict[tuple[str, str], list[int]] = {}
    texts = list(smiles)
    for row, (mol, _) in enumerate(parse_molecules(texts, ParsePolicy())):
        key = ("refused", str(texts[row])) if mol is None else ("scaffold", murcko_scaffold(mol))
        groups.setdefault(key, []).append(row)
    return groups


def _fill_in_turn(groups: Sequence[list[int]], n: int, fractions: Fractions, name: str) -> Parts:
    """Give each group to training while it fits there, else to validation while it fits, else to test."""
    train_end, valid_end = (np.cumsum(_checked(fractions))[:2] * n + 1e-9).tolist()  # 0.8 + 0.1 is a little below 0.9
    train: list[int] = []
    valid: list[int] = []
    test: list[int] = []
    for rows in groups:
        if len(train) + len(rows) <= train_end:
            train += rows
        elif len(train) + len(valid) + len(rows) <= valid_end:
            valid += rows
        else:
            test += rows
    parts = [np.sort(np.array(part, dtype=np.int64)) for part in (train, valid, test)]
    return _filled(parts, fractions, name, f"{n} rows in {len(groups)} groups")


def _checked(fractions: Fractions) -> Fractions:
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ConfigError(f"fractions of training, validation and test must be three numbers from 0 that add up to 1, got {fractions}")
    return fractions


def _filled(parts: Parts, fractions: Fractions, name: str, what: str) -> Parts:
    for part, fraction, label in zip(parts, fractions, _PARTS, strict=True):
        if fraction > 0 and len(part) == 0:
            raise DataError(
                f"the {name} split of {what} leaves the {label} part empty, expected at least one row for a fraction of {fraction}; "
                "use more rows, another split or other fractions"
            )
    return parts
