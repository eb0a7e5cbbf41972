"""Observed coverage: what is counted by row, by class and by assay, against the formulas, and what is said of it."""

import numpy as np
import pandas as pd
import pytest
from made_pairs import HELD_OUT, made_rows
from scipy import stats

from molbt.cli.main import run
from molbt.predict.calibration import CalibrationDescription, calibrated
from molbt.predict.conformal import Conformal
from molbt.predict.coverage import set_coverage
from molbt.predict.observed_coverage import CalibrationSummary, observe_coverage
from molbt.predict.out_of_fold import OutOfFold
from molbt.predict.saved_zero_shot import load_zero_shot

LEVEL = {"confidence": 0.8, "n": 100, "width": 1.2}


def made_assays(n_assays: int = 10, n: int = 40, spread: float = 1.5) -> pd.DataFrame:
    """Assays whose scores are shifted, each by an amount of its own, so that rows of one assay are held or missed together."""
    rng = np.random.default_rng(4)
    assay = np.repeat(np.arange(n_assays), n)
    label = rng.integers(0, 2, len(assay)).astype(float)
    shift = spread * rng.standard_normal(n_assays)[assay]
    probability = 1 / (1 + np.exp(-(2 * label - 1 + shift + 0.5 * rng.standard_normal(len(assay)))))
    return pd.DataFrame({"assay": assay, "label": label, "probability": probability, "fold": assay % 5})


def held(table: pd.DataFrame, confidence: float) -> np.ndarray:
    hits = np.empty(len(table), dtype=bool)
    for number in range(5):
        inside = (table["fold"] == number).to_numpy()
        rest, own = table[~inside], table[inside]
        sets = Conformal.fit(rest["probability"].to_numpy(), rest["label"].to_numpy(), "classification").sets(
            own["probability"].to_numpy(), confidence
        )
        hits[inside] = sets[np.arange(len(own)), own["label"].astype(int)]
    return hits


@pytest.mark.parametrize("label", [None, 0, 1])
def test_where_assays_are_the_units_the_interval_is_over_assays(label):
    table = made_assays()
    calibration = calibrated(
        OutOfFold(table["probability"].to_numpy(), table["fold"].to_numpy()),
        table["label"].to_numpy(),
        "classification",
        how="cross",
        assays=table["assay"].to_numpy(),
    )
    level = calibration.summary.observed[0]
    found = level if label is None else level.by_class[label]
    rows = np.full(len(table), True) if label is None else (table["label"] == label).to_numpy()
    by_assay = pd.Series(held(table, 0.8)[rows]).groupby(table["assay"].to_numpy()[rows]).mean()
    expected = stats.t.interval(0.95, 9, by_assay.mean(), stats.sem(by_assay))
    assert (calibration.summary.n_assays, found.n) == (10, rows.sum())
    assert found.covered == pytest.approx(by_assay.mean())
    np.testing.assert_allclose((found.low, found.high), np.clip(expected, 0, 1))
    over_rows = stats.binomtest(int(held(table, 0.8)[rows].sum()), int(rows.sum())).proportion_ci(0.95)
    assert found.high - found.low > 2 * (over_rows.high - over_rows.low)


def test_without_assays_each_class_has_its_own_exact_interval():
    table = made_assays(spread=0.0)
    table = table[(table["label"] == 0) | (table.index % 8 == 0)]
    found = observe_coverage(*(table[name].to_numpy() for name in ("probability", "label", "fold")), "classification")
    for level in found:
        hits = held(table, level.confidence)
        for label, share in enumerate(level.by_class):
            own = hits[table["label"] == label]
            bounds = stats.binomtest(int(own.sum()), len(own)).proportion_ci(0.95)
            assert (share.label, share.n, share.covered) == (label, len(own), own.mean())
            assert (share.low, share.high) == pytest.approx((bounds.low, bounds.high))


