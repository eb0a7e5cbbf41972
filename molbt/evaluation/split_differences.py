"""What several random splits of one data set say of a difference between two methods."""

from typing import Any

import pandas as pd

from molbt.evaluation.metrics import find_metric
from molbt.predict.fold_differences import FEWEST_FOLDS, corrected_interval

FEWEST_SPLITS = FEWEST_FOLDS
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
    Nadeau and Bengio 2003, as in ``molbt.predict.fold_differences``.
    """
    names = ["features", "head", "mean_difference", "ci_low", "ci_high", "n_splits", "wins", "losses", "claim"]
    if not {"n_train", "n_test"} <= set(results.columns):
        return pd.DataFrame(columns=names)
    data_set = "data_set" if "data_set" in results.columns else "task"
    cells = results.pivot_table(index=["task", "repeat"], columns=["features", "head"], values="value", aggfunc="mean")
    if results[data_set].nunique() != 1 or results["repeat"].nunique() < FEWEST_SPLITS or tuple(control) not in cells.columns:
        return pd.DataFrame(columns=names)
    sign = 1 if find_metric(str(results["metric"].iloc[0]))[0].larger_is_better else -1
    test_share = float((results["n_test"] / (results["n_test"] + results["n_train"])).mean())
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
        mean, low, high = corrected_interval(values, test_share)
        claim = "no difference shown" if low <= 0 <= high else "better" if sign * mean > 0 else "worse"
        gains = sign * values
        rows.append((features, head, mean, low, high, len(values), int((gains > 0).sum()), int((gains < 0).sum()), claim))
    table = pd.DataFrame(rows, columns=names)
    return table.sort_values("mean_difference", ascending=sign < 0, kind="stable").reset_index(drop=True)
