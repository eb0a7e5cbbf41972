import math

import numpy as np
import pandas as pd
import pytest
from synthetic_results import CELLS, CONTROL, make_results

from molbt.errors import DataError
from molbt.report.comparison import compare
from molbt.report.verdict import contrasts, protocol_sentence, verdict

# Student's t, 23 degrees of freedom, 97.5 %: printed tables.
T_23 = 2.0687
ENCODER = ("embedding", "lightgbm")


def half_width(spread: float) -> float:
    """Of 24 values half of which lie one spread above their mean and half below: the standard error is spread / √23."""
    return T_23 * spread / math.sqrt(23)


def one_encoder(difference: float, spread: float, **options: object) -> pd.DataFrame:
    return make_results({CONTROL: (0.0, 0.0), ENCODER: (difference, spread)}, **options)  # type: ignore[arg-type]


def test_rows_hold_the_differences_and_intervals_worked_out_by_hand(results: pd.DataFrame) -> None:
    (comparison,) = compare(results, CONTROL, "rmse")
    assert {row.cell for row in comparison.rows} == set(CELLS)
    for row in comparison.rows:
        if row.cell == CONTROL:
            assert row.claim == "the control"
            assert math.isnan(row.difference)
            continue
        difference, spread = CELLS[row.cell]
        assert row.difference == pytest.approx(difference)
        assert row.ci_low == pytest.approx(difference - half_width(spread), abs=1e-5)
        assert row.ci_high == pytest.approx(difference + half_width(spread), abs=1e-5)
        assert (row.n_tasks, row.n_paired) == (24, 24)


def test_roles_tell_the_encoder_from_the_controls_and_the_published(results: pd.DataFrame, published: pd.DataFrame) -> None:
    (comparison,) = compare(results, CONTROL, "rmse", published=published)
    roles = {row.cell: row.role for row in comparison.rows}
    assert roles[CONTROL] == "the control"
    assert {cell for cell, role in roles.items() if role == "encoder"} == {cell for cell in CELLS if "embedding" in cell[0]}
    assert roles["untrained", "lightgbm"] == roles["pca", "lightgbm"] == "control"
    assert {role for (features, _), role in roles.items() if features.endswith("(published)")} == {"published"}


def test_published_tasks_that_were_not_run_are_left_out(published: pd.DataFrame) -> None:
    (comparison,) = compare(make_results(CELLS, n_tasks=5), CONTROL, "rmse", published=published)
    assert {row.n_tasks for row in comparison.rows} == {5}


def test_published_rows_are_kept_apart_from_our_own_of_the_same_name() -> None:
    own = one_encoder(0.1, 0.0)
    (comparison,) = compare(own, CONTROL, "rmse", published=own[own["features"] == "counts"].assign(value=0.1))
    by_cell = {row.cell: row for row in comparison.rows}
    assert by_cell["counts (published)", "tanimoto_svm"].mean == pytest.approx(0.1)
    assert by_cell[CONTROL].mean == pytest.approx(0.55 + 0.01 * 11.5)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("share", [0.9, 1.1])
def test_verdict_says_no_difference_shown_exactly_when_the_interval_includes_zero(sign: int, share: float) -> None:
    spread = 0.05
    (comparison,) = compare(one_encoder(sign * share * half_width(spread), spread), CONTROL, "rmse")
    headline = verdict(comparison).headline
    assert ("no difference shown" in headline) == (share < 1)
    assert ("is better" in headline) == (share > 1 and sign < 0)
    assert ("is worse" in headline) == (share > 1 and sign > 0)


def test_verdict_follows_the_direction_of_the_metric() -> None:
    higher = one_encoder(0.1, 0.02).replace({"metric": {"rmse": "roc_auc"}})
    (comparison,) = compare(higher, CONTROL, "roc_auc")
    assert "is better" in verdict(comparison).headline


def test_verdict_gives_the_number_the_interval_and_the_counts() -> None:
    spread = 0.015
    (comparison,) = compare(one_encoder(-0.010, spread), CONTROL, "rmse")
    detail = verdict(comparison, "pKi").detail
    # −0.010 ± 2.0687 · 0.015 / √23 = −0.010 ± 0.00647, and 12 tasks on each side.
    assert "−0.0100 (95 % interval −0.0165 to −0.0035)" in detail
    assert "better on 12 and worse on 12 of 24 tasks" in detail
    assert "RMSE (pKi)" in detail


def test_verdict_claims_nothing_with_one_task() -> None:
    (comparison,) = compare(one_encoder(-0.2, 0.0, n_tasks=1, repeats=3), CONTROL, "rmse")
    said = verdict(comparison)
    assert "no interval over tasks exists" in said.headline
    assert "better" not in said.headline
    assert "no interval over tasks" in protocol_sentence(comparison)
    assert {row.claim for row in comparison.rows} == {"too few tasks to tell (1)", "the control"}
    assert list(comparison.task_differences.index) == [0, 1, 2]


