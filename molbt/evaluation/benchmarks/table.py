"""A user's own file: one task per target column, split here by name."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from molbt.data.files import sha256_of
from molbt.data.splits import DETERMINISTIC, split_parts
from molbt.data.tables import Table, numeric_column, read_table, require_column
from molbt.errors import ConfigError, DataError, suggestion
from molbt.evaluation.benchmarks.base import METRICS_OF, Benchmark, Task
from molbt.predict.label_cells import read_cells

logger = logging.getLogger(__name__)


class TableBenchmark(Benchmark):
    """Measured values in columns of a table.

    A column of nothing but 0 and 1 is classification, any other regression, unless told; ``task_types`` says which. A row counts for a
    column when it has a label there; all columns share the same splits of all rows.

    With one column there is one task, and so no interval over tasks: a difference on one data set says nothing certain about the next.

    Parameters
    ----------
    path : path
        Any table that ``molbt.data.tables`` reads.
    target : str or sequence of str
        Columns of numbers, or of words for two classes such as active and inactive.
    smiles_column : str
    format : str, optional
        Of the table, where its name does not tell it.
    split : str
        A name in ``molbt.data.splits.SPLITS``; rows of one molecule are never in both parts.
    time_column : str, optional
        Column of numbers (years), or of dates as ISO 8601 has them (2024-05-31), for the split ``time``: the latest molecules are tested.
    test_fraction : float
        Share of rows in the test part; the others are training rows.
    repeats : int
        Number of splits, with ``random_state``, ``random_state + 1``, …
    task_type : {"auto", "regression", "classification"}
    random_state : int

    Raises
    ------
    ConfigError
        If a name or number cannot be used, a split that does not depend on ``random_state`` is to be repeated, or a time column is missing
        for the split ``time`` or given for another.
    DataError
        If a column is missing or holds no number, a row has no time, or a part would be empty.
    """

    name: ClassVar[str] = "table"

    def __init__(
        self,
        path: str | Path,
        *,
        target: str | Sequence[str],
        smiles_column: str = "smiles",
        format: str | None = None,
        split: str = "scaffold",
        time_column: str | None = None,
        test_fraction: float = 0.2,
        repeats: int = 1,
        task_type: str = "auto",
        random_state: int = 0,
    ) -> None:
        targets = [target] if isinstance(target, str) else list(target)
        if not targets or len(set(targets)) < len(targets):
            raise ConfigError(f"expected one or more different target columns, got {targets}; name each once (--target)")
        if not 0 < test_fraction < 1:
            raise ConfigError(f"test_fraction must be between 0 and 1, got {test_fraction}")
        if repeats < 1:
            raise ConfigError(f"repeats must be at least 1, got {repeats}")
        if repeats > 1 and split in DETERMINISTIC:
            raise ConfigError(
                f"the split {split!r} is the same each time, so {repeats} repeats would measure one split; "
                "use repeats=1 (--repeats 1), or 'scaffold_random', 'cluster' or 'random'"
            )
        if task_type not in ("auto", *METRICS_OF):
            raise ConfigError(f"unknown task type {task_type!r}{suggestion(task_type, ('auto', *METRICS_OF))}")
        self.path = Path(path)
        self.split = split
        self.time_column = time_column
        self.test_fraction = test_fraction
        self.random_state = random_state
        table = read_table(self.path, format=format)
        require_column(table.frame, smiles_column, table.source, "--smiles-column")
        # The labels stay out of the frame: a builder sees no more than the molecules.
        self._frame = pd.DataFrame({"smiles": table.frame[smiles_column]})
        self._labels = {column: _labels(table, column) for column in targets}
        self.task_types = {column: self._task_type(column, labels, task_type) for column, labels in self._labels.items()}
        if time_column is not None:
            require_column(table.frame, time_column, table.source, "--time-column")
        times = None if time_column is None else _times(table.frame[time_column])
        self._parts = [self._split(repeat, times) for repeat in range(repeats)]

    def tasks(self) -> Iterator[Task]:
        for column, labels in self._labels.items():
            for repeat, parts in enumerate(self._parts):
                yield Task(column, self._frame, labels, parts, self.task_types[column], self.split, repeat, data_set=self.path.name)

    def settings(self) -> dict[str, Any]:
        return {
            "file": sha256_of(self.path),
            "split": self.split,
            "time_column": self.time_column,
            "test_fraction": self.test_fraction,
            "split_random_state": self.random_state,
            "task_types": self.task_types,
        }

    def _split(self, repeat: int, times: np.ndarray | None) -> dict[str, np.ndarray]:
        fractions = (1 - self.test_fraction, 0.0, self.test_fraction)
        seed = self.random_state + repeat
        return split_parts(self.split, self._frame["smiles"].tolist(), fractions=fractions, random_state=seed, times=times)

    def _task_type(self, column: str, labels: np.ndarray, wanted: str) -> str:
        known = labels[np.isfinite(labels)]
        if len(known) == 0:
            raise DataError(
                f"expected numbers in the column {column!r} of {self.path}, found none; name another target, or write classes as 0 and 1"
            )
        is_binary = bool(np.isin(known, (0.0, 1.0)).all())
        if wanted == "classification" and not is_binary:
            odd = known[~np.isin(known, (0.0, 1.0))][0]
            raise DataError(
                f"classification needs 0 and 1 in the column {column!r} of {self.path}, found {odd:g}; recode it or use regression"
            )
        chosen = ("classification" if is_binary else "regression") if wanted == "auto" else wanted
        logger.info("%s: %s (%d labels, %d different values)", column, chosen, len(known), len(np.unique(known)))
        return chosen


def _labels(table: Table, column: str) -> np.ndarray:
    """Numbers, NaN where there is none; a column that names two classes in words is read as 0 and 1, as `read_cells` does."""
    require_column(table.frame, column, table.source, "--target")
    cells = read_cells(table.frame[column].tolist())
    if not (cells.is_word.any() and cells.names_classes):
        return numeric_column(table, column)
    odd = [f"row {row}: {problem}" for row, problem in enumerate(cells.problems) if problem]
    if odd:
        logger.warning("%d cells of column %r in %s count as missing; the first: %s", len(odd), column, table.source, odd[0])
    return cells.values


def _times(values: pd.Series) -> np.ndarray:
    """Numbers as they are if all are, otherwise days since 1970 of ISO 8601 dates; NaN where there is neither."""
    numbers = (
        pd.to_numeric(values, errors="coerce") if not pd.api.types.is_datetime64_any_dtype(values) else values.isna().map({True: np.nan})
    )
    given = values.notna() & (values.astype("str").str.strip() != "")
    if numbers[given].notna().all():
        return numbers.to_numpy(dtype=np.float64)
    dates = pd.to_datetime(values, format="ISO8601", errors="coerce", utc=True)
    return ((dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)).to_numpy(dtype=np.float64)
