"""Which molecules of a corpus also occur in other files: test sets that an encoder must not have seen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from molbt.data.files import sha256_of
from molbt.data.identity import identity_hashes
from molbt.data.molecules import ParsePolicy
from molbt.data.rows import text_of
from molbt.data.shards import SHARD_SIZE, Progress
from molbt.data.tables import iter_table
from molbt.errors import DataError


def hash_tables(tables: Sequence[str | Path]) -> list[str]:
    """Return the SHA-256 of each excluded table.

    Raises
    ------
    DataError
        If one is not there.
    """
    for table in tables:
        if not Path(table).is_file():
            raise DataError(f"expected a table of molecules to exclude at {table}, found no file; check the path given with --exclude")
    return [sha256_of(table) for table in tables]


def occurring(values: Sequence[str], tables: Sequence[str | Path], policy: ParsePolicy, *, n_jobs: int, progress: Progress) -> np.ndarray:
    """Return which values are a molecule that one of the tables has too (see ``identity_hashes``): ``(values,)`` bool.

    Parameters
    ----------
    values : sequence of str
        SMILES.
    tables : sequence of paths
        Each with a column ``smiles``.
    policy : ParsePolicy
        Limits on what is read; identity does not depend on how it standardises.
    """
    if not tables:
        return np.zeros(len(values), dtype=bool)
    foreign: dict[str, None] = {}
    for table in tables:
        for chunk in iter_table(table):
            if "smiles" not in chunk.frame.columns:
                names = ", ".join(map(str, chunk.frame.columns))
                raise DataError(f"column 'smiles' is not in the excluded table {table} (columns: {names}); name its column of SMILES so")
            foreign |= dict.fromkeys(text_of(cell) for cell in chunk.frame["smiles"])
    known = _hashes(list(foreign), policy, n_jobs, "hashing excluded molecules", progress)
    own = _hashes(values, policy, n_jobs, "hashing molecules", progress)
    return (own != 0) & np.isin(own, known)


def _hashes(values: Sequence[str], policy: ParsePolicy, n_jobs: int, label: str, progress: Progress) -> np.ndarray:
    parts, done = [np.zeros(0, dtype=np.uint64)], 0
    jobs = (delayed(identity_hashes)(values[start : start + SHARD_SIZE], policy) for start in range(0, len(values), SHARD_SIZE))
    for part in Parallel(n_jobs=n_jobs, return_as="generator")(jobs):
        parts.append(part)
        done += len(part)
        progress(label, done, len(values))
    return np.concatenate(parts)