@pytest.mark.parametrize("n_tasks", [2, 3, 4])
def test_nothing_is_called_better_over_fewer_than_five_tasks(n_tasks: int) -> None:
    # Every task by the same: the interval is as narrow as can be, and excludes zero.
    (comparison,) = compare(one_encoder(-0.2, 0.0, n_tasks=n_tasks), CONTROL, "rmse")
    said = verdict(comparison)
    assert f"Too few tasks to tell ({n_tasks}, 5 are needed)" in said.headline
    assert "no claims" in protocol_sentence(comparison)
    assert {row.claim for row in comparison.rows} == {f"too few tasks to tell ({n_tasks})", "the control"}
    assert comparison.between(ENCODER, CONTROL).claim == f"too few tasks to tell ({n_tasks})"
    words = [*said.headline.split(), *said.detail.replace("(lower is better)", "").split()]
    assert not {"better", "worse", "best"} & {word.strip(".,;:") for word in words}
    (five,) = compare(one_encoder(-0.2, 0.0, n_tasks=5), CONTROL, "rmse")
    assert "is better" in verdict(five).headline


def test_numbers_over_two_tasks_keep_their_digits_whatever_the_interval() -> None:
    (comparison,) = compare(one_encoder(0.1, 0.09, n_tasks=2), CONTROL, "rmse")
    assert comparison.decimals == 3


def test_verdict_does_not_praise_an_encoder_that_another_control_beats() -> None:
    cells = {CONTROL: (0.0, 0.0), ENCODER: (-0.05, 0.01), ("untrained", "lightgbm"): (-0.08, 0.01)}
    (comparison,) = compare(make_results(cells), CONTROL, "rmse")
    said = verdict(comparison)
    assert "not shown to be better than another control, untrained × lightgbm" in said.headline
    # −0.05 + 0.08, the same spread on every task.
    assert "+0.0300" in said.detail


def test_verdict_without_an_encoder_says_so() -> None:
    (comparison,) = compare(make_results({CONTROL: (0.0, 0.0), ("counts", "lightgbm"): (0.1, 0.1)}), CONTROL, "rmse")
    assert "controls alone" in verdict(comparison).headline


def test_verdict_without_a_task_in_common_says_so() -> None:
    results = one_encoder(0.1, 0.0)
    results.loc[results["features"] == "embedding", "value"] = np.nan
    (comparison,) = compare(results, CONTROL, "rmse")
    assert "cannot be compared" in verdict(comparison).headline


def test_contrasts_take_the_encoder_apart(results: pd.DataFrame) -> None:
    (comparison,) = compare(results, CONTROL, "rmse")
    found = {(contrast.first, contrast.second): contrast for contrast in contrasts(comparison)}
    trained = found["embedding × lightgbm", "untrained × lightgbm"]
    # Means .05 and .11, spreads .05 and .07 in step with each other: the differences spread by .02.
    assert trained.difference.mean == pytest.approx(-0.06)
    assert trained.difference.ci_high == pytest.approx(-0.06 + half_width(0.02), abs=1e-5)
    assert trained.difference.claim == "better"
    assert ("counts+embedding × lightgbm", "counts × lightgbm") in found
    assert ("counts+embedding × tanimoto_svm", "counts × tanimoto_svm") in found
    assert len(found) == 4


def test_intervals_are_over_groups_of_tasks_when_these_are_given(results: pd.DataFrame) -> None:
    (comparison,) = compare(results, CONTROL, "rmse", group_of=lambda task: str(int(task[6:10]) // 4))
    assert {row.n_paired for row in comparison.rows if row.role != "the control"} == {6}
    assert "data sets" in protocol_sentence(comparison)


def test_each_benchmark_is_compared_on_its_own(results: pd.DataFrame) -> None:
    second = results.assign(benchmark="another", value=results["value"] * 2)
    first, other = compare(pd.concat([results, second]), CONTROL, "rmse")
    assert (first.benchmark, other.benchmark) == ("synthetic", "another")
    assert other.control.mean == pytest.approx(2 * first.control.mean)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="split"), r"\['split'\] are missing"),
        (lambda table: table.iloc[:0], "without rows"),
        (lambda table: table[table["features"] != "counts"], "control counts × tanimoto_svm is not in the results"),
        (lambda table: table.assign(metric="mae"), "metric 'rmse' is not in the results"),
    ],
)
def test_unusable_results_are_refused_with_a_reason(results: pd.DataFrame, change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        compare(change(results), CONTROL, "rmse")


def test_published_results_without_a_needed_column_are_refused(results: pd.DataFrame, published: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"published results need .*\['head'\]"):
        compare(results, CONTROL, "rmse", published=published.drop(columns="head"))
