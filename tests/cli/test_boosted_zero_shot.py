"""``calibrate --head lightgbm``, ``predict`` and ``explain`` with what it makes, in this process."""

import json

import numpy as np
import pandas as pd
import pytest
from made_pairs import HELD_OUT, TEXTS, TRAINING, made_rows, made_twin

from molbt import Predictor
from molbt.cli.main import run
from molbt.predict.saved_zero_shot import load_zero_shot, save_zero_shot
from molbt.predict.zero_shot import ZeroShotPredictor

TEXT = TEXTS[HELD_OUT[0]]
NEW = pd.DataFrame({"smiles": ["CCO", "C1CC", "c1ccccc1N", "CC(=O)Cl", "CCS"], "mine": [5, 4, 3, 2, 1]})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a twin, its tables of pairs and new molecules, and three predictors: ``trees``, ``twin`` and ``plain``."""
    folder = tmp_path_factory.mktemp("boosted")
    made_twin(folder / "run")
    held_out, training = made_rows(HELD_OUT, n=60, first=240), made_rows(TRAINING, n=80)
    held_out.to_csv(folder / "held_out.csv", index=False)
    training.to_csv(folder / "training.csv", index=False)
    NEW.to_csv(folder / "new.csv", index=False)
    assert run([*calibrate(folder, "-o", str(folder / "trees")), "--max-pairs", "1000", "--random-state", "3"]) == 0
    twin = ZeroShotPredictor.calibrate(folder / "run", held_out["smiles"], held_out["text"], held_out["label"])
    save_zero_shot(twin, folder / "twin")
    known = training.head(60)
    Predictor(features="counts", head="knn", calibration=None, applicability=False).fit(known["smiles"], known["label"]).save(
        folder / "plain"
    )
    return folder


def calibrate(folder, *options, head="lightgbm", training="training.csv"):
    known = ["--training", str(folder / training)] if training else []
    return ["-q", "calibrate", str(folder / "held_out.csv"), "--model", str(folder / "run"), "--head", head, *known, *options]


def explain(folder, predictor, output, *options):
    return ["-q", "explain", str(folder / "new.csv"), "--predictor", str(folder / predictor), "-o", str(output), *options]


def test_the_command_is_the_library_with_its_options(place, tmp_path, capsys):
    assert run([*calibrate(place, "-o", str(tmp_path / "p")), "--max-pairs", "1000", "--random-state", "3"]) == 0
    said = capsys.readouterr().out
    assert f"LightGBM learned from 1,000 pairs of {len(TRAINING)} assays" in said
    assert "with the text ignored" in said
    assert "ROC AUC of the twin's own scores of the same pairs" in said
    assert "90 % sets held" in said
    held_out, training = pd.read_csv(place / "held_out.csv"), pd.read_csv(place / "training.csv")
    expected = ZeroShotPredictor.calibrate(
        place / "run",
        *(held_out[name].tolist() for name in ("smiles", "text", "label")),
        head="lightgbm",
        training=tuple(training[name].tolist() for name in ("smiles", "text", "label")),
        max_pairs=1000,
        random_state=3,
    )
    found = load_zero_shot(tmp_path / "p")
    assert np.array_equal(found.score(NEW["smiles"], [TEXT]), expected.score(NEW["smiles"], [TEXT]), equal_nan=True)
    assert found.ranking == expected.ranking


def test_info_shows_again_what_calibrating_found(place, tmp_path, capsys):
    assert run([*calibrate(place, "-o", str(tmp_path / "p")), "--max-pairs", "1000"]) == 0
    found = capsys.readouterr().out.splitlines()[1:-1]  # between what the trees learned from and where they lie
    assert run(["info", str(tmp_path / "p")]) == 0
    assert capsys.readouterr().out.splitlines() == [f"predictor for assays without labels: {tmp_path / 'p'}, head lightgbm", *found]
    path = tmp_path / "p" / "zero_shot.json"
    content = json.loads(path.read_text())
    del content["calibration"]["n_assays"]
    path.write_text(json.dumps(content))
    assert run(["info", str(tmp_path / "p")]) == 0
    assert "its coverage was counted over rows" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ({"training": None}, 2, "expected labelled training pairs for the head lightgbm"),
        ({"head": "lightgmb"}, 2, "did you mean 'lightgbm'"),
        ({"head": "twin", "options": ["--max-pairs", "5"]}, 2, "no max_pairs for the head twin"),
        ({"head": "twin", "options": ["--random-state", "5"]}, 2, "no random_state for the head twin"),
        ({"options": ["--max-pairs", "1"]}, 2, "--max-pairs"),
        ({"training": "held_out.csv"}, 1, "texts that are in both tables"),
        ({"training": "new.csv"}, 1, "column 'text' is not in"),
        ({"training": "unlabelled.csv"}, 1, "column 'label' is not in"),
    ],
)
def test_what_does_not_go_together_is_refused_and_leaves_nothing(place, tmp_path, capsys, given, code, said):
    made_rows(TRAINING[:1], n=5).drop(columns="label").to_csv(place / "unlabelled.csv", index=False)
    options = given.pop("options", [])
    assert run(calibrate(place, "-o", str(tmp_path / "p"), *options, **given)) == code
    assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_predictions_keep_every_row_in_its_place(place, tmp_path, capsys):
    command = ["-q", "predict", str(place / "new.csv"), "--predictor", str(place / "trees"), "-o", str(tmp_path / "out.csv")]
    assert run([*command, "--text", TEXT, "--shard-rows", "2"]) == 0
    assert "nearest known assay" in capsys.readouterr().out
    found, loaded = pd.read_csv(tmp_path / "out.csv"), load_zero_shot(place / "trees")
    assert found["mine"].tolist() == NEW["mine"].tolist()
    np.testing.assert_allclose(found["prediction"], loaded.score(NEW["smiles"], [TEXT])[:, 0], rtol=1e-12)
    assert found["molbt_reason"].isna().tolist() == [True, False, True, True, True]
    pd.DataFrame({"id": ["a", "b"], "text": [TEXT, TEXTS[HELD_OUT[1]]]}).to_csv(tmp_path / "texts.csv", index=False)
    assert run([*command, "--texts", str(tmp_path / "texts.csv")]) == 0
    both = pd.read_csv(tmp_path / "out.csv")
    assert both["prediction_a"].equals(found["prediction"])
    assert not both["prediction_b"].equals(found["prediction"])


def test_an_explanation_adds_up_to_the_prediction_and_names_training_pairs(place, tmp_path, capsys):
    assert run(explain(place, "trees", tmp_path / "e", "--text", TEXT, "--limit", "4")) == 0
    said = capsys.readouterr().out
    assert "The first 4 of 5 rows are explained; --limit 5 explains all." in said
    assert "row 1 refused: unclosed ring" in said
    assert "3 molecules explained, 1 refused" in said
    names = ["assays.csv", "contributions.csv", "index.html", "pairs.csv", "predictions.csv"]
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == names
    loaded = load_zero_shot(place / "trees")
    predictions = pd.read_csv(tmp_path / "e" / "predictions.csv")
    assert predictions["smiles"].tolist() == NEW["smiles"].tolist()[:4]
    np.testing.assert_allclose(predictions["prediction"], loaded.score(NEW["smiles"][:4], [TEXT])[:, 0], rtol=1e-6)
    assert predictions["molbt_reason"].isna().tolist() == [True, False, True, True]
    contributions = pd.read_csv(tmp_path / "e" / "contributions.csv")
    sums = contributions.groupby("row")["contribution"].sum()
    assert sums.index.tolist() == [0, 2, 3]
    np.testing.assert_allclose(sums, predictions["log_odds"].dropna(), rtol=1e-9)
    training = pd.read_csv(place / "training.csv")
    pairs = pd.read_csv(tmp_path / "e" / "pairs.csv").merge(training.drop_duplicates(), on=["smiles", "text"], suffixes=("", "_known"))
    assert len(pairs) == 15
    assert (pairs["label"] == pairs["label_known"]).all()
    assert set(pd.read_csv(tmp_path / "e" / "assays.csv")["text"]) <= set(training["text"])
    page = (tmp_path / "e" / "index.html").read_text()
    for part in ("unclosed ring", "Row 0: probability", "Row 3: probability", TEXT, "with the text ignored", "Nearest known assay"):
        assert part in page
    assert page.count('role="img"') == 3
    assert " src=" not in page
    assert "href=" not in page


@pytest.mark.parametrize(
    ("predictor", "options", "code", "said"),
    [
        ("twin", [], 2, "expected a predictor with the head lightgbm"),
        ("twin", ["--text", "a"], 2, "received one with the head twin, whose score has no parts to show; make one with molbt calibrate"),
        ("plain", ["--text", "a"], 2, "expected a predictor of molbt calibrate for --text"),
        ("trees", [], 2, "expected --text TEXT"),
        ("trees", ["--text", "a", "--target", "label"], 2, "one way to explain it, received --target label; leave it out"),
        ("trees", ["--text", "a", "--method", "masking"], 2, "received --method masking"),
        ("trees", ["--text", " "], 2, "expected a description of an assay"),
        ("trees", ["--text", "a", "--smiles-column", "molecule"], 1, "pass --smiles-column"),
    ],
)
def test_what_cannot_be_explained_is_said_and_leaves_nothing(place, tmp_path, capsys, predictor, options, code, said):
    assert run(explain(place, predictor, tmp_path / "e", *options)) == code
    assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
