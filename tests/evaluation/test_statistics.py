import numpy as np
import pandas as pd
import pytest
from scipy import stats

from molbt.errors import DataError
from molbt.evaluation.benchmarks.base import RESULT_COLUMNS
from molbt.evaluation.statistics import paired_differences, summarise, values_by_data_set


def results_of(
    values: dict[str, list[list[float]]], metric: str = "rmse", *, data_sets: list[str] | None = None, fraction: float = 1.0
) -> pd.DataFrame:
    """``values[features][task][repeat]``, all with the head ``h``."""
    rows = [
        ("b", data_sets[task] if data_sets else f"t{task}", f"t{task}", "s", repeat, fraction, features, "h", metric, value, 10, 5)
        for features, tasks in values.items()
        for task, repeats in enumerate(tasks)
        for repeat, value in enumerate(repeats)
    ]
    return pd.DataFrame(rows, columns=list(RESULT_COLUMNS))


def test_summarise_averages_repeats_first_and_gives_the_t_interval_of_scipy() -> None:
    table = summarise(results_of({"x": [[1.0, 3.0], [5.0], [4.0, 4.0, 4.0]]}))
    units = np.array([2.0, 5.0, 4.0])
    interval = stats.t.interval(0.95, 2, loc=units.mean(), scale=stats.sem(units))
    row = table.iloc[0]
    assert row["mean"] == pytest.approx(11 / 3)
    assert row["standard_error"] == pytest.approx(stats.sem(units))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(interval)
    assert (row["n_tasks"], row["n_undefined"]) == (3, 0)


def test_summarise_puts_the_best_first() -> None:
    values = {"high": [[2.0], [3.0]], "low": [[1.0], [2.0]]}
    assert summarise(results_of(values))["features"].tolist() == ["low", "high"]
    assert summarise(results_of(values, "r2"))["features"].tolist() == ["high", "low"]


def test_summarise_leaves_undefined_values_out_and_counts_them() -> None:
    row = summarise(results_of({"x": [[1.0, np.nan], [np.nan, np.nan], [3.0, 3.0]]})).iloc[0]
    assert (row["mean"], row["n_tasks"], row["n_undefined"]) == (2.0, 2, 3)


def test_summarise_of_undefined_values_only_is_nan() -> None:
    row = summarise(results_of({"x": [[np.nan]]})).iloc[0]
    assert np.isnan(row["mean"])
    assert (row["n_tasks"], row["n_undefined"]) == (0, 1)


def test_summarise_of_one_task_has_no_interval() -> None:
    row = summarise(results_of({"x": [[1.0, 2.0]]})).iloc[0]
    assert row["mean"] == 1.5
    assert np.isnan([row["standard_error"], row["ci_low"], row["ci_high"]]).all()


def test_correlated_tasks_count_as_one_unit() -> None:
    results = results_of({"x": [[0.0], [2.0], [7.0]]})
    row = summarise(results, group_of=lambda task: "panel" if task in ("t0", "t1") else task).iloc[0]
    assert (row["mean"], row["n_tasks"]) == (4.0, 2)


def test_columns_of_a_data_set_are_averaged_before_the_interval() -> None:
    """Two data sets of three and one columns: two witnesses, whatever the number of columns."""
    data_sets = ["panel", "panel", "panel", "single"]
    values = {"control": [[0.5], [0.6], [0.7], [0.9]], "other": [[0.6], [0.9], [0.7], [1.0]]}
    results = results_of(values, "roc_auc", data_sets=data_sets)
    units = {"control": np.array([0.6, 0.9]), "other": np.array([2.2 / 3, 1.0])}
    table = summarise(results).set_index("features")
    for features, expected in units.items():
        assert table.loc[features, "mean"] == pytest.approx(expected.mean())
        assert table.loc[features, "n_tasks"] == 2
        low, high = stats.t.interval(0.95, 1, loc=expected.mean(), scale=stats.sem(expected))
        assert table.loc[features, ["ci_low", "ci_high"]].tolist() == pytest.approx([low, high])
    reference = stats.ttest_rel(units["other"], units["control"]).confidence_interval(0.95)
    row = paired_differences(results, ("control", "h")).iloc[0]
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((reference.low, reference.high))
    assert (row["n_tasks"], row["wins"], row["losses"]) == (2, 2, 0)


def test_columns_are_paired_before_they_are_averaged() -> None:
    # The second column has no value for the control: it must not enter the other's mean either.
    values = {"control": [[0.5], [np.nan]], "other": [[0.6], [0.1]]}
    row = paired_differences(results_of(values, "roc_auc", data_sets=["panel", "panel"]), ("control", "h")).iloc[0]
    assert row["mean_difference"] == pytest.approx(0.1)


def test_a_caller_may_group_otherwise_than_the_data_sets_say() -> None:
    results = results_of({"x": [[0.0], [2.0], [7.0]]}, data_sets=["a", "b", "b"])
    assert summarise(results, group_of=lambda task: "b" if task == "t1" else "a").iloc[0]["mean"] == (3.5 + 2.0) / 2


