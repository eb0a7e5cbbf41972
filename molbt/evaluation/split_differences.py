"""What several random splits of one data set say of a difference between two methods."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from molbt.evaluation.metrics import find_metric
from molbt.evaluation.statistics import CONFIDENCE

FEWEST_SPLITS = 5
"""With fewer splits the interval would rest on a guess of the spread."""


def split_differences(results: pd.DataFrame, control: tuple[str, str]) -> pd.DataFrame:
    """Return the difference of each features and head to a control, split by split of one data set.

    Splits share their training molecules, so that a t-interval over them is far too narrow: the variance is multiplied by
    ``1/J + n_test / n_train`` instead of ``1/J``. Such an interval is about other splits of the same molecules and says nothing of other
    data, for which ``paired_differences`` needs several data sets.

    Parameters
    ----------
    results : DataFrame
        One metric of one benchmark and one share of the labels, with the columns task, repeat, features, head, metric, value, and n_train
        and n_test, without which there is no interval. Several tasks are columns of the one data set; they are averaged within a split.
    control : (features, head)

    Returns
    -------
    DataFrame
        Columns features, head, mean_difference (value − control), ci_low, ci_high, n_splits, wins, losses and claim ("better", "worse" or
        "no difference shown"), the most favourable first. Without rows where there are several data sets, fewer than ``FEWEST_SPLITS``
        splits, or no control.

    References
    ----------
    Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 2003, 52, 239-281, section 3 (corrected resampled t).
    """
    names = ["features", "head", "mean_difference", "ci_low", "ci_high", "n_splits", "wins", "losses", "claim"]
    if not {"n_train", "n_test"} <= set(results.columns):
        return pd.DataFrame(columns=names)
    data_set = "data_set" if "data_set" in results.columns else "task"
    cells = results.pivot_table(index=["task", "repeat"], columns=["features", "head"], values="value", aggfunc="mean")
    if results[data_set].nunique() != 1 or results["repeat"].nunique() < FEWEST_SPLITS or tuple(control) not in cells.columns:
        return pd.DataFrame(columns=names)
    sign = 1 if find_metric(str(results["metric"].iloc[0]))[0].larger_is_better else -1
    test_to_train = float((results["n_test"] / results["n_train"]).mean())
    rows = []
    cell: Any
    for cell in cells.columns:
        features, head = cell
        if cell == tuple(control):
            continue
        paired = (cells[features, head] - cells[tuple(control)]).dropna()
        values = paired.groupby(level="repeat").mean().to_numpy()
        if len(values) < FEWEST_SPLITS:
            continue
        mean, half = float(values.mean()), corrected_half_width(values, test_to_train)
        claim = "no difference shown" if abs(mean) <= half else "better" if sign * mean > 0 else "worse"
        gains = sign * values
        rows.append((features, head, mean, mean - half, mean + half, len(values), int((gains > 0).sum()), int((gains < 0).sum()), claim))
    table = pd.DataFrame(rows, columns=names)
    return table.sort_values("mean_difference", ascending=sign < 0, kind="stable").reset_index(drop=True)


def corrected_half_width(differences: np.ndarray, test_to_train: float) -> float:
    """Return half of the 95 % interval of a mean difference over random splits: corrected resampled t of Nadeau and Bengio.

    Parameters
    ----------
    differences : ndarray of shape (splits,)
        Two or more.
    test_to_train : float
        Test rows over training rows of a split.
    """
    n = len(differences)
    variance = float(np.var(differences, ddof=1)) * (1 / n + test_to_train)
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * float(np.sqrt(variance))
