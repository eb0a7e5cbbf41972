"""Zero-shot predictors: calibration on assays that the twin did not see, against the formulas, and their files and commands."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
from made_pairs import ASSAYS, HELD_OUT, TRAINING, made_rows
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from molbt import PairFeaturizer
from molbt.cli.main import run as molbt
from molbt.errors import CheckpointError, ConfigError, DataError, ShapeError
from molbt.predict.ranking_quality import RankingQuality
from molbt.predict.saved_zero_shot import load_zero_shot, save_zero_shot
from molbt.predict.zero_shot import ZeroShotPredictor
from molbt.predict.zero_shot_columns import texts_of_table


@pytest.fixture(scope="module")
def table():
    return made_rows(HELD_OUT, n=120, first=240)


@pytest.fixture(scope="module")
def predictor(twin, table):
    return ZeroShotPredictor.calibrate(twin, table["smiles"], table["text"], table["label"])


def scores_of(twin, table):
    distinct = list(dict.fromkeys(table["text"]))
    matrix = PairFeaturizer(twin, on_invalid="nan").fit().score(table["smiles"].tolist(), distinct)
    return matrix[np.arange(len(table)), [distinct.index(text) for text in table["text"]]], matrix, distinct


def test_new_assays_are_ranked_and_the_control_stands_beside(twin, table, predictor):
    scores, matrix, distinct = scores_of(twin, table)
    known = np.isfinite(scores)
    found = predictor.ranking
    by_assay = [
        (roc_auc_score(table["label"][rows], scores[rows]), roc_auc_score(table["label"][rows], matrix[rows].mean(axis=1)))
        for text in distinct
        for rows in [known & (table["text"] == text).to_numpy()]
    ]
    told, blind = np.array(by_assay).T
    assert found.n_assays == len(HELD_OUT)
    assert found.roc_auc == pytest.approx(told.mean())
    assert found.text_ignored == pytest.approx(blind.mean(), abs=1e-6)
    half = 1.96 * np.std(told - blind, ddof=1) / np.sqrt(len(told))
    low, high = found.gain_interval
    assert (low + high) / 2 == pytest.approx((told - blind).mean(), abs=1e-6)
    assert half < (high - low) / 2 < 2 * half  # Student's t is wider than the normal
    assert found.roc_auc > 0.7
    assert low > 0
    assert "text" in found.line()


@pytest.mark.parametrize(
    ("text_ignored", "interval", "words"),
    [
        (0.6, (0.01, 0.05), "tells something"),
        (0.6, (-0.01, 0.05), "no gain"),
        (0.6, (-0.05, -0.01), "costs"),
        (0.4, (0.1, 0.3), "claims nothing"),
    ],
)
def test_a_gain_is_claimed_only_over_a_control_that_is_one(text_ignored, interval, words):
    quality = RankingQuality(
        n_assays=9, roc_auc=0.65, roc_auc_interval=(0.6, 0.7), text_ignored=text_ignored, gain=sum(interval) / 2, gain_interval=interval
    )
    assert words in quality.line()


def test_probabilities_are_platts_with_assays_of_equal_weight(twin, table, predictor):
    scores, _, _ = scores_of(twin, table)
    known = np.isfinite(scores)
    sizes = table["text"][known].map(table["text"][known].value_counts())
    fitted = LogisticRegression(C=1e6).fit(scores[known, None].astype(float), table["label"][known], sample_weight=1 / sizes)
    expected = fitted.predict_proba(scores[known, None].astype(float))[:, 1]
    distinct = list(dict.fromkeys(table["text"]))
    columns = [distinct.index(text) for text in table["text"]]
    probabilities = predictor.score(table["smiles"].tolist(), distinct)[np.arange(len(table)), columns]
    np.testing.assert_allclose(probabilities[known], expected, rtol=1e-4)
    assert np.isnan(probabilities[~known]).all()


def test_sets_hold_the_labels_of_assays_that_took_no_part(predictor):
    fresh = made_rows(["nitrogen_carbonyl", "sulfur_ring", "oxygen_branch"], n=150, first=400)
    observed = {level.confidence: level for level in predictor.calibration.summary.observed}
    assert set(observed) == {0.8, 0.9, 0.95}
    assert abs(observed[0.9].covered - 0.9) < 0.08
    tables = [predictor.predict_table(rows["smiles"], text) for text, rows in fresh.groupby("text", sort=False)]
    held = [
        f"{label:.0f}" in str(found)
        for (_, rows), answers in zip(fresh.groupby("text", sort=False), tables, strict=True)
        for label, found in zip(rows["label"], answers["prediction_set"], strict=True)
        if found is not None
    ]
    assert np.mean(held) > 0.75


def test_a_twin_that_ranks_the_wrong_way_round_promises_nothing(twin, table, caplog):
    with caplog.at_level(logging.WARNING, logger="molbt"):
        turned = ZeroShotPredictor.calibrate(twin, table["smiles"], table["text"], 1 - table["label"])
    assert turned.sigmoid.slope == 0
    assert "do not rank actives" in caplog.text
    rate = (1 - table["label"]).groupby(table["text"]).mean().mean()
    assert turned.score(["CCO"], [table["text"][0]])[0, 0] == pytest.approx(rate, abs=0.02)
    assert expit(logit(0.3)) == pytest.approx(0.3)


def test_what_cannot_be_calibrated_is_refused(twin, table):
    few = table[table["text"].isin(table["text"].unique()[:4])]
    with pytest.raises(DataError, match="5 or more assays"):
        ZeroShotPredictor.calibrate(twin, few["smiles"], few["text"], few["label"])
    with pytest.raises(DataError, match=r"7\.5"):
        ZeroShotPredictor.calibrate(twin, ["CCO"], ["a"], [7.5])
    with pytest.raises(ShapeError, match="as many texts"):
        ZeroShotPredictor.calibrate(twin, ["CCO"], ["a", "b"], [1.0])


def test_the_nearest_assay_is_the_one_with_the_words(predictor):
    found = predictor.nearest_assay([predictor.texts[2], "  ", predictor.texts[4] + " in a zebra"])
    assert found["nearest_assay"].tolist()[::2] == [predictor.texts[2], predictor.texts[4]]
    assert found["nearest_assay"].isna().tolist() == [False, True, False]
    assert found["nearest_assay_cosine"][0] == pytest.approx(1)
    assert np.isnan(found["nearest_assay_cosine"][1])


def by_rdkit(smiles, known):
    """The mean count Tanimoto of ECFP4 and atom pairs to each known molecule."""
    generators = (
        rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=65_536),
        rdFingerprintGenerator.GetAtomPairGenerator(fpSize=65_536),
    )
    mine, theirs = Chem.MolFromSmiles(smiles), [Chem.MolFromSmiles(other) for other in known]
    return np.mean(
        [
            [DataStructs.TanimotoSimilarity(g.GetCountFingerprint(mine), g.GetCountFingerprint(mol)) if mol else -1 for mol in theirs]
            for g in generators
        ],
        axis=0,
    )


def test_the_nearest_known_molecule_and_assay_stand_beside(predictor, table):
    asked = ["c1ccccc1CCN", "C1CC", table["smiles"][3]]
    found = predictor.predict_table(asked, predictor.texts[1])
    known = table["smiles"].tolist()
    for row in (0, 2):
        similarity = by_rdkit(asked[row], known)
        assert found["nearest_similarity"][row] == pytest.approx(similarity.max(), abs=0.02)  # folding merges some features
        assert found["nearest_training_smiles"][row] == known[int(found["nearest_training_row"][row])]
    assert found["nearest_training_smiles"][2] == asked[2]
    assert found["distance_percentile"][2] == 0
    assert found["nearest_training_row"].isna().tolist() == [False, True, False]
    assert found["nearest_assay"].tolist() == [predictor.texts[1]] * 3
    assert predictor.predict_table(asked, "a", nearest=False).columns.tolist()[-1] == "prediction_p1"


def test_with_the_training_table_the_nearest_are_of_it(twin, table):
    training = made_rows(ASSAYS[1:3], n=20)
    training = pd.concat([training.head(3), training], ignore_index=True)  # a molecule counts where it comes first
    found = ZeroShotPredictor.calibrate(
        twin, table["smiles"], table["text"], table["label"], training=(training["smiles"], training["text"])
    )
    told = found.predict_table([training["smiles"][10], table["smiles"][0]], training["text"].iloc[-1])
    assert told["nearest_training_row"].tolist()[0] == 10
    assert set(told["nearest_training_smiles"]) <= set(training["smiles"])
    assert told["nearest_assay"].tolist() == [training["text"].iloc[-1]] * 2
    assert set(found.texts) == set(training["text"])


def test_saved_predictors_answer_as_before_and_damage_is_noticed(predictor, table, tmp_path):
    save_zero_shot(predictor, tmp_path / "p")
    loaded = load_zero_shot(tmp_path / "p")
    before, after = (p.predict_table(["CCO", "C1CC", "c1ccccc1N"], table["text"][0]) for p in (predictor, loaded))
    pd.testing.assert_frame_equal(before, after)
    assert "nearest_assay_cosine" in before
    assert before["prediction"].isna().tolist() == [False, True, False]
    assert loaded.ranking == predictor.ranking
    with pytest.raises(ConfigError, match="empty"):
        save_zero_shot(predictor, tmp_path / "p")
    path = tmp_path / "p" / "zero_shot.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"slope": content["slope"] * 2}))
    with pytest.raises(CheckpointError, match="checksum"):
        load_zero_shot(tmp_path / "p")
    path.write_text(json.dumps(content))
    weights = tmp_path / "p" / "model" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-3] ^= 1
    weights.write_bytes(bytes(damaged))
    with pytest.raises(CheckpointError, match="damaged"):
        load_zero_shot(tmp_path / "p")


def test_commands_from_a_table_of_pairs_to_predictions(twin, table, tmp_path, capsys):
    table.to_csv(tmp_path / "pairs.csv", index=False)
    molecules = pd.DataFrame({"smiles": ["CCO", "C1CC", "CCN", "c1ccccc1Cl"], "mine": [1, 2, 3, 4]})
    molecules.to_csv(tmp_path / "new.csv", index=False)
    p, new, out = str(tmp_path / "p"), str(tmp_path / "new.csv"), str(tmp_path / "out.csv")
    assert molbt(["-q", "calibrate", str(tmp_path / "pairs.csv"), "--model", str(twin), "-o", p]) == 0
    said = capsys.readouterr().out
    assert "with the text ignored" in said
    assert "90 % sets held" in said
    text = table["text"][0]
    assert molbt(["-q", "predict", new, "--predictor", p, "--text", text, "-o", out]) == 0
    assert "nearest known assay" in capsys.readouterr().out
    found = pd.read_csv(out)
    expected = load_zero_shot(p).predict_table(molecules["smiles"], text)
    np.testing.assert_allclose(found["prediction"], expected["prediction"], rtol=1e-6)
    assert found["prediction_set"].fillna("").tolist() == expected["prediction_set"].fillna("").tolist()
    assert found["mine"].tolist() == [1, 2, 3, 4]
    assert found["molbt_reason"].isna().tolist() == [True, False, True, True]
    texts = pd.DataFrame({"assay_id": ["A7", "B9"], "text": [text, table["text"].iloc[-1]]})
    (tmp_path / "texts.csv").write_text(texts.to_csv(index=False) + "\n")  # a blank line costs no column but its own
    assert molbt(["-q", "predict", new, "--predictor", p, "--texts", str(tmp_path / "texts.csv"), "-o", out]) == 0
    matrix = pd.read_csv(out)
    np.testing.assert_allclose(matrix["prediction_A7"], found["prediction"], rtol=1e-6)
    assert "prediction_B9" in matrix
    assert matrix["nearest_similarity"].equals(found["nearest_similarity"])
    assert molbt(["-q", "predict", new, "--predictor", p, "--text", text, "--no-nearest", "-o", out]) == 0
    assert "nearest_similarity" not in pd.read_csv(out)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--text TEXT or --texts FILE"),
        (["--text", "a", "--texts", "b.csv"], "either --text"),
        (["--text", "  "], "description of an assay"),
    ],
)
def test_wrong_options_are_refused(predictor, tmp_path, capsys, options, words):
    save_zero_shot(predictor, tmp_path / "p")
    (tmp_path / "new.csv").write_text("smiles\nCCO\n")
    command = ["predict", str(tmp_path / "new.csv"), "--predictor", str(tmp_path / "p"), "-o", str(tmp_path / "out.csv"), *options]
    assert molbt(command) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out.csv").exists()


def test_rows_without_a_text_get_no_column_and_are_named(tmp_path, caplog):
    (tmp_path / "named.csv").write_text("assay_id,text\nA7,binds\nB9,\n\nC3,inhibits,twice\nD1,kills\n\n")
    with caplog.at_level(logging.WARNING, logger="molbt"):
        assert texts_of_table(tmp_path / "named.csv", "text") == (("binds", "kills"), ("A7", "D1"))
    assert f"{tmp_path / 'named.csv'}: 4 of 6 rows have no text in column 'text' and get no column" in caplog.text
    for row, reason in ((1, "blank"), (2, "blank line"), (5, "blank line")):
        assert f"row {row} ({reason})" in caplog.text
    assert "row 3 (expected 2 fields, found 3)" in caplog.text
    (tmp_path / "unnamed.csv").write_text("text\nbinds\n\nkills\n")
    assert texts_of_table(tmp_path / "unnamed.csv", "text") == (("binds", "kills"), ("0", "2"))  # each keeps its row as its name
    (tmp_path / "blank.csv").write_text("text\n\n\n")
    with pytest.raises(ConfigError, match=r"in column 'text' of .*blank\.csv, received 0"):
        texts_of_table(tmp_path / "blank.csv", "text")


def test_whole_texts_give_no_warning(tmp_path, caplog):
    (tmp_path / "t.csv").write_text("text\nbinds\nkills\n")
    with caplog.at_level(logging.WARNING, logger="molbt"):
        assert texts_of_table(tmp_path / "t.csv", "text") == (("binds", "kills"), ("0", "1"))
    assert not caplog.records


def test_descriptions_that_pretraining_had_are_counted_and_said(twin, table, tmp_path, capsys):
    new = ZeroShotPredictor.calibrate(twin, table["smiles"], table["text"], table["label"])
    assert (new.ranking.n_descriptions, new.ranking.n_seen, new.ranking.warning()) == (len(HELD_OUT), 0, "")
    mixed = pd.concat([table, made_rows(TRAINING[:3], n=120, first=240).assign(text=lambda rows: rows["text"].str.upper())])
    mixed.to_csv(tmp_path / "mixed.csv", index=False)
    assert molbt(["calibrate", str(tmp_path / "mixed.csv"), "--model", str(twin), "-o", str(tmp_path / "p")]) == 0
    said = capsys.readouterr().err
    assert f"warning: 3 of the {len(HELD_OUT) + 3} descriptions were in the model's pretraining" in said
    kept = load_zero_shot(tmp_path / "p").ranking
    assert (kept.n_descriptions, kept.n_seen) == (len(HELD_OUT) + 3, 3)
    # Beside a model that does not tell, nothing is claimed.
    (tmp_path / "p" / "model" / "seen_texts.npy").unlink()
    quiet = ZeroShotPredictor.calibrate(tmp_path / "p" / "model", table["smiles"], table["text"], table["label"])
    assert (quiet.ranking.n_seen, quiet.ranking.warning()) == (None, "")
