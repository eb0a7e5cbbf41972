"""Calibrated predictors: which rows calibrate, what intervals and sets come of them, and the same after a stay on disk."""

import logging
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from molbt import Predictor
from molbt.data.sources import embedded_activities
from molbt.errors import ConfigError
from molbt.predict.features import feature_builders
from molbt.predict.heads import build_head
from molbt.predict.replicates import molecule_folds, molecule_numbers

SERIES = embedded_activities().iloc[::5].head(150).reset_index(drop=True)
SMILES, VALUES = SERIES["smiles"].tolist(), SERIES["activity"].to_numpy()
CLASSES = (np.median(VALUES) < VALUES).astype(float)
NEW = embedded_activities()["smiles"].tolist()[1:200:20]


def half_width(errors: np.ndarray, hundredths: int) -> float:
    """The ⌈(n + 1) · confidence⌉-th smallest error."""
    return float(np.sort(errors)[-(-(len(errors) + 1) * hundredths // 100) - 1])


@pytest.fixture(scope="module")
def both() -> Predictor:
    labels = pd.DataFrame({"value": VALUES, "class": CLASSES})
    return Predictor(features="counts", head="knn").fit(SMILES, labels, units={"value": "pIC50"})


def test_calibration_out_of_fold_changes_no_prediction_and_loses_no_row():
    plain, calibrated = (Predictor(features="counts", head="knn", calibration=how).fit(SMILES, VALUES) for how in (None, "cross"))
    np.testing.assert_array_equal(plain.predict(NEW), calibrated.predict(NEW))
    assert plain.calibrations_ == {}
    assert (calibrated.head_.n_train_, calibrated.calibrations_["target"].summary.n_rows) == (150, 150)


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
def test_an_interval_is_as_wide_as_the_errors_of_heads_that_did_not_see_the_rows(confidence):
    predictor = Predictor(features="counts", head="ridge", head_parameters={"penalties": [10.0]}, random_state=3).fit(SMILES, VALUES)
    built, errors = feature_builders(["counts"])["counts"](SMILES), np.empty(150)
    for train, rest in molecule_folds(VALUES, SMILES, "regression", 5, 3):
        head = build_head("ridge", random_state=3, penalties=[10.0]).fit(built.rows(train), VALUES[train])
        errors[rest] = np.abs(head.predict(built.rows(rest)) - VALUES[rest])
    expected = half_width(errors, round(100 * confidence))
    predictions, intervals = predictor.predict(NEW), predictor.predict_interval(NEW, confidence)
    np.testing.assert_allclose(intervals, np.column_stack([predictions - expected, predictions + expected]), rtol=1e-9)


def test_held_out_rows_calibrate_and_teach_nothing():
    smiles, labels = SMILES + SMILES[:30], np.append(VALUES, VALUES[:30] + 1.0)
    predictor = Predictor(features="counts", head="ridge", calibration=0.2).fit(smiles, labels)
    learned = np.isfinite(predictor._labels[:, 0])
    summary = predictor.calibrations_["target"].summary
    assert summary.how == "held out"
    assert (predictor.head_.n_train_, predictor.head_.n_unlabelled_) == (learned.sum(), 0)
    assert summary.n_rows == 180 - learned.sum() == pytest.approx(36, abs=12)
    assert not set(np.array(smiles)[learned]) & set(np.array(smiles)[~learned])  # replicates are on one side
    built = replace(feature_builders(["counts"])["counts"](smiles), molecules=molecule_numbers(smiles))
    head = build_head("ridge").fit(built.rows(learned), labels[learned])
    errors = np.abs(head.predict(built.rows(~learned)) - labels[~learned])
    low, high = predictor.predict_interval(NEW, 0.8).T
    np.testing.assert_allclose((high - low) / 2, half_width(errors, 80), rtol=1e-9)
    np.testing.assert_allclose(predictor.predict(NEW), head.predict(feature_builders(["counts"])["counts"](NEW)), rtol=1e-9)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_the_share_that_is_held_out_is_that_which_was_asked_for(share):
    predictor = Predictor(features="counts", head="knn", calibration=share).fit(SMILES, CLASSES)
    kept = np.isnan(predictor._labels[:, 0])
    assert kept.mean() == pytest.approx(share, abs=0.04)
    assert CLASSES[kept].mean() == pytest.approx(CLASSES.mean(), abs=0.1)


def test_the_observed_coverage_is_counted_in_folds_calibrated_by_the_others():
    predictor = Predictor(features="counts", head="ridge", head_parameters={"penalties": [10.0]}).fit(SMILES, VALUES)
    built, errors, fold = feature_builders(["counts"])["counts"](SMILES), np.empty(150), np.empty(150)
    for number, (train, rest) in enumerate(molecule_folds(VALUES, SMILES, "regression", 5, 0)):
        head = build_head("ridge", penalties=[10.0]).fit(built.rows(train), VALUES[train])
        errors[rest], fold[rest] = np.abs(head.predict(built.rows(rest)) - VALUES[rest]), number
    ends = np.array([half_width(errors[fold != number], 90) for number in fold])
    found = predictor.calibrations_["target"].summary.observed[1]
    hits = int((errors <= ends + 1e-9).sum())
    assert (found.confidence, found.n, found.covered) == (0.9, 150, hits / 150)
    assert found.width == pytest.approx(2 * ends.mean())
    # Clopper and Pearson 1934 by the beta distribution.
    assert found.low == pytest.approx(beta.ppf(0.025, hits, 151 - hits))
    assert found.high == pytest.approx(beta.ppf(0.975, hits + 1, 150 - hits))


@pytest.mark.parametrize(
    ("labels", "calibration", "said"),
    [
        (VALUES[:8], "cross", "8 of 8 rows, 9 or more are needed"),
        (VALUES[:40], 0.2, "8 of 40 rows, 9 or more are needed"),
        (np.full(20, 5.5), "cross", "all 20 labels are 5.5"),
        (np.array([1.0] + [0.0] * 19), "cross", "1 of the smaller class"),
    ],
)
def test_a_head_that_cannot_be_calibrated_learns_from_all_rows_and_says_so(labels, calibration, said, caplog):
    smiles = SMILES[: len(labels)]
    with caplog.at_level(logging.WARNING):
        predictor = Predictor(features="counts", head="knn", calibration=calibration).fit(smiles, labels)
    assert "not calibrated" in caplog.text
    assert said in caplog.text
    assert predictor.head_.n_train_ == len(labels)
    plain = Predictor(features="counts", head="knn", calibration=None).fit(smiles, labels)
    np.testing.assert_array_equal(plain.predict(NEW), predictor.predict(NEW))
    for ask in (predictor.predict_interval, predictor.predict_set):
        with pytest.raises(ConfigError, match=r"fitted without calibration; fit it with calibration='cross' \(--calibrate"):
            ask(NEW)
    with pytest.raises(ConfigError, match="fitted without calibration"):
        predictor.predict_table(NEW, confidence=0.9)
    assert not predictor.predict_table(NEW).filter(regex="_low|_set").columns.tolist()


def test_a_loaded_predictor_gives_the_same_intervals_sets_and_neighbours(both, tmp_path):
    loaded = Predictor.load(both.save(tmp_path / "p"))
    molecules = [*NEW, "C1CC"]
    pd.testing.assert_frame_equal(loaded.predict_table(molecules), both.predict_table(molecules), rtol=1e-9)
    np.testing.assert_allclose(loaded.predict_interval(NEW, 0.8, target="value"), both.predict_interval(NEW, 0.8, target="value"))
    np.testing.assert_array_equal(loaded.predict_set(NEW, 0.8, target="class"), both.predict_set(NEW, 0.8, target="class"))
    for name, calibration in both.calibrations_.items():
        assert loaded.calibrations_[name].summary == calibration.summary
    assert (loaded.calibration, loaded.applicability) == ("cross", True)


def test_a_table_of_predictions_holds_what_each_method_gives(both):
    molecules = [*NEW, "C1CC"]
    table = both.predict_table(molecules, confidence=0.8)
    assert table.columns.tolist() == [
        "prediction_value_pIC50", "prediction_value_pIC50_low", "prediction_value_pIC50_high",
        "prediction_class", "prediction_class_set", "prediction_class_p0", "prediction_class_p1",
        "nearest_training_row", "nearest_training_smiles", "nearest_similarity", "distance_percentile",
    ]  # fmt: skip
    assert table.iloc[-1].isna().all()
    np.testing.assert_array_equal(table[["prediction_value_pIC50", "prediction_class"]].to_numpy(), both.predict(molecules))
    intervals, p_values = both.predict_interval(molecules, 0.8, target="value"), both.p_values(molecules, target="class")
    np.testing.assert_array_equal(table[["prediction_value_pIC50_low", "prediction_value_pIC50_high"]].to_numpy(), intervals)
    np.testing.assert_array_equal(table[["prediction_class_p0", "prediction_class_p1"]].to_numpy(), p_values)
    names = [f"{{{','.join(str(label) for label in (0, 1) if row[label] > 0.2)}}}" for row in p_values[:-1]]
    assert table["prediction_class_set"][:-1].tolist() == names
    # The molecules are those of the whole series, of which every fifth was learned from.
    known = [row for row, smiles in enumerate(NEW) if smiles in SMILES]
    assert [SMILES[table["nearest_training_row"][row]] for row in known] == [NEW[row] for row in known]
    assert not both.predict_table(NEW, nearest=False).filter(like="nearest").columns.tolist()


def test_a_target_is_named_where_there_are_several_and_asked_for_what_it_has(both):
    with pytest.raises(ConfigError, match=r"this one has value, class; .*target='value' \(--target\)"):
        both.predict_interval(NEW)
    with pytest.raises(ConfigError, match="unknown target 'clas'; did you mean 'class'"):
        both.predict_set(NEW, target="clas")
    with pytest.raises(ConfigError, match="calibration for regression, this one is for classification; use sets"):
        both.predict_interval(NEW, target="class")
    with pytest.raises(ConfigError, match="between 0 and 1, such as"):
        both.predict_table(NEW, confidence=0)


def test_training_molecules_are_kept_only_where_that_is_wanted(tmp_path):
    directories = []
    for kept in (True, False):
        predictor = Predictor(features="counts", head="lightgbm", head_parameters={"n_trees": 3}, applicability=kept, calibration=None)
        directories.append(predictor.fit(SMILES, VALUES).save(tmp_path / str(kept)))
    texts = [b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()) for directory in directories]
    assert [SMILES[7].encode() in text for text in texts] == [True, False]
    with pytest.raises(ConfigError, match="kept its training molecules, this one has none"):
        Predictor.load(directories[1]).nearest_training(NEW)
    with pytest.raises(ConfigError, match="kept its training molecules"):
        Predictor.load(directories[1]).predict_table(NEW, nearest=True)


def test_molecules_are_compared_by_counts_whatever_the_head_learns_from():
    labels = np.where(np.arange(150) < 100, VALUES, np.nan)
    dense = Predictor(features="descriptors", head="ridge", calibration=None).fit(SMILES, labels)
    counts = Predictor(features="counts", head="ridge", calibration=None).fit(SMILES[:100], labels[:100])
    pd.testing.assert_frame_equal(dense.nearest_training(SMILES), counts.nearest_training(SMILES))
    assert (dense.nearest_training(SMILES)["nearest_training_row"] < 100).all()  # a molecule without a label teaches nothing


@pytest.mark.parametrize("how", ["cross", 0.25])
def test_intervals_and_sets_hold_the_share_they_promise_of_molecules_like_those_learned_from(how):
    series = embedded_activities()
    smiles, values = series["smiles"].tolist(), series["activity"].to_numpy()
    order = np.random.default_rng(0).permutation(len(values))
    train, test = order[:600], order[600:]
    labels = pd.DataFrame({"value": values, "class": (values > 6.5).astype(float)})
    predictor = Predictor(features="counts", head="tanimoto_svm", head_parameters={"costs": [3.0]}, calibration=how, applicability=False)
    predictor.fit([smiles[i] for i in train], labels.iloc[train])
    molecules, n = [smiles[i] for i in test], len(test)
    for confidence in (0.8, 0.9):
        # Test rows and calibration rows are draws: three standard deviations of both.
        m = predictor.calibrations_["value"].summary.n_rows
        allowed = 3 * math.sqrt(confidence * (1 - confidence) * (1 / n + 1 / m))
        low, high = predictor.predict_interval(molecules, confidence, target="value").T
        assert ((low <= values[test]) & (values[test] <= high)).mean() == pytest.approx(confidence, abs=allowed)
        chosen = predictor.predict_set(molecules, confidence, target="class")
        truth = labels["class"].to_numpy()[test].astype(int)
        assert chosen[np.arange(n), truth].mean() == pytest.approx(confidence, abs=allowed)
