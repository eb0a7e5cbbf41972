"""Zero-shot predictors with trees: calibrated as the twin is, against the formulas, and on assays that the trees did not learn from."""

import logging

import numpy as np
import pandas as pd
import pytest
from made_pairs import HELD_OUT, TEXTS, TRAINING, made_rows, with_unreadable
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from molbt import PairFeaturizer
from molbt.errors import ConfigError, DataError
from molbt.predict import held_out_scores
from molbt.predict.held_out_scores import boosted_scorer
from molbt.predict.pair_block import INTERACTIONS
from molbt.predict.zero_shot import ZeroShotPredictor

TABLE = with_unreadable(made_rows(HELD_OUT, n=120, first=240))
COLUMNS = ["smiles", "text", "label"]


def columns_of(table):
    return tuple(table[name] for name in COLUMNS)


def calibrated(twin, training, table=TABLE, **changes):
    return ZeroShotPredictor.calibrate(twin, *columns_of(table), head="lightgbm", training=columns_of(training), **changes)


@pytest.fixture(scope="module")
def scores(twin, boosted):
    """Of every molecule of the table for every text: LightGBM's own answer to the features of scikit-learn's transformer."""
    head = boosted.boosted.head
    featurizer = PairFeaturizer(twin, interactions=INTERACTIONS, on_invalid="nan").fit()
    smiles = TABLE["smiles"].drop_duplicates().tolist()
    found = {}
    for text in TABLE["text"].unique():
        rows = featurizer.transform(pd.DataFrame({"s": smiles, "t": text}))
        answers = head.booster_.predict(rows[:, head.columns_].astype(np.float64), raw_score=True)
        found[text] = np.where(np.isnan(rows).any(axis=1), np.nan, answers)
    return pd.DataFrame(found, index=smiles)


@pytest.fixture(scope="module")
def scored(scores):
    own = [scores.loc[smiles, text] for smiles, text in zip(TABLE["smiles"], TABLE["text"], strict=True)]
    return TABLE.assign(score=own, blind=scores.mean(axis=1).loc[TABLE["smiles"]].to_numpy()).dropna(subset="score")


def test_the_ranking_is_that_of_the_log_odds_and_the_control_their_mean_over_the_texts(boosted, scored):
    aucs = np.array(
        [(roc_auc_score(rows["label"], rows["score"]), roc_auc_score(rows["label"], rows["blind"])) for _, rows in scored.groupby("text")]
    )
    assert len(scored) < len(TABLE)  # some molecules are refused
    assert boosted.ranking.n_assays == len(aucs) == len(HELD_OUT)
    assert boosted.ranking.roc_auc == pytest.approx(aucs[:, 0].mean())
    assert boosted.ranking.text_ignored == pytest.approx(aucs[:, 1].mean())
    assert boosted.ranking.gain == pytest.approx(np.diff(aucs)[:, 0].mean() * -1)
    assert boosted.ranking.roc_auc > 0.65
    assert (boosted.ranking.n_descriptions, boosted.ranking.n_seen) == (len(HELD_OUT), 0)


def test_the_twins_own_ranking_of_the_same_pairs_stands_beside(twin, boosted, scored):
    distinct = list(dict.fromkeys(scored["text"]))
    matrix = PairFeaturizer(twin, on_invalid="nan").fit().score(scored["smiles"].tolist(), distinct)
    own = matrix[np.arange(len(scored)), [distinct.index(text) for text in scored["text"]]]
    pairs = [
        (roc_auc_score(rows["label"], rows["score"]), roc_auc_score(rows["label"], rows["twin"]))
        for _, rows in scored.assign(twin=own).groupby("text")
    ]
    trees, alone = np.array(pairs).T
    found = boosted.ranking
    assert found.twin == pytest.approx(alone.mean())
    assert found.gain_over_twin == pytest.approx((trees - alone).mean())
    n = len(pairs)
    np.testing.assert_allclose(
        found.gain_over_twin_interval, stats.t.interval(0.95, n - 1, (trees - alone).mean(), stats.sem(trees - alone))
    )


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.01, 0.05), "LightGBM ranks better"),
        ((-0.05, -0.01), "ranks worse: --head twin"),
        ((-0.01, 0.05), "no gain from LightGBM is shown"),
    ],
)
def test_a_gain_over_the_twin_is_claimed_only_outside_of_zero(boosted, interval, said):
    changed = boosted.ranking.model_copy(update={"gain_over_twin": sum(interval) / 2, "gain_over_twin_interval": interval})
    assert said in changed.twin_line()


