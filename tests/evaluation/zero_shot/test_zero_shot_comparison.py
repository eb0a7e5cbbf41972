"""Differences to both controls against scipy, and claims only where they may be made; coverage by simulated assays."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit

from molbt.errors import DataError
from molbt.evaluation.few_shot.strata import STRATA
from molbt.evaluation.zero_shot.comparison import BELOW_CHANCE, CONTROLS, compare_methods
from molbt.evaluation.zero_shot.coverage import held_out_coverage

RNG = np.random.default_rng(7)
TASKS = [f"T{number}" for number in range(30)]
BASE = 0.62 + 0.05 * RNG.standard_normal(30)
VALUES = {
    CONTROLS[0]: BASE,
    CONTROLS[1]: BASE + 0.02 + 0.01 * RNG.standard_normal(30),
    ("twin projections", "twin"): BASE + 0.04 + 0.01 * RNG.standard_normal(30),
    ("nearest assays", "retrieval"): BASE + 0.05 * RNG.standard_normal(30),
}


def results_of(values=VALUES, shift=0.0):
    return pd.DataFrame(
        [
            {
                "benchmark": "b_0", "data_set": task, "task": task, "split": "s", "repeat": 0, "fraction": 1.0,
                "features": features, "head": head, "metric": "roc_auc", "value": value + shift, "n_train": 0, "n_test": 9,
            }
            for (features, head), of_head in values.items()
            for task, value in zip(TASKS, of_head, strict=True)
        ]
    )  # fmt: skip


def row_of(table, head, control, group="all assays"):
    return table[(table["head"] == head) & (table["control"] == control) & (table["group"] == group)].iloc[0]


def test_differences_and_intervals_are_paired_over_assays():
    table = compare_methods(results_of())
    for _, control in CONTROLS:
        difference = VALUES["twin projections", "twin"] - VALUES[next(c for c in CONTROLS if c[1] == control)]
        expected = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
        found = row_of(table, "twin", control)
        assert found["difference"] == pytest.approx(difference.mean())
        assert (found["ci_low"], found["ci_high"]) == pytest.approx((expected.low, expected.high))
        assert found["claim"] == "better"
        assert row_of(table, "retrieval", control)["claim"] != "better"
    assert row_of(table, "frequent_hitters", "frequent_hitters")["claim"] == "the control"
    assert table["mean"].iloc[0] == pytest.approx(VALUES["twin projections", "twin"].mean())


def test_nothing_is_claimed_over_a_control_worse_than_chance():
    table = compare_methods(results_of(shift=-0.2))
    assert row_of(table, "twin", "frequent_hitters")["claim"] == BELOW_CHANCE


def test_groups_have_their_own_differences():
    table = compare_methods(results_of(), {task: "few" if place < 10 else "many" for place, task in enumerate(TASKS)})
    difference = (VALUES["twin projections", "twin"] - BASE)[:10]
    found = row_of(table, "twin", "frequent_hitters", "few")
    assert found["difference"] == pytest.approx(difference.mean())
    assert found["n_tasks"] == 10
    strata = compare_methods(results_of(), {task: STRATA[place % 3] for place, task in enumerate(reversed(TASKS))})
    assert list(dict.fromkeys(strata["group"])) == ["all assays", *STRATA]


def test_without_controls_there_are_means_only():
    table = compare_methods(results_of({("nearest assays", "retrieval"): VALUES["nearest assays", "retrieval"]}))
    assert table["control"].tolist() == [""]
    assert table["difference"].isna().all()


def simulated(n_assays=25, shift=0.0):
    """Assays whose labels follow their scores by one sigmoid, the last five perhaps by another."""
    rng = np.random.default_rng(3)
    assays = {}
    for number in range(n_assays):
        scores = rng.standard_normal(200)
        labels = (rng.random(200) < expit(1.5 * scores + shift * (number >= n_assays - 5))).astype(float)
        labels[:3] = np.nan
        assays[f"A{number}"] = ([repr(value) for value in scores.tolist()], labels)
    return assays


def score(assay, smiles):
    return np.array([float(value) for value in smiles])


def test_sets_hold_the_labels_of_other_assays_as_often_as_they_say():
    found = held_out_coverage(score, simulated())
    assert len(found) == 25 * 3
    assert (found["n"] == 197).all()
    assert (found["n_calibration"] == 197 * 20).all()
    for confidence, own in found.groupby("confidence"):
        assert own["coverage"].mean() == pytest.approx(confidence, abs=0.015)
    assert found["width"].between(0.8, 2).all()


def test_assays_unlike_the_others_are_not_covered():
    found = held_out_coverage(score, simulated(shift=-4.0)).query("confidence == 0.9")
    odd = found["task"].isin([f"A{number}" for number in range(20, 25)])
    assert found.loc[odd, "coverage"].mean() < found.loc[~odd, "coverage"].mean() - 0.05


def test_too_few_assays_and_assays_of_one_class_do_not_count():
    assays = simulated(6)
    assays["A0"] = (assays["A0"][0], np.zeros(200))
    assert held_out_coverage(score, assays)["task"].nunique() == 5
    del assays["A1"]
    with pytest.raises(DataError, match="5 or more assays"):
        held_out_coverage(score, assays)
