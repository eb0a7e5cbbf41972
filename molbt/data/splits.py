"""Splits of molecules into training, validation and test rows, by name: ``SPLITS["scaffold"](smiles, random_state=0)``.

Every function takes ``(smiles, *, fractions, random_state)``, the one for ``time`` also ``times``, and returns three sorted int64 arrays of
row numbers: disjoint, together all rows, and the same for the same input on any machine. Rows of one molecule (``molbt.data.identity``:
salts, charges and stereochemistry do not count) are never in two parts. A row that cannot be read is a molecule of its own, together with
rows of the same text.
"""

from collections.abc import Callable, Sequence

import numpy as np

from molbt.data.molecule_groups import Key, cluster_keys, molecule_keys, rows_by, scaffold_keys
from molbt.errors import ConfigError, DataError, suggestion

Parts = list[np.ndarray]
Fractions = tuple[float, float, float]

_DEFAULT: Fractions = (0.8, 0.1, 0.1)
_PARTS = ("training", "validation", "test")
_ROWS_SHOWN = 5


def random_split(smiles: Sequence[str], *, fractions: Fractions = _DEFAULT, random_state: int) -> Parts:
    """Split molecules at random; the rows of a molecule stay together.

    Parameters
    ----------
    smiles : sequence of str
    fractions : tuple of three floats
        Parts of training, validation and test; they add up to 1. Sizes are rounded at the cumulative fractions, up to the rows of one
        molecule.
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
    groups = list(rows_by(molecule_keys(smiles)).values())
    order = np.random.default_rng(random_state).permutation(len(groups))
    return _cut([groups[place] for place in order], len(smiles), fractions, "random")


def scaffold_split(smiles: Sequence[str], *, fractions: Fractions = _DEFAULT, random_state: int) -> Parts:
    """Split by Bemis–Murcko scaffold: the largest groups go to training, rare scaffolds to validation and test.

    Deterministic: ``random_state`` is taken so that every split is called alike, and changes nothing. Parameters, result and errors are
    otherwise those of `random_split`; all acyclic molecules are one group.

    Notes
    -----
    The filling is DeepChem's, but groups of one size are ordered by scaffold where DeepChem orders them by row, so that which molecules are
    together in a part does not depend on the order of the rows. A molecule that occurs in several forms (salts) is in one group; see
    `scaffold_keys`.

    References
    ----------
    Wu et al., "MoleculeNet: a benchmark for molecular machine learning", Chem. Sci. 2018, 9, 513, section 3.2,
    https://doi.org/10.1039/C7SC02664A; ``ScaffoldSplitter`` in ``deepchem/splits/splitters.py``
    """
    groups = rows_by(scaffold_keys(smiles))
    return _fill_in_turn(
        [groups[key] for key in sorted(groups, key=lambda key: (-len(groups[key]), key))], len(smiles), fractions, "scaffold"
    )


def scaffold_deepchem_split(smiles: Sequence[str], *, fractions: Fractions = _DEFAULT, random_state: int) -> Parts:
    """Split by Bemis–Murcko scaffold as published results on MoleculeNet were: `scaffold_split` with ties broken by the order of the rows.

    Of groups of one size, the one that begins later in the file is filled in first, so that test holds the scaffolds that occur once and
    stand at the top. Where a file is sorted this matters more than any model: BBBP has 53 % of class 1 in test and 82 % in training here,
    89 % and 75 % with `scaffold_split`. Rows that cannot be read do not count for the sizes of the parts and go to the first part.

    Deterministic; parameters, result and errors as for `random_split`.

    References
    ----------
    ``ScaffoldSplitter`` in ``deepchem/splits/splitters.py``; Hu et al., "Strategies for Pre-training Graph Neural Networks", ICLR 2020,
    https://arxiv.org/abs/1905.12265 (the same order). A molecule that occurs in several forms is in one group here (`scaffold_keys`), which
    moves one row of BBBP.
    """
    groups = rows_by(scaffold_keys(smiles))
    readable = sorted((rows for key, rows in groups.items() if key[0] != "refused"), key=lambda rows: (len(rows), rows[0]), reverse=True)
    refused = [row for key, rows in groups.items() if key[0] == "refused" for row in rows]
    parts = _fill_in_turn(readable, len(smiles) - len(refused), fractions, "scaffold_deepchem")
    first = next(place for place, fraction in enumerate(fractions) if fraction > 0)
    parts[first] = np.sort(np.append(parts[first], np.array(refused, dtype=np.int64)))
    return parts


def scaffold_random_split(smiles: Sequence[str], *, fractions: Fractions = _DEFAULT, random_state: int) -> Parts:
    """Split by Bemis–Murcko scaffold with the groups in random order; parameters, result and errors as for `random_split`.

    Groups larger than half of the validation or test part come first and so go to training, as in Chemprop's balanced scaffold split: one
    such group would otherwise fill the part it falls into.

    References
    ----------
    Yang et al., "Analyzing Learned Molecular Representations for Property Prediction", J. Chem. Inf. Model. 2019, 59, 3370,
    https://doi.org/10.1021/acs.jcim.9b00237; ``scaffold_split(balanced=True)`` in ``chemprop/data/scaffold.py`` (version 1)
    """
    return _fill_at_random(scaffold_keys(smiles), fractions, random_state, "scaffold_random")


def cluster_split(smiles: Sequence[str], *, fractions: Fractions = _DEFAULT, random_state: int) -> Parts:
    """Split by clusters of similar molecules in random order; parameters, result and errors as for `random_split`.

    The clusters are spheres of ECFP4 similarity (`leader_clusters`); they do not depend on ``random_state`` or on the order of the rows.
    Large ones go to training as in `scaffold_random_split`. A test molecule may still be similar to one of training, where two clusters
    touch.
    """
    return _fill_at_random(cluster_keys(smiles), fractions, random_state, "cluster")


def time_split(smiles: Sequence[str], *, fractions: Fractions = _DEFAULT, random_state: int, times: np.ndarray) -> Parts:
    """Split by time: the earliest molecules go to training, the latest to test.

    A molecule counts from its first row on, so test molecules are new at their time. Rows of one time stay together: with years for
    times, parts end at the turn of a year, the nearest to the fractions. Deterministic: ``random_state`` changes nothing.

    Parameters
    ----------
    smiles, fractions, random_state
        As for `random_split`.
    times : ndarray of shape (rows,), float64
        Any numbers that grow with time.

    Raises
    ------
    ConfigError
        If the fractions are negative or do not add up to 1.
    DataError
        If a row has no time, or a part with a fraction above 0 would be empty.
    """
    times = np.asarray(times, dtype=np.float64)
    if times.shape != (len(smiles),):
        raise DataError(f"the time split needs one time for each of {len(smiles)} rows, got an array of shape {times.shape}")
    missing = np.flatnonzero(~np.isfinite(times))
    if len(missing):
        raise DataError(
            f"the time split needs a time for every row, got {len(missing)} of {len(times)} without one (rows "
            f"{', '.join(map(str, missing[:_ROWS_SHOWN]))}{', …' if len(missing) > _ROWS_SHOWN else ''}); fill in or remove these rows"
        )
    keys = molecule_keys(smiles)
    first = {key: times[rows].min() for key, rows in rows_by(keys).items()}
    groups = rows_by(first[key] for key in keys)
    return _cut([groups[time] for time in sorted(groups)], len(smiles), fractions, "time")


SPLITS: dict[str, Callable[..., Parts]] = {
    "random": random_split,
    "scaffold": scaffold_split,
    "scaffold_deepchem": scaffold_deepchem_split,
    "scaffold_random": scaffold_random_split,
    "cluster": cluster_split,
    "time": time_split,
}
"""Name of a split to its function."""

DETERMINISTIC = ("scaffold", "scaffold_deepchem", "time")
"""Splits that ``random_state`` does not change."""


def split_parts(
    name: str, smiles: Sequence[str], *, fractions: Fractions = _DEFAULT, random_state: int, times: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Split by name, and return the rows of ``train``, ``valid`` and ``test``; a part with the fraction 0 is left out.

    Raises
    ------
    ConfigError
        If the name is unknown, or times are missing for ``time`` or given for another split.
    DataError
        As the split itself.
    """
    if name not in SPLITS:
        raise ConfigError(f"unknown split {name!r}{suggestion(name, SPLITS)}")
    if (name == "time") != (times is not None):
        wanted = (
            "a column of times, got none; name it (--time-column)" if times is None else "no times; use the split 'time', or leave them out"
        )
        raise ConfigError(f"the split {name!r} takes {wanted}")
    more = {} if times is None else {"times": times}
    parts = SPLITS[name](smiles, fractions=fractions, random_state=random_state, **more)
    return {part: rows for part, rows, fraction in zip(("train", "valid", "test"), parts, fractions, strict=True) if fraction > 0}


