"""The contract of a benchmark: it yields tasks, names its metrics, and may bring published results on the same tasks."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from molbt.errors import DataError, ShapeError

RESULT_COLUMNS = (
    *("benchmark", "data_set", "task", "split", "repeat", "fraction"),
    *("features", "head", "metric", "value", "n_train", "n_test"),
)
"""Columns of every results table, ours and published. Intervals are over ``data_set``; ``fraction`` is the share of the training labels
that was used, and ``n_test`` the number of rows the value was computed on."""

METRICS_OF = {
    "regression": ("rmse", "mae", "r2"),
    "classification": ("roc_auc", "average_precision", "delta_auprc"),
}


@dataclass(frozen=True, eq=False)
class Task:
    """One prediction problem with labels.

    Parameters
    ----------
    name : str
    frame : DataFrame
        With a column ``smiles``, one row per label.
    y : ndarray of shape (rows,), float64
        The label: a value (its unit is the benchmark's to say), or 0 and 1; NaN where missing.
    parts : mapping of str to ndarray of int
        Row positions of ``train``, ``test`` and, where there is one, ``valid``. Parts share no row.
    task_type : {"regression", "classification"}
    split : str
        Name of the split that made the parts.
    repeat : int
        Which of several splits of the same data this is.
    groups : mapping of str to ndarray of shape (rows,), bool
        Kinds of rows that metrics are also computed on, such as ``cliff``.
    data_set : str, optional
        What the task is a column of: tasks of one data set share molecules, so they are averaged before intervals are computed. By default
        the task is a data set of its own.
    """

    name: str
    frame: pd.DataFrame
    y: np.ndarray
    parts: Mapping[str, np.ndarray]
    task_type: str = "regression"
    split: str = "published"
    repeat: int = 0
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)
    data_set: str | None = None

    def __post_init__(self) -> None:
        n = len(self.frame)
        if "smiles" not in self.frame.columns:
            raise DataError(f"the frame of task {self.name!r} needs a column 'smiles', got {list(self.frame.columns)}")
        for what, array in {"y": self.y, **self.groups}.items():
            if array.shape != (n,):
                raise ShapeError(f"{what!r} of task {self.name!r} must have shape ({n},), got {array.shape}")
        if not {"train", "test"} <= set(self.parts):
            raise DataError(f"task {self.name!r} needs the parts 'train' and 'test', got {sorted(self.parts)}")
        members = np.concatenate([np.asarray(part, dtype=np.int64) for part in self.parts.values()])
        if len(np.unique(members)) != len(members) or (len(members) and not 0 <= members.min() <= members.max() < n):
            raise DataError(f"the parts of task {self.name!r} must be distinct rows of its {n}; check the split {self.split!r}")

    @property
    def smiles(self) -> list[str]:
        return self.frame["smiles"].tolist()


class Benchmark(ABC):
    """Tasks with their metrics. A subclass is constructed with what it needs to find its data."""

    name: ClassVar[str]
    label_unit: str = ""
    """Unit of the labels, for captions; empty where there is none or it is the user's to know."""

    def label_units(self) -> Mapping[str, str]:
        """Return the unit of each regression task where they are not all in the same: ``""`` for one that is unknown.

        Errors in different units, or in unknown ones, are never averaged.
        """
        return {}

    @abstractmethod
    def tasks(self) -> Iterator[Task]:
        """Yield the tasks, always in the same order. Repeats of a task share its name."""

    def metrics(self, task: Task) -> tuple[str, ...]:
        """Return the names of the metrics of a task; ``rmse_cliff`` is ``rmse`` on the group ``cliff``."""
        return METRICS_OF[task.task_type]

    def published(self) -> pd.DataFrame | None:
        """Return published results on these very tasks, with ``RESULT_COLUMNS``, or None where there are none."""
        return None

    def notes(self) -> list[str]:
        """Return sentences that a reader of the results must know, such as what was left out."""
        return []

    def settings(self) -> dict[str, Any]:
        """Return what the tasks depend on, as JSON values: a restarted evaluation refuses results made with other settings."""
        return {}
