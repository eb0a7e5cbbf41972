"""Synthetic results of 24 tasks whose means, differences and intervals can be worked out by hand."""

from collections.abc import Mapping

import pandas as pd

CONTROL = ("counts", "tanimoto_svm")
N_TASKS = 24
# Two repeats, and half the tasks on each side of the mean: the standard error of a difference with spread s is s / sqrt(23).
CELLS = {
    CONTROL: (0.0, 0.0),
    ("counts", "lightgbm"): (0.02, 0.02),
    ("descriptors", "lightgbm"): (0.06, 0.08),
    ("counts+descriptors", "lightgbm"): (0.03, 0.03),
    ("pca", "lightgbm"): (0.09, 0.06),
    ("untrained", "lightgbm"): (0.11, 0.07),
    ("embedding", "lightgbm"): (0.05, 0.05),
    ("counts+embedding", "lightgbm"): (0.002, 0.04),
    ("counts+embedding", "tanimoto_svm"): (-0.0097, 0.015),
}


def make_results(
    cells: Mapping[tuple[str, str], tuple[float, float]], *, n_tasks: int = N_TASKS, repeats: int = 2, metrics: tuple[str, ...] = ("rmse",)
) -> pd.DataFrame:
    """Each cell is (mean difference to the base of a task, spread): tasks lie one spread above and below that mean, in turn."""
    rows = []
    for metric in metrics:
        for task in range(n_tasks):
            base = 0.55 + 0.01 * task
            for (features, head), (difference, spread) in cells.items():
                for repeat in range(repeats):
                    # The repeats lie on both sides of the task's value, so that only their mean is that value.
                    value = base + difference + (spread if task % 2 else -spread) + 0.004 * (repeat - (repeats - 1) / 2)
                    rows.append(("synthetic", f"CHEMBL{1800 + task}_Ki", "published", repeat, features, head, metric, value, 600, 150))
    columns = ["benchmark", "task", "split", "repeat", "features", "head", "metric", "value", "n_train", "n_test"]
    return pd.DataFrame(rows, columns=columns)
