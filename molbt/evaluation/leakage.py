"""Which evaluated molecules the pretraining has seen, and which stand in the training and the test part of one task."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path

import numpy as np
import pandas as pd

from molbt import registry
from molbt.data.exclusions import Exclusion, hash_values
from molbt.data.files import atomic_write
from molbt.data.identity import inchi_connectivity
from molbt.data.molecules import ParsePolicy
from molbt.data.samples import read_drawn_molecules
from molbt.data.seen_molecules import SeenMolecules
from molbt.data.sources import data_dir as find_data
from molbt.errors import ConfigError, DataError
from molbt.evaluation.benchmarks.base import Benchmark, Task
from molbt.model.checkpoint import find_model

LEAKAGE_COLUMNS = (
    *("benchmark", "task", "split", "repeat", "train_molecules", "test_molecules"),
    *("train_seen", "test_seen", "test_scaffolds_seen", "test_in_train", "hits_checked", "hits_confirmed"),
)
"""Counts of distinct molecules; those that need the record of a pretraining are NaN without one."""

_NEEDS_RECORD = LEAKAGE_COLUMNS[6:9]
_TABLE = "table:"


@dataclass(frozen=True, eq=False)
class Leakage:
    """Overlaps of an evaluation.

    Attributes
    ----------
    table : DataFrame
        ``LEAKAGE_COLUMNS``, one row per task and repeat: distinct readable molecules with a label in the training and the test part; how
        many of either were in the pretraining; how many test molecules have a scaffold that was, and how many stand in the training part
        too; of the test molecules that were seen, how many could be compared with the pretraining molecule by InChIKey, and agreed.
    pretrained : bool
        Whether an encoder is evaluated at all.
    """

    table: pd.DataFrame
    pretrained: bool

    @property
    def is_known(self) -> bool:
        """Whether the pretraining left a record of what it saw."""
        return self.pretrained and not self.table["test_seen"].isna().any()

    def share(self, column: str) -> float:
        """Return a count of test molecules as a share of all test molecules, summed over tasks and repeats; NaN where unknown."""
        total = self.table["test_molecules"].sum()
        return float(self.table[column].sum(skipna=False) / total) if total else float("nan")

    def sentence(self) -> str:
        """Return in one line what a reader of any table of this evaluation must know."""
        within = f"{self._percent('test_in_train')} of test molecules also stand in the training part of their task"
        if not self.pretrained:
            return f"{within}."
        if not self.is_known:
            return (
                "What the pretraining saw is not recorded beside this model, so test molecules may be among it (molbt pretrain now keeps "
                f"that record); {within}."
            )
        checked, confirmed = int(self.table["hits_checked"].sum()), int(self.table["hits_confirmed"].sum())
        hits = f" ({confirmed:,} of {checked:,} hits that could be compared agree by InChIKey)" if checked else ""
        return (
            f"Pretraining saw {self._percent('test_seen')} of test molecules{hits} and the scaffolds of "
            f"{self._percent('test_scaffolds_seen')}; {within}; per task in the report."
        )

    def _percent(self, column: str) -> str:
        return f"{100 * self.share(column):.1f} %"

    def save(self, path: Path) -> None:
        """Write the table as CSV."""
        with atomic_write(path) as file:
            self.table.to_csv(file, index=False)

    def require_clean(self) -> None:
        """Refuse an evaluation whose test molecules the pretraining saw, or may have seen.

        Raises
        ------
        DataError
            With the tasks.
        """
        if not self.pretrained:
            return
        if not self.is_known:
            raise DataError(
                "expected a clean evaluation (--require-clean), but the model has no record of the molecules it was pretrained on "
                "(seen_molecules.npy); pretrain it again, or evaluate without --require-clean"
            )
        seen = self.table[self.table["test_seen"] > 0]
        if len(seen):
            worst = seen.groupby("task", sort=False)["test_seen"].max()
            listed = ", ".join(f"{task} ({count:.0f})" for task, count in worst.head(5).items())
            more = f" and {len(worst) - 5} more" if len(worst) > 5 else ""
            raise DataError(
                f"expected a clean evaluation (--require-clean), but the pretraining saw test molecules of {len(worst)} of "
                f"{self.table['task'].nunique()} tasks: {listed}{more}; pretrain with --exclude-overlap or --exclude, or evaluate without "
                "--require-clean"
            )


def find_leakage(benchmark: Benchmark, model: str | Path | None = None, *, policy: ParsePolicy | None = None, n_jobs: int = 1) -> Leakage:
    """Compare the tasks of a benchmark with what a model has seen.

    Molecules are compared by a 64-bit hash of the connectivity without salts, removable charges and stereochemistry. Hits are confirmed by
    the first block of the InChIKey where the run's sample of molecules (``sample.csv``) lies beside the model.

    Parameters
    ----------
    benchmark : Benchmark
    model : path, optional
        A run or model directory; without one, only overlaps within tasks are looked for.
    policy : ParsePolicy, optional
        Limits on what is read.
    n_jobs : int
        Worker processes; the result does not depend on it.

    Raises
    ------
    DataError
        If the record of the pretraining cannot be read.
    """
    policy = policy or ParsePolicy()
    found = find_model(model) if model is not None else None
    seen = SeenMolecules.load(found) if found is not None else None
    hashes = _Hashes(policy, n_jobs)
    rows: list[dict[str, object]] = []
    tested: dict[int, set[int]] = {}
    for task in benchmark.tasks():
        train, test = (hashes.of(_labelled(task, part)) for part in ("train", "test"))
        row: dict[str, object] = {"benchmark": benchmark.name, "task": task.name, "split": task.split, "repeat": task.repeat}
        row |= {"train_molecules": len(train), "test_molecules": len(test), "test_in_train": len(train.keys() & test.keys())}
        if seen is not None:
            row |= {"train_seen": len(_among(train.keys(), seen.molecules))}
            hits = _among(test.keys(), seen.molecules)
            row |= {"test_seen": len(hits), "test_scaffolds_seen": int(np.isin(_array(test.values()), seen.scaffolds).sum())}
            tested[len(rows)] = hits
        rows.append(row)
    table = pd.DataFrame(rows).reindex(columns=list(LEAKAGE_COLUMNS))
    table[["hits_checked", "hits_confirmed"]] = 0
    if found is not None and any(tested.values()):
        agrees = _confirmed(set().union(*tested.values()), hashes, found.parent / "sample.csv", policy)
        for number, hits in tested.items():
            checked = [agrees[key] for key in hits if key in agrees]
            table.loc[number, ["hits_checked", "hits_confirmed"]] = len(checked), sum(checked)
    table[list(_NEEDS_RECORD)] = table[list(_NEEDS_RECORD)].astype(np.float64)
    return Leakage(table, pretrained=model is not None)


def benchmark_exclusions(names: Iterable[str], data_dir: str | Path | None) -> list[Exclusion]:
    """Return the molecules of benchmarks, of all parts of all their tasks, ready to be excluded from a pretraining.

    Parameters
    ----------
    names : iterable of str
        Names of benchmarks, or ``table:FILE`` and ``table:FILE:COLUMN`` for the molecules of a table.
    data_dir : path, optional
        Folder of the public data sets; or the variable ``MOLBT_DATA``.

    Raises
    ------
    ConfigError
        If a benchmark is unknown or needs more than a folder of data.
    DataError
        If its data are not there.
    """
    return [
        Exclusion.of_table(name.removeprefix(_TABLE)) if name.startswith(_TABLE) else _of_benchmark(name, data_dir)
        for name in dict.fromkeys(names)
    ]


def _of_benchmark(name: str, data_dir: str | Path | None) -> Exclusion:
    found = registry.find("benchmarks", name)
    parameters = signature(found).parameters
    missing = [option for option, parameter in parameters.items() if parameter.default is Parameter.empty and option != "data_dir"]
    if missing:
        raise ConfigError(
            f"expected a benchmark whose molecules are known by its name, {name!r} needs {', '.join(missing)}; for a file of your own "
            "pass --exclude FILE, or --exclude-overlap table:FILE"
        )
    benchmark: Benchmark = found(data_dir=find_data(data_dir)) if "data_dir" in parameters else found()
    smiles: dict[str, None] = {}
    for task in benchmark.tasks():
        smiles |= dict.fromkeys(text for text in task.smiles if isinstance(text, str))
    return Exclusion.of_molecules(name, smiles)


class _Hashes:
    """Hashes of molecules and scaffolds, each SMILES once however many tasks it is in."""

    def __init__(self, policy: ParsePolicy, n_jobs: int) -> None:
        self.policy, self.n_jobs = policy, n_jobs
        self._known: dict[str, tuple[int, int]] = {}

    def of(self, smiles: Sequence[str]) -> dict[int, int]:
        """Return the scaffold of each distinct readable molecule."""
        new = [text for text in dict.fromkeys(smiles) if text not in self._known]
        if new:
            # A few thousand molecules take less time than starting processes does.
            n_jobs = self.n_jobs if len(new) > 5_000 else 1
            pairs = hash_values(new, self.policy, n_jobs=n_jobs).tolist()
            self._known |= {text: (molecule, scaffold) for text, (molecule, scaffold) in zip(new, pairs, strict=True)}
        return {molecule: scaffold for molecule, scaffold in map(self._known.__getitem__, smiles) if molecule}

    def smiles_of(self, keys: set[int]) -> dict[int, str]:
        """Return one SMILES of each of these molecules."""
        return {molecule: text for text, (molecule, _) in self._known.items() if molecule in keys}


def _labelled(task: Task, part: str) -> list[str]:
    rows = task.parts[part]
    return task.frame["smiles"].iloc[rows[np.isfinite(task.y[rows])]].fillna("").astype("str").tolist()


def _array(keys: Iterable[int]) -> np.ndarray:
    return np.fromiter(keys, dtype=np.uint64)


def _among(keys: Iterable[int], known: np.ndarray) -> set[int]:
    array = _array(keys)
    return set(array[np.isin(array, known)].tolist())


def _confirmed(hits: set[int], hashes: _Hashes, sample: Path, policy: ParsePolicy) -> dict[int, bool]:
    """Return, for the hits whose pretraining molecule is in the run's sample, whether the InChIKeys agree in their first block."""
    if not sample.is_file():
        return {}
    trained = read_drawn_molecules(sample)
    partner = {int(key): text for key, text in zip(hash_values(trained, policy)[:, 0], trained, strict=True) if int(key) in hits}
    own = hashes.smiles_of(partner.keys() & hits)
    keys = list(own)
    blocks = [inchi_connectivity([texts[key] for key in keys], policy) for texts in (own, partner)]
    return {key: bool(mine) and mine == theirs for key, mine, theirs in zip(keys, *blocks, strict=True)}
