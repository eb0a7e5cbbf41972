"""Which molecule each row of a task is, for the tasks of one data set computed once."""

import numpy as np
import pandas as pd

from molbt.evaluation.benchmarks.base import Task
from molbt.predict.replicates import molecule_numbers


class TaskMolecules:
    """A callable from a task to ``molecule_numbers`` of its rows, ``(rows,)`` int64.

    It remembers the last frame: the tasks of a data set, and the repeats of a task, share theirs.
    """

    def __init__(self) -> None:
        self._last: tuple[pd.DataFrame, np.ndarray] | None = None

    def __call__(self, task: Task) -> np.ndarray:
        if self._last is None or self._last[0] is not task.frame:
            self._last = task.frame, molecule_numbers(task.smiles)
        return self._last[1]
