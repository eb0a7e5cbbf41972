"""MoleculeNet and CYP450: property sets, split here by scaffold."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from molbt.data.splits import DETERMINISTIC, SPLITS, split_parts
from molbt.data.tables import Table, numeric_column, read_table, require_column
from molbt.errors import ConfigError, DataError, suggestion
from molbt.evaluation.benchmarks.base import Benchmark, Task

logger = logging.getLogger(__name__)

_ENDING = ".csv.gz"
_NO_LABEL = ("smiles", "mol_id", "SID", "group")
_REGRESSION = ("rmse", "mae", "r2")
_CLASSIFICATION = ("roc_auc", "average_precision")
_RANDOM_REPEATS = 5


@dataclass(frozen=True)
class _DataSet:
    """How a file is read: its label columns (None: all that are no identifiers), and what its metrics are, the set's own first."""

    columns: tuple[str, ...] | None
    metrics: tuple[str, ...] = _CLASSIFICATION
    unit: str = ""


DATA_SETS = {
    "bbbp": _DataSet(("p_np",)),
    "esol": _DataSet(("measured log solubility in mols per litre",), _REGRESSION, "log mol/L"),
    "freesolv": _DataSet(("expt",), _REGRESSION, "kcal/mol"),
    "sider": _DataSet(None),
    "tox21": _DataSet(None),
    "cyp450": _DataSet(None),
    "hiv": _DataSet(("HIV_active",)),
    "toxcast": _DataSet(None),
    "muv": _DataSet(None, _CLASSIFICATION[::-1]),
}
"""Names that ``datasets`` takes, the quick ones first."""

DEFAULT = ("bbbp", "esol", "freesolv")
"""Data sets that finish in minutes on two cores; the others are asked for by name."""