def test_results_without_the_newer_columns_count_each_task_at_all_labels() -> None:
    results = results_of({"control": [[1.0], [2.0]], "other": [[2.0], [4.0]]})
    older = results.drop(columns=["data_set", "fraction"])
    pd.testing.assert_frame_equal(summarise(older), summarise(results))
    pd.testing.assert_frame_equal(paired_differences(older, ("control", "h")), paired_differences(results, ("control", "h")))


def test_fractions_of_the_labels_are_told_apart() -> None:
    few = results_of({"control": [[4.0], [6.0]], "other": [[1.0], [2.0]]}, fraction=0.1)
    all_labels = results_of({"control": [[1.0], [1.0]], "other": [[2.0], [3.0]]})
    results = pd.concat([few, all_labels], ignore_index=True)
    means = summarise(results).set_index(["fraction", "features"])["mean"]
    assert means.to_dict() == {(0.1, "control"): 5.0, (0.1, "other"): 1.5, (1.0, "control"): 1.0, (1.0, "other"): 2.5}
    differences = paired_differences(results, ("control", "h")).set_index("fraction")["mean_difference"]
    assert differences.to_dict() == {0.1: -3.5, 1.0: 1.5}


def test_values_by_data_set_average_repeats_then_columns() -> None:
    results = results_of({"x": [[0.0, 1.0], [2.0, 3.0], [7.0]], "y": [[1.0], [1.0], [np.nan]]}, data_sets=["z", "z", "a"])
    table = values_by_data_set(results, "rmse")
    assert list(table.columns) == ["z", "a"]
    assert table.loc[("x", "h")].tolist() == [1.5, 7.0]
    assert table.loc[("y", "h"), "z"] == 1.0
    assert np.isnan(table.loc[("y", "h"), "a"])


def test_paired_differences_equal_the_paired_t_test_of_scipy() -> None:
    rng = np.random.default_rng(0)
    control = rng.normal(size=12)
    other = control + rng.normal(0.3, 0.4, size=12)
    table = paired_differences(results_of({"control": control[:, None].tolist(), "other": other[:, None].tolist()}), ("control", "h"))
    reference = stats.ttest_rel(other, control).confidence_interval(0.95)
    row = table.iloc[0]
    assert len(table) == 1
    assert (row["features"], row["head"], row["control"]) == ("other", "h", "control × h")
    assert row["mean_difference"] == pytest.approx((other - control).mean())
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((reference.low, reference.high))
    assert (row["wins"], row["losses"]) == ((other < control).sum(), (other > control).sum())


@pytest.mark.parametrize(
    ("differences", "metric", "claim"),
    [
        ([-0.2, -0.3, -0.25, -0.2, -0.3], "rmse", "better"),
        ([-0.2, -0.3, -0.25, -0.2, -0.3], "roc_auc", "worse"),
        ([0.2, 0.3, 0.25, 0.2, 0.3], "rmse_cliff", "worse"),
        ([0.2, 0.3, 0.25, 0.2, 0.3], "delta_auprc", "better"),
        ([0.5, -0.4, 0.1, 0.5, -0.4], "rmse", "no difference shown"),
        ([0.0, 0.0, 0.0, 0.0, 0.0], "rmse", "no difference shown"),
        ([-0.2, -0.3, -0.25, -0.2], "rmse", "too few to tell"),  # its interval excludes zero too
        ([-0.9], "rmse", "too few to tell"),
    ],
)
def test_claims_are_made_only_when_the_interval_of_five_or_more_excludes_zero(differences, metric, claim) -> None:
    values = {"control": [[1.0]] * len(differences), "other": [[1.0 + difference] for difference in differences]}
    assert paired_differences(results_of(values, metric), ("control", "h"))["claim"].tolist() == [claim]


def test_paired_differences_use_only_tasks_that_both_have() -> None:
    results = results_of({"control": [[1.0], [2.0], [np.nan]], "other": [[2.0], [4.0], [9.0], [9.0]]})
    row = paired_differences(results, ("control", "h")).iloc[0]
    assert (row["mean_difference"], row["n_tasks"], row["losses"]) == (1.5, 2, 2)


def test_paired_differences_refuse_a_control_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"counts × svm is not in the results \(x × h\)"):
        paired_differences(results_of({"x": [[1.0]]}), ("counts", "svm"))


def test_statistics_do_not_depend_on_the_order_of_rows() -> None:
    results = results_of({"control": [[1.0, 1.5], [2.0, 2.5]], "other": [[2.0, 3.0], [4.0, 1.0]]})
    shuffled = results.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(summarise(results), summarise(shuffled))
    pd.testing.assert_frame_equal(paired_differences(results, ("control", "h")), paired_differences(shuffled, ("control", "h")))
