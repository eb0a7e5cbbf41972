"""Whether intervals and prediction sets of the control hold the truth on test rows as often as they say."""

from dataclasses import replace

import pandas as pd

from molbt.evaluation.benchmarks.base import Benchmark, Task
from molbt.evaluation.controls import CONTROL
from molbt.evaluation.task_molecules import TaskMolecules
from molbt.predict.calibration import FEWEST_ROWS, fit_calibrated
from molbt.predict.coverage import Coverage, interval_coverage, set_coverage
from molbt.predict.features import FeatureBuilder, feature_builders
from molbt.predict.heads import build_head
from molbt.predict.observed_coverage import CONFIDENCES

COLUMNS = ("data_set", "task", "task_type", "split", "repeat", "confidence", "coverage", "low", "high", "width", "n", "n_calibration")
SHARE = 0.25
"""Of the training molecules, kept from the head for calibration."""

NOT_COUNTED = (
    f"Coverage could not be counted: no task has the {FEWEST_ROWS} rows with different labels among {100 * SHARE:g} % of its training rows "
    "that a calibration takes; the warnings say what each has. Give more rows, or leave --coverage out."
)
"""What is said where ``measure_coverage`` returns no rows."""


def measure_coverage(benchmark: Benchmark, *, random_state: int = 0, n_jobs: int = 1) -> pd.DataFrame:
    """Fit the control on three quarters of the training rows of each task, calibrate on the last, and count on the test rows.

    Parameters
    ----------
    benchmark : Benchmark
    random_state : int
        Repeat ``r`` uses ``random_state + r``, for the head and for the choice of calibration molecules.
    n_jobs : int

    Returns
    -------
    DataFrame
        ``COLUMNS``, a row for each task, repeat and level of ``CONFIDENCES``. ``low`` and ``high`` are the 95 % interval (Clopper and
        Pearson) of the coverage for so many test rows; ``width`` is the mean width of the intervals in units of the label, infinite where
        the calibration rows are too few for the level, or the mean number of classes in the sets. Tasks with too few rows for a
        calibration are left out, and that is said in the log; where that is all of them, there are no rows.
    """
    features, _ = CONTROL
    builder, molecules = feature_builders([features], n_jobs=n_jobs)[features], TaskMolecules()
    rows = [row for task in benchmark.tasks() for row in _of_task(task, builder, molecules, random_state + task.repeat, n_jobs)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _of_task(task: Task, builder: FeatureBuilder, molecules: TaskMolecules, seed: int, n_jobs: int) -> list[tuple[object, ...]]:
    train, test = task.parts["train"], task.parts["test"]
    smiles = task.smiles
    built = replace(builder(smiles), molecules=molecules(task))
    head = build_head(CONTROL[1], task.task_type, random_state=seed, n_jobs=n_jobs)
    of_train = [smiles[row] for row in train.tolist()]
    calibration = fit_calibrated(head, built.rows(train), task.y[train], of_train, SHARE, name=task.name).calibration
    if calibration is None:
        return []
    conformal, labels, predictions = calibration.conformal, task.y[test], head.predict(built.rows(test))
    rows: list[tuple[object, ...]] = []
    for confidence in CONFIDENCES:
        if task.task_type == "regression":
            found: Coverage
            intervals = interval_coverage(labels, conformal.intervals(predictions, confidence))
            found, width = intervals, intervals.mean_width
        else:
            sets = set_coverage(labels, conformal.p_values(predictions), conformal.sets(predictions, confidence))
            found, width = sets, sets.single + 2 * sets.both
        rows.append(
            (
                *(task.data_set or task.name, task.name, task.task_type, task.split, task.repeat),
                *(confidence, found.covered, found.low, found.high, width, found.n, calibration.summary.n_rows),
            )
        )
    return rows