class MoleculeNet(Benchmark):
    """One task per label column: RMSE for values, ROC AUC and average precision for classes.

    Rows are split 80/10/10, all columns of a data set alike; the validation part is left alone. A row without a label in a column does not
    count there, and a row whose SMILES cannot be read keeps its place and is left out of fitting and scoring, which is said. Means and
    intervals are over data sets: the columns of one (12 of Tox21, 27 of SIDER) are averaged first. Regression and classification share no
    metric, and so no mean. RMSE of two data sets is in two units: it is shown per data set, and R² as a mean.

    Parameters
    ----------
    data_dir : path
        Folder that holds ``moleculenet/``.
    datasets : sequence of str
        Names in ``DATA_SETS``. The default are those that finish in minutes; SIDER, Tox21 and CYP450 take up to hours with all controls,
        and HIV, ToxCast and MUV want a cluster or ``max_rows``.
    split : str
        ``scaffold_deepchem`` (as most published results; deterministic, one repeat), ``scaffold`` (likewise, whatever the order of the
        rows), or ``scaffold_random``, ``cluster`` or ``random``.
    repeats : int, optional
        Number of splits, with ``random_state``, ``random_state + 1``, …; five by default where ``split`` depends on it.
    max_rows : int, optional
        Larger data sets are cut to so many rows, drawn with ``random_state`` before the split. Such results are comparable with each other
        only, and ``notes`` says so.
    random_state : int

    Raises
    ------
    DataError
        If a file is missing or not as published.
    ConfigError
        If a name or number cannot be used, or a deterministic split is to be repeated.

    Notes
    -----
    MoleculeNet recommends average precision for MUV and ROC AUC for the other classification sets; it splits by scaffold BBBP and HIV
    alone, the others at random. All sets are split by scaffold here unless told, as most work after it does.

    References
    ----------
    Wu et al., "MoleculeNet: a benchmark for molecular machine learning", Chem. Sci. 2018, 9, 513, table 1,
    https://doi.org/10.1039/C7SC02664A
    """

    name: ClassVar[str] = "moleculenet"

    def __init__(
        self,
        data_dir: str | Path,
        *,
        datasets: Sequence[str] = DEFAULT,
        split: str = "scaffold_deepchem",
        repeats: int | None = None,
        max_rows: int | None = None,
        random_state: int = 0,
    ) -> None:
        if not datasets or len(set(datasets)) < len(datasets):
            raise ConfigError(f"expected one or more different data sets, got {list(datasets)}; name each once (--datasets)")
        for name in datasets:
            if name not in DATA_SETS:
                raise ConfigError(f"unknown data set {name!r}{suggestion(name, DATA_SETS)}")
        allowed = [name for name in SPLITS if name != "time"]
        if split not in allowed:
            raise ConfigError(f"unknown split {split!r} of {self.name}{suggestion(split, allowed)}")
        if repeats is None:
            repeats = 1 if split in DETERMINISTIC else _RANDOM_REPEATS
        if repeats < 1 or (repeats > 1 and split in DETERMINISTIC):
            raise ConfigError(
                f"repeats must be at least 1, and 1 for a split that is the same each time ({', '.join(DETERMINISTIC)}); got {repeats} "
                f"for {split!r}"
            )
        if max_rows is not None and max_rows < 1:
            raise ConfigError(f"max_rows must be at least 1, got {max_rows}")
        self.paths = {name: Path(data_dir) / self.name / f"{name}{_ENDING}" for name in datasets}
        missing = [str(path) for path in self.paths.values() if not path.is_file()]
        if missing:
            raise DataError(
                f"expected the data sets {', '.join(datasets)} in {Path(data_dir) / self.name}, found no {', '.join(missing)}; "
                "run: molbt data get NAME, or name another folder as data_dir (--data-dir)"
            )
        self.split = split
        self.repeats = repeats
        self.max_rows = max_rows
        self.random_state = random_state
        self._units = units = {name: DATA_SETS[name].unit for name in datasets if DATA_SETS[name].unit}
        self.label_unit = ", ".join(f"{unit} for {name}" for name, unit in units.items())
        self._notes: dict[str, str] = {}
        if len(set(units.values())) > 1:
            self._notes["units"] = (
                f"RMSE and MAE of {' and '.join(units)} are in different units: they are shown per data set, and R² as a mean."
            )

    def tasks(self) -> Iterator[Task]:
        for name, path in self.paths.items():
            yield from self._tasks(name, read_table(path))

    def metrics(self, task: Task) -> tuple[str, ...]:
        return DATA_SETS[str(task.data_set)].metrics

    def label_units(self) -> Mapping[str, str]:
        return self._units

    def notes(self) -> list[str]:
        """Return which data sets were cut, and which metrics have no common unit; complete once ``tasks`` is exhausted."""
        return list(self._notes.values())

    def settings(self) -> dict[str, Any]:
        return {"split": self.split, "split_random_state": self.random_state, "max_rows": self.max_rows}

    def _tasks(self, name: str, table: Table) -> Iterator[Task]:
        wanted = DATA_SETS[name]
        require_column(table.frame, "smiles", table.source, "the file back to the published one")
        columns = wanted.columns or tuple(column for column in table.frame.columns if column not in _NO_LABEL)
        labels = {column: numeric_column(table, column, option="the file back to the published one") for column in columns}
        rows = self._rows(name, len(table.frame))
        frame = table.frame.loc[rows, ["smiles"]].reset_index(drop=True)
        parts = [self._parts(frame, repeat) for repeat in range(self.repeats)]
        task_type = "regression" if wanted.metrics == _REGRESSION else "classification"
        for column, values in labels.items():
            task = name if len(columns) == 1 else f"{name}/{column}"
            for repeat in range(self.repeats):
                yield Task(task, frame, values[rows], parts[repeat], task_type, self.split, repeat, data_set=name)

    def _rows(self, name: str, n: int) -> np.ndarray:
        if self.max_rows is None or n <= self.max_rows:
            return np.arange(n)
        self._notes[name] = (
            f"{name}: {self.max_rows} of {n} rows, drawn at random before the split (max_rows): not comparable with results on all rows."
        )
        return np.sort(np.random.default_rng(self.random_state).permutation(n)[: self.max_rows])

    def _parts(self, frame: pd.DataFrame, repeat: int) -> dict[str, np.ndarray]:
        return split_parts(self.split, frame["smiles"].tolist(), random_state=self.random_state + repeat)
