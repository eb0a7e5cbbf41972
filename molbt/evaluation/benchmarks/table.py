"""A user's own file: one task per target column, split here by name."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from molbt.data.files import sha256_of
from molbt.data.splits import DETERMINISTIC, split_parts
from molbt.data.tables import read_table, require_column
from molbt.errors import ConfigError
from molbt.evaluation.benchmarks.base import Benchmark, Task
from molbt.predict.label_policy import LabelPolicy
from molbt.predict.table_labels import table_labels


class TableBenchmark(Benchmark):
    """Measured values in columns of a table.

    Labels are made as ``molbt fit`` makes them (``molbt.predict.labels``): a column of nothing but 0 and 1, or of words for two classes, is
    classification, any other regression, unless told; ``task_types`` says which. A row counts for a column when it has a label there, and
    ``notes`` counts the others by reason. All columns share the same splits of all rows.

    With one column there is one task, and so no interval over tasks: a difference on one data set says nothing certain about the next.

    Parameters
    ----------
    path : path
        Any table that ``molbt.data.tables`` reads.
    target : str or sequence of str
        Columns of numbers, or of words for two classes such as active and inactive.
    policy : LabelPolicy, optional
        Units, bounds, replicates and thresholds.
    relation_columns : sequence of str
        As in ``table_labels``.
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
    random_state : int

    Raises
    ------
    ConfigError
        If a name or number cannot be used, a split that does not depend on ``random_state`` is to be repeated, or a time column is missing
        for the split ``time`` or given for another.
    DataError
        If a column is missing or leaves no label, a row has no time, or a part would be empty.
    """

    name: ClassVar[str] = "table"

    def __init__(
        self,
        path: str | Path,
        *,
        target: str | Sequence[str],
        policy: LabelPolicy | None = None,
        relation_columns: Sequence[str] = (),
        smiles_column: str = "smiles",
        format: str | None = None,
        split: str = "scaffold",
        time_column: str | None = None,
        test_fraction: float = 0.2,
        repeats: int = 1,
        random_state: int = 0,
    ) -> None:
        targets = [target] if isinstance(target, str) else list(target)
        if not 0 < test_fraction < 1:
            raise ConfigError(f"test_fraction must be between 0 and 1, got {test_fraction}")
        if repeats < 1:
            raise ConfigError(f"repeats must be at least 1, got {repeats}")
        if repeats > 1 and split in DETERMINISTIC:
            raise ConfigError(
                f"the split {split!r} is the same each time, so {repeats} repeats would measure one split; "
                "use repeats=1 (--repeats 1), or 'scaffold_random', 'cluster' or 'random'"
            )
        self.path = Path(path)
        self.split = split
        self.time_column = time_column
        self.test_fraction = test_fraction
        self.random_state = random_state
        table = read_table(self.path, format=format)
        require_column(table.frame, smiles_column, table.source, "--smiles-column")
        # The labels stay out of the frame: a builder sees no more than the molecules.
        self._frame = pd.DataFrame({"smiles": table.frame[smiles_column]})
        self.policy, self.relation_columns = policy or LabelPolicy(), list(relation_columns)
        smiles = self._frame["smiles"].tolist()
        self.labels = table_labels(table, targets, smiles, self.policy, relation_columns=self.relation_columns)
        self.task_types = {entry.name: entry.task_type for entry in self.labels}
        self.label_unit = next((entry.unit for entry in self.labels if entry.unit), "")
        if time_column is not None:
            require_column(table.frame, time_column, table.source, "--time-column")
        times = None if time_column is None else _times(table.frame[time_column])
        self._parts = [self._split(repeat, times) for repeat in range(repeats)]

    def tasks(self) -> Iterator[Task]:
        for entry in self.labels:
            for repeat, parts in enumerate(self._parts):
                yield Task(entry.name, self._frame, entry.values, parts, entry.task_type, self.split, repeat, data_set=self.path.name)

    def label_units(self) -> dict[str, str]:
        return {entry.name: entry.unit or "" for entry in self.labels if entry.task_type == "regression"}

    def notes(self) -> list[str]:
        """Return what the labels of each target are, what was left out, and by which policy."""
        return [*(entry.summary() for entry in self.labels), f"Policy of labels: {self.policy.summary()}."]

    def settings(self) -> dict[str, Any]:
        return {
            "file": sha256_of(self.path),
            "split": self.split,
            "time_column": self.time_column,
            "test_fraction": self.test_fraction,
            "split_random_state": self.random_state,
            "task_types": self.task_types,
            "label_policy": asdict(self.policy),
            "relation_columns": self.relation_columns,
        }

    def _split(self, repeat: int, times: np.ndarray | None) -> dict[str, np.ndarray]:
        fractions = (1 - self.test_fraction, 0.0, self.test_fraction)
        seed = self.random_state + repeat
        return split_parts(self.split, self._frame["smiles"].tolist(), fractions=fractions, random_state=seed, times=times)


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