def test_probabilities_are_platts_of_the_log_odds(boosted, scored):
    weights = 1 / scored["text"].map(scored["text"].value_counts())
    fitted = LogisticRegression(C=1e6).fit(scored[["score"]], scored["label"], sample_weight=weights)
    text = TEXTS[HELD_OUT[2]]
    rows = scored[scored["text"] == text]
    found = boosted.score(rows["smiles"].tolist(), [text])[:, 0]
    np.testing.assert_allclose(found, fitted.predict_proba(rows[["score"]])[:, 1], rtol=1e-4)


def test_predictions_keep_the_rows_and_name_the_nearest_of_the_training_table(boosted):
    asked = ["CCO", "C1CC", made_rows(TRAINING[:1], n=8)["smiles"][7]]
    found = boosted.predict_table(asked, TEXTS[TRAINING[1]])
    assert found["prediction"].isna().tolist() == [False, True, False]
    assert found["nearest_similarity"][2] == 1
    assert found["nearest_assay"].tolist() == [TEXTS[TRAINING[1]]] * 3
    assert set(boosted.texts) == {TEXTS[name] for name in TRAINING}


def test_a_large_control_is_a_mean_over_some_of_the_texts(twin, boosted, scores, monkeypatch, caplog):
    monkeypatch.setattr(held_out_scores, "CONTROL_PAIRS", 2 * len(scores))
    monkeypatch.setattr(held_out_scores, "FEWEST_CONTROL_TEXTS", 1)
    smiles, texts = scores.index.tolist(), scores.columns.tolist()
    places = np.arange(len(smiles))
    with caplog.at_level(logging.INFO, logger="molbt"):
        own, blind = boosted_scorer(boosted.featurizer, boosted.boosted)(smiles, texts, places, np.zeros_like(places))
    np.testing.assert_allclose(own, scores[texts[0]])
    means = [scores[[one, other]].mean(axis=1, skipna=False) for i, one in enumerate(texts) for other in texts[:i]]
    assert sum(np.allclose(blind, mean, equal_nan=True) for mean in means) == 1
    assert f"means over 2 of {len(texts)} texts" in caplog.text


def test_assays_that_the_trees_learned_are_refused_whatever_the_case(twin):
    training = pd.concat([made_rows(TRAINING, n=20), made_rows(HELD_OUT[:2], n=20).assign(text=lambda rows: rows["text"].str.upper())])
    with pytest.raises(DataError, match=f"2 of {len(HELD_OUT)} texts that are in both tables, the first 'Molecules that hold"):
        calibrated(twin, training)
    unlabelled = training.assign(label=training["label"].where(training["task"].isin(TRAINING)))
    assert calibrated(twin, unlabelled).boosted.head.n_train_ == 20 * len(TRAINING)


def test_the_sample_is_drawn_by_its_seed(twin):
    training = made_rows(TRAINING, n=60)
    one, again, other = (calibrated(twin, training, max_pairs=300, random_state=seed) for seed in (1, 1, 2))
    assert {len(found.boosted.pairs) for found in (one, again, other)} == {300}
    scores = [found.score(["CCO", "CCN", "c1ccccc1O"], [TEXTS[HELD_OUT[0]]]) for found in (one, again, other)]
    assert np.array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"head": "lightgbm"}, r"training=\(smiles, texts, labels\), received none; .*--training TRAIN"),
        ({"head": "lightgbm", "training": (["C"], ["a"])}, "received 2 sequences"),
        ({"training": (["C"], ["a"], [1.0])}, "head twin, which learns from no labels, received 3 sequences"),
        ({"max_pairs": 10}, "no max_pairs for the head twin"),
        ({"random_state": 0}, "no random_state for the head twin"),
        ({"head": "lightgbm", "training": (["C"], ["a"], [1.0]), "max_pairs": 1}, "two or more training pairs, received max_pairs 1"),
        ({"head": "lightgmb"}, "did you mean 'lightgbm'"),
    ],
)
def test_what_does_not_go_with_the_head_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        ZeroShotPredictor.calibrate("nowhere", *columns_of(TABLE), **given)
