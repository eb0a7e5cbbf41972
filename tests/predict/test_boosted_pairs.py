"""Trees on the embeddings of pairs: their log-odds and leaves are LightGBM's own."""

import numpy as np
import pandas as pd
import pytest
from made_pairs import HELD_OUT, TEXTS, TRAINING, made_rows
from scipy.special import logit

from molbt import PairFeaturizer
from molbt.errors import DataError
from molbt.predict.boosted_pairs import BoostedPairs, leaves_of, log_odds
from molbt.predict.pair_block import INTERACTIONS, pair_features
from molbt.predict.training_pairs import TrainingPairs

NEW = ["CCO", "C1CC", "c1ccccc1N", "CC(=O)Cl"]
ASKED = [TEXTS[HELD_OUT[0]], " ", TEXTS[HELD_OUT[1]]]


def featurized(twin, smiles, texts, columns):
    """The columns that the trees look at, of pairs in rows, as scikit-learn would give them."""
    rows = PairFeaturizer(twin, interactions=INTERACTIONS, on_invalid="nan").fit().transform(pd.DataFrame({"s": smiles, "t": texts}))
    return rows[:, columns].astype(np.float64)


@pytest.fixture(scope="module")
def embedded(twin):
    featurizer = PairFeaturizer(twin, on_invalid="nan").fit()
    return featurizer.embed_molecules(NEW)[0], featurizer.embed_texts(ASKED)[0]


def test_scores_are_the_log_odds_of_every_pair_and_missing_where_it_is_refused(twin, boosted, embedded):
    head = boosted.boosted.head
    expected = [head.booster_.predict(featurized(twin, NEW, [text] * len(NEW), head.columns_), raw_score=True) for text in ASKED]
    found = boosted.boosted.score(*embedded)
    refused = np.zeros((4, 3), dtype=bool)
    refused[1], refused[:, 1] = True, True
    np.testing.assert_array_equal(np.isnan(found), refused)
    np.testing.assert_allclose(found[~refused], np.transpose(expected)[~refused], rtol=1e-9)
    assert len(np.unique(found[~refused])) > 3


def test_log_odds_are_the_probabilities_of_the_head_and_need_no_memory_for_all_rows(boosted, embedded, monkeypatch):
    pairs = boosted.boosted.pairs
    rng = np.random.default_rng(0)
    features = pair_features(*embedded, rng.integers(0, 4, 50), rng.integers(0, 3, 50))
    expected = logit(boosted.boosted.head.predict(features))
    np.testing.assert_allclose(log_odds(boosted.boosted.head, features), expected, rtol=1e-6)
    monkeypatch.setattr("molbt.predict.boosted_pairs.BATCH_ROWS", 7)
    np.testing.assert_allclose(log_odds(boosted.boosted.head, features), expected, rtol=1e-6)
    assert len(pairs) == 4_000


def test_leaves_are_those_of_the_training_pairs(twin, boosted):
    head, pairs, leaves = boosted.boosted.head, boosted.boosted.pairs, boosted.boosted.leaves
    assert leaves.dtype == np.int8
    smiles, texts = [pairs.smiles[place] for place in pairs.molecule], [pairs.texts[place] for place in pairs.assay]
    features = featurized(twin, smiles, texts, head.columns_)
    refused = np.isnan(features).any(axis=1)
    assert 0 < refused.sum() < 200
    assert (leaves[refused] == -1).all()
    np.testing.assert_array_equal(leaves[~refused], head.booster_.predict(features[~refused], pred_leaf=True))


def test_more_leaves_take_more_bytes(boosted, embedded, monkeypatch):
    monkeypatch.setattr(boosted.boosted.head, "num_leaves", 255)
    assert leaves_of(boosted.boosted.head, pair_features(*embedded, np.array([0]), np.array([0]))).dtype == np.int16


def test_one_label_teaches_nothing(twin):
    rows = made_rows(TRAINING[:2], n=20)
    rows.loc[rows["label"] == 1, "smiles"] = "C1CC"  # refused
    featurizer = PairFeaturizer(twin, on_invalid="nan").fit()
    with pytest.raises(DataError, match="usable ones that are all 0"):
        BoostedPairs.fit(featurizer, TrainingPairs.of_texts(rows["smiles"], rows["text"], rows["label"]))
