"""Which molecules of a corpus also occur in other files: test sets that an encoder must not have seen."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from molbt.data.executors import ShardExecutor
from molbt.data.files import sha256_of
from molbt.data.identity import identity_hashes, molecule_and_scaffold_hashes
from molbt.data.molecules import ParsePolicy
from molbt.data.remote_blocks import map_numbered_blocks
from molbt.data.rows import text_of
from molbt.data.shards import SHARD_SIZE, Progress
from molbt.data.tables import iter_table
from molbt.errors import DataError

_SMILES_COLUMNS = ("smiles", "canonical_smiles")


@dataclass(frozen=True)
class Exclusion:
    """Molecules not to train on.

    Attributes
    ----------
    name : str
        Where they are from, for manifests and cards.
    smiles : tuple of str
        Distinct values; those that cannot be read exclude nothing.
    sha256 : str
        Of what decides them.
    """

    name: str
    smiles: tuple[str, ...]
    sha256: str

    @classmethod
    def of_molecules(cls, name: str, smiles: Iterable[str]) -> "Exclusion":
        """Return the exclusion of these molecules."""
        distinct = tuple(dict.fromkeys(smiles))
        return cls(name, distinct, hashlib.sha256("\n".join(sorted(distinct)).encode()).hexdigest())

    @classmethod
    def of_table(cls, entry: str | Path) -> "Exclusion":
        """Return the exclusion of the molecules of a table.

        Parameters
        ----------
        entry : path, or ``path:column``
            Without a column, the one called ``smiles`` or ``canonical_smiles``, in whatever case.

        Raises
        ------
        DataError
            If the file or the column is not there, or the table cannot be read.
        """
        path, wanted = _file_and_column(entry)
        smiles: dict[str, None] = {}
        for chunk in iter_table(path):
            column = _smiles_column(chunk.frame.columns, wanted, path)
            smiles |= dict.fromkeys(text_of(cell) for cell in chunk.frame[column])
        digest = sha256_of(path)
        return cls(path.name, tuple(smiles), f"{digest}:{wanted}" if wanted else digest)


def as_exclusions(entries: Sequence["str | Path | Exclusion"]) -> list[Exclusion]:
    """Return the exclusions that tables and ready exclusions name."""
    return [entry if isinstance(entry, Exclusion) else Exclusion.of_table(entry) for entry in entries]


def occurring(
    own: np.ndarray, exclusions: Sequence[Exclusion], policy: ParsePolicy, *, n_jobs: int = 1, progress: Progress | None = None
) -> np.ndarray:
    """Return which molecules one of the exclusions has too: ``(values,)`` bool.

    Parameters
    ----------
    own : ndarray of shape (values,), uint64
        As ``identity_hashes`` gives them.
    exclusions : sequence of Exclusion
    policy : ParsePolicy
        Limits on what is read; identity does not depend on how it standardises.
    """
    foreign = list(dict.fromkeys(smiles for exclusion in exclusions for smiles in exclusion.smiles))
    if not foreign:
        return np.zeros(len(own), dtype=bool)
    known = in_shards(identity_hashes, foreign, policy, n_jobs=n_jobs, label="hashing excluded molecules", progress=progress)
    return (own != 0) & np.isin(own, known)


def hash_values(
    values: Sequence[str],
    policy: ParsePolicy,
    *,
    n_jobs: int = 1,
    refused: dict[str, str] | None = None,
    progress: Progress | None = None,
    executor: ShardExecutor | None = None,
) -> np.ndarray:
    """Return ``molecule_and_scaffold_hashes`` of many values, computed in isolation: ``(values, 2)`` uint64.

    ``refused`` is that of ``molbt.data.isolation.map_blocks``; such a value has the hashes of one that cannot be read.
    """
    hashes = in_shards(
        molecule_and_scaffold_hashes,
        values,
        policy,
        n_jobs=n_jobs,
        refused=refused,
        label="hashing molecules",
        progress=progress,
        executor=executor,
    )
    return hashes.reshape(len(values), 2)


def in_shards(
    function: Callable[[Sequence[str], ParsePolicy], np.ndarray],
    values: Sequence[str],
    policy: ParsePolicy,
    *,
    n_jobs: int,
    label: str,
    progress: Progress | None,
    refused: dict[str, str] | None = None,
    executor: ShardExecutor | None = None,
) -> np.ndarray:
    """Return what a function gives for values, one row per value; the result does not depend on the number of processes."""
    parts, done = {}, 0
    blocks = (list(values[start : start + SHARD_SIZE]) for start in range(0, max(len(values), 1), SHARD_SIZE))
    for number, part in map_numbered_blocks(
        function, blocks, policy, n_values=len(values), executor=executor, n_jobs=n_jobs, refused=refused
    ):
        parts[number] = part
        done += len(part)
        if progress is not None:
            progress(label, done, len(values))
    return np.concatenate([parts[number] for number in sorted(parts)])


def _file_and_column(entry: str | Path) -> tuple[Path, str]:
    path = Path(entry)
    if path.is_file():
        return path, ""
    file, _, column = str(entry).rpartition(":")
    if column and file and Path(file).is_file():
        return Path(file), column
    raise DataError(
        f"expected a table of molecules to exclude at {entry}, found no file; check the path given with --exclude (FILE or FILE:COLUMN)"
    )


def _smiles_column(columns: Iterable[str], wanted: str, path: Path) -> str:
    names = [str(name) for name in columns]
    for name in [wanted] if wanted else [name for known in _SMILES_COLUMNS for name in names if name.lower() == known]:
        if name in names:
            return name
    raise DataError(
        f"column {wanted or 'smiles'!r} is not in the excluded table {path} (columns: {', '.join(names)}); "
        f"name its column of SMILES: --exclude {path.name}:COLUMN"
    )
