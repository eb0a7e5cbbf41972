"""Intervals over splits of one data set, against the published formula and against simulated splits."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from molbt.evaluation.split_differences import split_differences

CONTROL = ("counts", "ridge")


def results_of(values: dict[tuple[str, str], list[list[float]]], *, metric: str = "rmse", **columns: object) -> pd.DataFrame:
    """Values by task and split."""
    rows = [
        {"benchmark": "table", "data_set": "mine", "task": f"t{task}", "repeat": repeat, "features": features, "head": head, "value": value}
        for (features, head), by_task in values.items()
        for task, of_task in enumerate(by_task)
        for repeat, value in enumerate(of_task)
    ]
    return pd.DataFrame(rows).assign(metric=metric, n_train=80, n_test=20, **columns)


def half_width(differences: np.ndarray, test_to_train: float) -> float:
    """The corrected resampled t of Nadeau and Bengio, written out."""
    n = len(differences)
    return stats.t.ppf(0.975, n - 1) * np.sqrt((1 / n + test_to_train) * differences.var(ddof=1))


@pytest.mark.parametrize(("metric", "claim"), [("rmse", "worse"), ("roc_auc", "better")])
def test_splits_of_one_data_set_give_an_interval(metric, claim):
    base = [0.5, 0.6, 0.4, 0.55, 0.45]
    gains = [0.10, 0.12, 0.11, 0.09, 0.10]
    values = {CONTROL: [base], ("embedding", "ridge"): [[b + g for b, g in zip(base, gains, strict=True)]]}
    (row,) = split_differences(results_of(values, metric=metric), CONTROL).to_dict("records")
    half = half_width(np.array(gains), 0.25)
    assert (row["mean_difference"], row["ci_low"], row["ci_high"]) == pytest.approx((0.104, 0.104 - half, 0.104 + half))
    assert (row["claim"], row["n_splits"]) == (claim, 5)
    assert (row["wins"], row["losses"]) == ((0, 5) if metric == "rmse" else (5, 0))


def test_targets_of_one_file_are_averaged_within_a_split():
    values = {CONTROL: [[0.0] * 5, [0.0] * 5], ("embedding", "ridge"): [[0.1] * 5, [0.3, 0.2, 0.1, 0.2, 0.2]]}
    (row,) = split_differences(results_of(values), CONTROL).to_dict("records")
    assert row["mean_difference"] == pytest.approx(0.15)
    assert row["ci_high"] - row["mean_difference"] == pytest.approx(half_width(np.array([0.2, 0.15, 0.1, 0.15, 0.15]), 0.25))


def test_without_enough_splits_or_with_several_data_sets_there_is_none():
    few = {CONTROL: [[0.5] * 4], ("embedding", "ridge"): [[0.1, 0.2, 0.3, 0.4]]}
    assert split_differences(results_of(few), CONTROL).empty
    many = {CONTROL: [[0.5] * 5] * 2, ("embedding", "ridge"): [[0.1, 0.2, 0.3, 0.4, 0.5]] * 2}
    results = results_of(many)
    assert len(split_differences(results, CONTROL)) == 1
    assert split_differences(results.assign(data_set=results["task"]), CONTROL).empty
    assert split_differences(results, ("pca", "ridge")).empty
    assert split_differences(results.drop(columns="n_train"), CONTROL).empty


def test_the_interval_covers_what_other_splits_give_and_the_plain_one_does_not():
    """Two predictors whose errors belong to the molecules: splits share what they disagree on."""
    draw = np.random.default_rng(0)
    covered = {"corrected": 0, "plain": 0}
    for _ in range(300):
        error = draw.normal(size=200)  # difference of the squared errors of each molecule; its population mean is 0
        differences = [error[draw.permutation(200)[:40]].mean() for _ in range(10)]
        results = results_of({CONTROL: [[0.0] * 10], ("embedding", "ridge"): [differences]}).assign(n_train=160, n_test=40)
        (row,) = split_differences(results, CONTROL).to_dict("records")
        covered["corrected"] += row["ci_low"] <= 0 <= row["ci_high"]
        covered["plain"] += abs(np.mean(differences)) <= half_width(np.array(differences), 0.0)
    assert covered["corrected"] / 300 > 0.92
    assert covered["plain"] / 300 < 0.85