def _cut(groups: Sequence[list[int]], n: int, fractions: Fractions, name: str) -> Parts:
    """Cut a sequence of groups where the cumulative fractions are, rounded to whole rows; a group goes to the side its middle is on."""
    edges = np.rint(np.cumsum(_checked(fractions))[:2] * n)
    sizes = np.array([len(rows) for rows in groups], dtype=np.int64)
    places = np.searchsorted(edges, np.cumsum(sizes) - sizes / 2, side="right")
    rows = np.array([row for group in groups for row in group], dtype=np.int64)
    place_of_row = np.repeat(places, sizes)
    return _filled([np.sort(rows[place_of_row == place]) for place in range(3)], fractions, name, f"{n} rows")


def _fill_at_random(keys: Sequence[Key], fractions: Fractions, random_state: int, name: str) -> Parts:
    """Fill with groups in random order, those first that are larger than half of the smaller held-out part."""
    groups = rows_by(keys)
    ordered = sorted(groups)
    shuffled = [groups[ordered[place]] for place in np.random.default_rng(random_state).permutation(len(ordered))]
    limit = min((fraction for fraction in _checked(fractions)[1:] if fraction > 0), default=0.0) * len(keys) / 2
    shuffled.sort(key=lambda rows: len(rows) <= limit)  # stable: both kinds keep their random order
    return _fill_in_turn(shuffled, len(keys), fractions, name)


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
