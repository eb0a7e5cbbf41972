"""``fit`` and ``predict`` on measured columns as they come: bounds, units, several targets, classes in words."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from molbt import Predictor
from molbt.cli.fit_outcome import show_folds, show_head, show_validation
from molbt.cli.main import run
from molbt.data.sources import embedded_activities
from molbt.describe import blend_in_words, course_in_words
from molbt.predict.finetune_outcome import HeldOutScore
from molbt.predict.heads import build_head

MESSY = {0: ">10000", 1: "0", 2: "", 3: "n.d.", 4: "oops", 5: "~250"}


@pytest.fixture(scope="module")
def assay(tmp_path_factory) -> Path:
    """150 measured molecules: IC50 in nM with the odd cell, a class in words, and the activity as published; one molecule cannot be read,
    and two stand a second time, written backwards by RDKit."""
    from rdkit import Chem

    frame = embedded_activities().iloc[::6].head(150).reset_index(drop=True)
    frame["IC50"] = [f"{10 ** (9 - value):.8g}" for value in frame["activity"]]
    frame["class"] = np.where(frame["activity"] > frame["activity"].median(), "active", "inactive")
    again = frame.iloc[[10, 11]].copy()
    again["smiles"] = [Chem.MolToSmiles(Chem.MolFromSmiles(smiles), rootedAtAtom=3) for smiles in again["smiles"]]
    again["IC50"] = [f"{float(again['IC50'].iloc[0]) * 2:.8g}", f"{float(again['IC50'].iloc[1]) * 100:.8g}"]
    for row, cell in MESSY.items():
        frame.loc[row, "IC50"] = cell
    frame["centred"] = frame["activity"] - frame["activity"].median()
    frame["one"], frame["rare"] = "active", (frame.index == 30).astype(int)
    frame["mark"] = np.where(frame.index.isin([20, 21]), ">", "=")
    frame.loc[6, "class"] = ""
    frame.loc[7, "smiles"] = "C1CC"
    path = tmp_path_factory.mktemp("assay") / "assay.csv"
    pd.concat([frame, again], ignore_index=True).to_csv(path, index=False)
    return path


def test_an_assay_in_nanomolar_is_learned_as_pic50_and_no_row_is_lost(assay, tmp_path, capsys):
    command = ["fit", str(assay), "--target", "IC50", "--target-unit", "nM", "--to", "pIC50", "--head", "ridge", "--folds", "3"]
    assert run([*command, "-o", str(tmp_path / "p")]) == 0
    shown = capsys.readouterr().out
    # 152 rows: two empty, one unreadable, one zero, one bound; one replicate, and two rows that are two log units apart.
    assert (
        "IC50: regression in pIC50, 144 labels; used: approximate values 1; left out: neither number nor class 1, not convertible 1, "
        "bounds 1, replicates of other rows 1, in conflict 2" in shown
    )
    assert "IC50: 143 rows used, 1 refused; head ridge, features counts" in shown
    left_out = pd.read_csv(tmp_path / "p" / "left_out.csv", keep_default_na=False)
    assert left_out["row"].tolist() == [0, 1, 4, 7, 11, 150, 151]
    assert left_out["target"].tolist() == ["IC50"] * 3 + [""] + ["IC50"] * 3
    assert "ring" in left_out["reason"][3]
    assert left_out["reason"][5].startswith("replicate of row 10")

    assert run(["predict", str(assay), "--predictor", str(tmp_path / "p"), "-o", str(tmp_path / "out.csv")]) == 0
    table, predicted = pd.read_csv(assay), pd.read_csv(tmp_path / "out.csv")
    assert predicted["name"].tolist() == table["name"].tolist()
    assert np.flatnonzero(predicted["prediction_pIC50"].isna()).tolist() == [7]
    assert np.flatnonzero(predicted["molbt_reason"].notna()).tolist() == [7]
    # The published values, which the command never saw, are on the scale of the predictions.
    known = predicted.drop(index=[7, 150, 151])
    assert np.corrcoef(known["prediction_pIC50"], known["activity"])[0, 1] > 0.9
    assert abs((known["prediction_pIC50"] - known["activity"]).mean()) < 0.1

    capsys.readouterr()
    assert run(["info", str(tmp_path / "p")]) == 0
    described = capsys.readouterr().out
    assert "IC50: regression in pIC50 with head ridge on counts, 143 training rows" in described
    assert "conflicts 2" in described
    assert "unit nM, scale pIC50" in described


def test_several_targets_are_learned_beside_each_other(assay, tmp_path, capsys):
    command = ["fit", str(assay), "--target", "activity,class", "--head", "knn", "--folds", "3", "-o", str(tmp_path / "p")]
    assert run(command) == 0
    shown = capsys.readouterr().out
    assert "activity: regression, 150 labels; left out: replicates of other rows 2" in shown
    assert "class: classification, 149 labels; left out: replicates of other rows 2" in shown
    assert "activity: RMSE in 3 random folds, counts" in shown
    assert "class: ROC AUC in 3 random folds, counts" in shown
    assert run(["predict", str(assay), "--predictor", str(tmp_path / "p"), "-o", str(tmp_path / "out.parquet")]) == 0
    predicted = pd.read_parquet(tmp_path / "out.parquet")
    added = [name for name in predicted.columns if name not in pd.read_csv(assay).columns]
    assert [name for name in added if name.startswith("prediction")] == [
        *("prediction_activity", "prediction_activity_low", "prediction_activity_high"),
        *("prediction_class", "prediction_class_set", "prediction_class_p0", "prediction_class_p1"),
    ]
    assert added[-1] == "molbt_reason"
    assert predicted["prediction_class"].dropna().between(0, 1).all()
    facts = json.loads((tmp_path / "p" / "predictor.json").read_text())["facts"]
    assert facts["labels"]["class"]["missing"] == 1
    assert set(facts["folds"]) == {"activity", "class"}


def test_predictions_have_intervals_at_the_confidence_asked_for_and_their_nearest_training_molecule(assay, tmp_path, capsys):
    command = ["fit", str(assay), "--target", "activity", "--head", "knn", "--folds", "0"]
    assert run([*command, "-o", str(tmp_path / "p")]) == 0
    shown = capsys.readouterr().out
    assert "activity: calibrated on 149 rows predicted out of fold" in shown
    assert "90 % intervals held" in shown
    assert run(["info", str(tmp_path / "p")]) == 0
    described = capsys.readouterr().out
    assert [line for line in shown.splitlines() if "held" in line] == [line for line in described.splitlines() if "held" in line]

    predict = ["predict", str(assay), "--predictor", str(tmp_path / "p"), "-o", str(tmp_path / "out.csv")]
    loaded, table = Predictor.load(tmp_path / "p"), pd.read_csv(assay)
    for options, confidence in (([], 0.9), (["--confidence", "0.8"], 0.8)):
        assert run([*predict, *options]) == 0
        predicted = pd.read_csv(tmp_path / "out.csv")
        expected = loaded.predict_interval(table["smiles"], confidence)
        np.testing.assert_allclose(predicted[["prediction_low", "prediction_high"]], expected)
    assert predicted.loc[[0, 30], "nearest_training_row"].tolist() == [0, 30]  # each is a training molecule itself
    assert predicted.loc[[0, 30], "nearest_training_smiles"].tolist() == table.loc[[0, 30], "smiles"].tolist()
    assert predicted.loc[7, predicted.columns.difference(table.columns).drop("molbt_reason")].isna().all()
    assert run([*predict, "--no-nearest"]) == 0
    assert not pd.read_csv(tmp_path / "out.csv").filter(like="nearest").columns.tolist()
    assert run([*predict, "--confidence", "1"]) == 2
    assert "between 0 and 1" in capsys.readouterr().err


def test_a_predictor_may_go_without_calibration_and_without_its_molecules(assay, tmp_path, capsys):
    command = ["fit", str(assay), "--target", "activity", "--head", "knn", "--folds", "0", "--no-applicability"]
    assert run([*command, "--calibrate", "none", "-o", str(tmp_path / "p")]) == 0
    assert "calibrated" not in capsys.readouterr().out
    predict = ["predict", str(assay), "--predictor", str(tmp_path / "p"), "-o", str(tmp_path / "out.csv")]
    assert run(predict) == 0
    assert pd.read_csv(tmp_path / "out.csv").columns.tolist() == [*pd.read_csv(assay).columns, "prediction", "molbt_reason"]
    assert run([*predict, "--confidence", "0.9"]) == 2
    assert "fitted without calibration" in capsys.readouterr().err
    assert run([*predict, "--nearest"]) == 2
    assert "--applicability" in capsys.readouterr().err
    assert run(["info", str(tmp_path / "p")]) == 0
    assert "activity: not calibrated" in capsys.readouterr().out


def test_a_threshold_of_zero_is_told_by_info_and_lengths_are_rounded(assay, tmp_path, capsys):
    command = ["fit", str(assay), "--target", "centred", "--head", "knn", "--folds", "0", "--calibrate", "none"]
    assert run([*command, "--active-above", "0", "-o", str(tmp_path / "p")]) == 0
    assert run([*command, "-o", str(tmp_path / "q")]) == 0
    capsys.readouterr()
    assert run(["info", str(tmp_path / "p")]) == 0
    assert "active above 0" in capsys.readouterr().out
    assert run(["info", str(tmp_path / "q")]) == 0
    assert re.search(r"max spread \d\.\d{1,4}$", capsys.readouterr().out, re.MULTILINE)


def test_a_head_of_dense_features_is_scored_without_the_counts_it_cannot_use(assay, tmp_path, capsys):
    command = ["fit", str(assay), "--target", "activity", "--head", "svm", "--features", "descriptors", "--folds", "2"]
    assert run([*command, "--calibrate", "none", "-o", str(tmp_path / "p")]) == 0
    shown = capsys.readouterr().out
    assert "RMSE in 2 random folds, descriptors: " in shown
    assert "random folds, counts" not in shown
    assert "takes no counts" in shown


def test_a_search_that_found_something_says_that_it_has_seen_the_rows(assay, tmp_path, capsys):
    command = ["fit", str(assay), "--target", "activity", "--head", "ridge", "--search", "3", "--folds", "2", "--calibrate", "none"]
    assert run([*command, "-o", str(tmp_path / "p")]) == 0
    shown = capsys.readouterr().out
    assert ("nothing better than the defaults" in shown) != ("the search has seen all rows" in shown)


def test_fine_tuning_without_an_epoch_is_not_called_fine_tuned():
    assert course_in_words(4) == "fine-tuned for 4 epochs"
    assert "fine-tuned for" not in course_in_words(0)


def test_the_help_of_fit_names_the_extra_that_brings_a_search(capsys):
    assert run(["fit", "--help"]) == 0
    assert "molbt[hpo]" in capsys.readouterr().out


def test_calibration_molecules_may_be_kept_from_the_head(assay, tmp_path, capsys):
    command = ["fit", str(assay), "--target", "activity", "--head", "knn", "--folds", "0", "--calibrate", "0.25"]
    assert run([*command, "-o", str(tmp_path / "p")]) == 0
    shown = capsys.readouterr().out
    used, kept = (int(re.search(pattern, shown)[1]) for pattern in (r"activity: (\d+) rows used", r"calibrated on (\d+) rows kept"))
    assert used + kept == 149
    assert kept == pytest.approx(37, abs=4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--censored", "value"], "used: bounds 1, approximate values 1"),
        (["--target-unit", "nM"], "IC50: regression in nM"),
        (["--to", "log10"], "IC50: regression in log10"),
        (["--active-below", "1000"], "IC50: classification"),
        (["--active-above", "6", "--to", "pIC50", "--target-unit", "nM"], "used: bounds 1, approximate values 1"),
        (["--duplicates", "keep"], "left out: neither number nor class 1, bounds 1\n"),
        (["--max-spread", "0", "--conflicts", "mean"], "bounds 1, replicates of other rows 2\n"),
        (["--max-spread", "0", "--conflicts", "keep"], "left out: neither number nor class 1, bounds 1\n"),
        (["--relation-column", "mark"], "bounds 3"),
    ],
)
def test_each_choice_about_labels_is_connected(options, said, assay, tmp_path, capsys):
    command = ["fit", str(assay), "--target", "IC50", "--head", "knn", "--folds", "0", "-o", str(tmp_path / "p"), *options]
    assert run(command) == 0
    assert said in capsys.readouterr().out


def test_parameters_of_the_head_and_the_layer_are_connected(assay, tiny_run, tmp_path, capsys):
    command = ["fit", str(assay), "--target", "activity", "--folds", "0", "--head", "lightgbm"]
    assert run([*command, "--set-head", "n_trees=3", "-o", str(tmp_path / "p")]) == 0
    assert json.loads((tmp_path / "p" / "predictor.json").read_text())["targets"][0]["head"]["parameters"]["n_trees"] == 3
    layer = ["--model", str(tiny_run), "--layer", "hidden_1", "--features", "embedding", "--device", "cpu"]
    assert run([*command, *layer, "--set-head", "n_trees=3", "-o", str(tmp_path / "q")]) == 0
    assert json.loads((tmp_path / "q" / "predictor.json").read_text())["targets"][0]["head"]["widths"] == {"embedding": 32}
    predict = ["predict", str(assay), "--predictor", str(tmp_path / "q"), "-o", str(tmp_path / "out.csv")]
    assert run([*predict, "--device", "cpu"]) == 0
    assert run([*predict, "--device", "nosuch"]) == 2
    assert "nosuch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--target", "IC5"], 1, "pass --target IC50"),
        (["--target", "IC50,IC50"], 2, "different target columns"),
        (["--target", "IC50", "--relation-column", "activity,class"], 2, "relation column for each of 1 targets, received 2"),
        (["--target", "IC50", "--relation-column", "relation"], 1, "--relation-column"),
        (["--target", "IC50", "--to", "pIC50"], 2, "received no unit"),
        (["--target", "IC50", "--task-type", "classification"], 1, "pass a threshold (--active-above, --active-below)"),
        (["--target", "IC50", "--set-head", "n_trees"], 2, "expected NAME=VALUE"),
        (["--target", "IC50", "--set-head", "n_trees=many"], 2, "received 'many'"),
        (["--target", "IC50", "--calibrate", "half"], 2, "--calibrate must be cross, none or a share"),
        (["--target", "IC50", "--calibrate", "1.5"], 2, "up to 0.5, such as 0.2, received 1.5"),
        (["--target", "IC50", "--set-head", "trees=3"], 2, "did you mean 'n_trees'"),
        (["--target", "class", "--to", "pIC50", "--target-unit", "nM"], 1, "a class where numbers are expected"),
        (["--target", "class", "--task-type", "regression"], 1, "a class where numbers are expected"),
    ],
)
def test_what_cannot_be_fitted_is_said_in_one_line(options, code, said, assay, tmp_path, capsys):
    assert run(["fit", str(assay), *options, "-o", str(tmp_path / "p")]) == code
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "p").exists()


def test_a_target_that_cannot_be_learned_or_compared_costs_the_others_nothing(assay, tmp_path, capsys):
    command = ["fit", str(assay), "--head", "knn", "--calibrate", "none", "-o", str(tmp_path / "p")]
    assert run([*command, "--target", "activity,one,rare", "--folds", "3"]) == 0
    shown, warned = capsys.readouterr()
    assert "one: left out: all 150 labels are of class 1 (active), and one class cannot be learned" in shown
    assert "activity: RMSE in 3 random folds" in shown
    assert "rare: 149 rows used" in shown
    assert "rare: ROC AUC" not in shown
    assert "rare: not compared in folds: cross-validation needs two or more rows of each class" in warned
    assert Predictor.load(tmp_path / "p").targets_ == ["activity", "rare"]
    left_out = pd.read_csv(tmp_path / "p" / "left_out.csv", keep_default_na=False)
    assert left_out.loc[left_out["target"] == "one", "reason"].str.endswith("one class cannot be learned").sum() == 150
    assert run(["info", str(tmp_path / "p")]) == 0
    assert "one all 150 labels are of class 1" in capsys.readouterr().out


def test_a_target_of_one_class_alone_is_refused(assay, tmp_path, capsys):
    assert run(["fit", str(assay), "--target", "one", "--head", "knn", "--folds", "0", "-o", str(tmp_path / "p")]) == 1
    assert "no target can be learned: 'one': all 150 labels are of class 1 (active)" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_a_head_that_saw_one_label_says_so(capsys):
    from molbt.predict.features import feature_builders

    counts = feature_builders(["counts"])["counts"](["CCO", "CCN", "C1CC"])
    show_head("c", build_head("knn", "classification").fit(counts, np.array([1.0, 1.0, 0.0])))
    assert capsys.readouterr().out == "c: all rows that could be used have the label 1, which is predicted for every molecule\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--head", "kn"], "did you mean 'knn'"),
        (["--features", "count"], "did you mean 'counts'"),
        (["--to", "pki", "--target-unit", "nM"], "did you mean 'pKi'"),
        (["--to", "pKi", "--target-unit", "nm"], "did you mean 'nM'"),
        (["--head", "ridge", "--active-above", "5"], "does regression only"),
        (["--set-head", "n_tree=3"], "did you mean 'n_trees'"),
        (["--model", "default", "--layer", "hidden_9"], "did you mean 'hidden_1'"),
        (["--calibrate", "0.9"], "up to 0.5"),
        (["--folds", "1"], "two or more folds, received --folds 1"),
        (["--layer", "hidden_1"], "--layer hidden_1 has no effect on the features counts; pass --model"),
        (["--model", "default", "--features", "counts"], "--model has no effect on the features counts; name them with +embedding"),
        (["--model", "default", "--finetune", "--folds", "3"], "--folds 3 has no effect on fine-tuning"),
        (["--model", "default", "--finetune", "--search", "3"], "--search is for the parameters of a head"),
        (["--active-above", "5", "--max-spread", "3"], "--max-spread 3 has no effect on classes; leave it out"),
        (["--task-type", "classification", "--censored", "value"], "--censored value has no effect on classes"),
        (["--duplicates", "keep", "--conflicts", "mean"], "--conflicts mean has no effect with --duplicates keep"),
    ],
)
def test_names_and_options_without_effect_are_refused_before_the_table_is_read(options, said, tmp_path, capsys):
    assert run(["fit", str(tmp_path / "never_read.csv"), "--target", "y", *options, "-o", str(tmp_path / "p")]) == 2
    assert said in capsys.readouterr().err


def test_what_classes_leave_without_effect_is_told_and_so_is_the_word_of_class_1(assay, tmp_path, capsys):
    command = ["fit", str(assay), "--head", "knn", "--folds", "0", "--calibrate", "none", "--max-spread", "3"]
    assert run([*command, "--target", "class", "-o", str(tmp_path / "p")]) == 0
    shown = capsys.readouterr().out
    assert "no effect on classes: --max-spread 3" in shown
    assert "class: class 1 is active, class 0 is inactive" in shown
    assert run(["info", str(tmp_path / "p")]) == 0
    assert "class 1 active, class 0 inactive" in capsys.readouterr().out
    assert run([*command, "--target", "activity,class", "-o", str(tmp_path / "q")]) == 0
    assert "no effect" not in capsys.readouterr().out


def test_auto_says_what_it_is_made_of(assay, tmp_path, capsys):
    command = ["fit", str(assay), "--target", "activity", "--head", "auto", "--set-head", "members=[knn, tanimoto_svm]", "--folds", "0"]
    assert run([*command, "--calibrate", "none", "-o", str(tmp_path / "p")]) == 0
    shown = capsys.readouterr().out
    head = json.loads((tmp_path / "p" / "predictor.json").read_text())["targets"][0]["head"]
    for name, member in head["members"].items():
        assert f"{name} {100 * member['weight']:.0f} % ({head['losses'][name]:.4f})" in shown
    said = next(line for line in shown.splitlines() if "auto is made of" in line)
    assert said.endswith(f"together {head['losses']['auto']:.4f} (held-out RMSE)")
    assert run(["info", str(tmp_path / "p")]) == 0
    assert said in capsys.readouterr().out.splitlines()


def test_a_blend_is_told_heaviest_first_and_without_losses_where_there_are_none():
    losses = {"knn": 0.5, "gp": 0.4, "auto": 0.39}
    told = blend_in_words({"knn": 0.2, "gp": 0.8}, losses, "classification")
    assert told == "auto is made of gp 80 % (0.4000), knn 20 % (0.5000); together 0.3900 (held-out root Brier score)"
    assert blend_in_words({"knn": 0.5, "gp": 0.5}, {}, "regression").startswith("auto is made of knn, gp in equal parts")
    assert blend_in_words({"knn": 1.0}, {}, "regression") == "auto is made of knn alone"


def test_the_difference_to_plain_counts_has_an_interval(assay, tmp_path, capsys):
    command = ["fit", str(assay), "--target", "activity", "--head", "knn", "--features", "counts+descriptors", "--calibrate", "none"]
    assert run([*command, "-o", str(tmp_path / "p")]) == 0
    shown = capsys.readouterr().out
    folds = json.loads((tmp_path / "p" / "predictor.json").read_text())["facts"]["folds"]["activity"]
    difference = np.array(folds["counts+descriptors"]) - folds["counts"]
    error = difference.std(ddof=1) * np.sqrt(1 / 5 + 1 / 4)
    low, high = stats.t(4, difference.mean(), error).interval(0.95)
    found = f"RMSE of counts+descriptors − counts: {difference.mean():+.4f} (95 % interval {low:+.4f} to {high:+.4f}): "
    assert found in shown
    assert ("plain counts did better" in shown) == (low > 0)


def test_counts_are_recommended_only_where_the_interval_excludes_zero(capsys):
    counts, clear, noise = np.full(5, 0.8), np.array([0.1, 0.11, 0.09, 0.1, 0.1]), np.array([0.1, -0.05, 0.02, -0.04, 0.03])
    show_folds("y", "regression", {"counts": counts, "embedding": counts + clear}, "embedding")
    assert "worse\ny: plain counts did better in these folds than embedding: consider --features counts" in capsys.readouterr().out
    show_folds("y", "regression", {"counts": counts, "embedding": counts + noise}, "embedding")
    shown = capsys.readouterr().out
    assert "no difference shown" in shown
    assert "consider" not in shown
    show_folds("y", "regression", {"counts": np.array([0.8, np.nan, 0.6]), "embedding": np.full(3, np.nan)}, "embedding")
    shown = capsys.readouterr().out
    assert "counts: 0.7000 (fold to fold sd 0.1414), undefined in 1 of them" in shown
    assert "embedding: undefined" in shown
    assert "too few folds to tell" in shown


def test_other_features_are_recommended_over_fine_tuning_only_where_the_interval_excludes_zero(capsys):
    noise = np.array([0.1, -0.05, 0.02, -0.04, 0.03])
    tuned = HeldOutScore(0.8, np.full(5, 0.8), 0.2)
    scores = {"fine-tuned": tuned, "a": HeldOutScore(0.9, 0.9 + noise / 10, 0.2), "b": HeldOutScore(0.81, 0.81 + noise, 0.2)}
    show_validation("y", "classification", scores)
    shown = capsys.readouterr().out
    assert "y: a did better there than fine-tuning: consider it instead" in shown
    assert shown.count("consider") == 1
    assert shown.count("no difference shown") == 1


def test_replicates_never_stand_in_two_folds(tmp_path, capsys, nci_smiles):
    # Twenty molecules twice each, with the same label: were the two in different folds, nearest neighbours would know the answer.
    generator = np.random.default_rng(0)
    labels = generator.normal(size=20)
    frame = pd.DataFrame({"smiles": [*nci_smiles[:20], *nci_smiles[:20]], "y": [*labels, *labels]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    command = ["fit", str(tmp_path / "t.csv"), "--target", "y", "--duplicates", "keep", "--head", "knn", "--folds", "4"]
    assert run([*command, "-o", str(tmp_path / "p")]) == 0
    folds = json.loads((tmp_path / "p" / "predictor.json").read_text())["facts"]["folds"]["y"]["counts"]
    assert np.mean(folds) > 0.7 * labels.std()


def test_a_head_that_takes_no_more_rows_says_so(assay, tmp_path, capsys):
    command = ["fit", str(assay), "--target", "activity", "--head", "tanimoto_svm", "--set-head", "max_rows=60", "--folds", "0"]
    assert run([*command, "--calibrate", "none", "-o", str(tmp_path / "p")]) == 0
    assert "activity: 60 rows used (its max_rows: drawn at random" in capsys.readouterr().out
    assert run(["info", str(tmp_path / "p")]) == 0
    assert "60 training rows (its max_rows" in capsys.readouterr().out


def test_evaluate_reads_the_labels_that_fit_learns_from(assay, tmp_path, capsys):
    labels = [
        "--target",
        "IC50",
        "--target-unit",
        "nM",
        "--to",
        "pIC50",
        "--relation-column",
        "mark",
        "--duplicates",
        "mean",
        "--max-spread",
        "2",
    ]
    assert run(["fit", str(assay), *labels, "--head", "ridge", "--folds", "0", "--calibrate", "none", "-o", str(tmp_path / "p")]) == 0
    summary = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("IC50: regression in pIC50"))
    evaluate = ["evaluate", "table", str(assay), *labels, "--heads", "ridge", "--split", "random", "-o", str(tmp_path / "r")]
    assert run(evaluate) == 0
    shown = capsys.readouterr().out
    assert summary in shown.splitlines()
    assert "Policy of labels: pIC50 from nM; bounds drop; replicates mean; conflicts beyond 2 drop." in shown
    assert "RMSE (pIC50)" in shown
    results = pd.read_csv(tmp_path / "r" / "results.csv").iloc[0]
    counted = int(re.search(r"([\d,]+) labels", summary)[1])
    assert results["n_train"] + results["n_test"] == counted - 1  # one of the labelled molecules cannot be read
    assert summary.replace(">", "&gt;") in (tmp_path / "r" / "report.html").read_text()
    assert run([*evaluate, "--censored", "value"]) == 2  # these results are of other labels
    assert "label_policy" in capsys.readouterr().err


def test_labels_of_a_published_benchmark_are_not_the_users_to_change(tmp_path, capsys):
    (tmp_path / "moleculenet").mkdir()
    assert run(["evaluate", "moleculenet", "--data-dir", str(tmp_path), "--to", "log10", "-o", str(tmp_path / "r")]) == 2
    assert "does not take options of labels such as --target-unit" in capsys.readouterr().err


def test_targets_in_unknown_units_have_no_mean_error(assay, tmp_path, capsys):
    command = [
        "evaluate",
        "table",
        str(assay),
        "--target",
        "activity,IC50",
        "--heads",
        "ridge",
        "--split",
        "random",
        "-o",
        str(tmp_path / "r"),
    ]
    assert run(command) == 0
    shown = capsys.readouterr().out
    assert "table: R², higher is better" in shown
    assert "RMSE by task, lower is better; no mean, because the units are not the same" in shown
    assert "activity (unknown unit)" in shown
    assert "RMSE, lower is better; " not in shown.replace("RMSE by task, lower is better; ", "")