def test_an_assay_counts_once_whatever_its_rows():
    p_values = np.full((10, 2), 0.5)
    sets = np.tile([True, False], (10, 1))
    labels = np.array([0.0] * 8 + [1.0, 0.0])  # the large assay is held, half of the small one
    found = set_coverage(labels, p_values, sets, assays=np.array([3] * 8 + [7] * 2))
    assert (found.covered, found.low, found.high) == (0.75, 0.0, 1.0)
    assert set_coverage(labels, p_values, sets).covered == 0.9
    alone = set_coverage(labels[:8], p_values[:8], sets[:8], assays=np.zeros(8, dtype=int))
    assert (alone.covered, alone.low, alone.high) == (1.0, 0.0, 1.0)  # one assay tells nothing of others


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.60, 0.68, "held fewer labels than they say (outside of the 95 % interval) at 80 %: they promise too much"),
        (0.86, 0.95, "held more labels than they say (outside of the 95 % interval) at 80 %: they are wider than they need be"),
        (0.70, 0.80, None),
        (0.80, 0.90, None),
    ],
)
@pytest.mark.parametrize("task_type", ["regression", "classification"])
def test_a_level_outside_of_the_interval_is_warned_of(low, high, said, task_type):
    summary = CalibrationSummary.model_validate(
        {"how": "cross", "n_rows": 100, "observed": [LEVEL | {"covered": (low + high) / 2, "low": low, "high": high}]}
    )
    warnings = [line for line in summary.lines(task_type) if line.startswith("warning")]
    what = "intervals" if task_type == "regression" else "sets"
    assert len(warnings) == (said is not None)
    assert all(f"{what} {said}" in line for line in warnings)


def test_a_class_outside_of_its_interval_is_warned_of_by_name():
    shares = {"covered": 0.8, "low": 0.75, "high": 0.85}
    classes = [{"label": 0, "n": 90, **shares}, {"label": 1, "n": 10, "covered": 0.4, "low": 0.1, "high": 0.7}]
    summary = CalibrationSummary.model_validate({"how": "cross", "n_rows": 100, "observed": [LEVEL | shares | {"by_class": classes}]})
    start, level, warning = summary.lines("classification")
    assert "random parts of them" in start
    assert "80 % sets held 80.0 % (75.0 to 85.0) of the labels; class 0 80.0 % (75.0 to 85.0); class 1 40.0 % (10.0 to 70.0)" in level
    assert "at 80 % of class 1:" in warning


def test_descriptions_from_before_classes_were_shown_are_read():
    shares = {"covered": 0.8, "low": 0.75, "high": 0.85}
    old = {"how": "cross", "n_rows": 100, "observed": [LEVEL | shares], "sha256": "0" * 64}
    assert len(CalibrationDescription.model_validate(old).lines("classification")) == 2


def test_fit_and_info_show_each_class_and_what_is_wider_than_it_says(tmp_path, capsys):
    table = made_rows(HELD_OUT[:1], n=200)
    table.assign(y=(table.index % 67 == 0).astype(int)).to_csv(tmp_path / "rare.csv", index=False)
    command = ["-q", "fit", str(tmp_path / "rare.csv"), "--target", "y", "--head", "knn", "--features", "counts", "--folds", "0"]
    assert run([*command, "-o", str(tmp_path / "p")]) == 0
    said = capsys.readouterr().out
    assert run(["info", str(tmp_path / "p")]) == 0
    for text in (said, capsys.readouterr().out):
        assert text.count("; class 0 ") == text.count("; class 1 ") == 3
        assert "y: warning: sets held more labels than they say" in text


def test_calibrate_says_that_assays_took_no_part(twin, tmp_path, capsys):
    made_rows(HELD_OUT, n=60, first=240).to_csv(tmp_path / "pairs.csv", index=False)
    assert run(["-q", "calibrate", str(tmp_path / "pairs.csv"), "--model", str(twin), "-o", str(tmp_path / "p")]) == 0
    said = capsys.readouterr().out
    assert f"rows of {len(HELD_OUT)} assays; on assays that took no part" in said
    assert "random parts" not in said
    assert said.count("; class 1 ") == 3
    assert load_zero_shot(tmp_path / "p").calibration.summary.n_assays == len(HELD_OUT)
