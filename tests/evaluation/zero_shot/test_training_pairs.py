"""Training pairs hold what the rows say, and texts become numbers."""

import numpy as np
import pandas as pd
import pytest
from made_pairs import TEXTS, TRAINING, made_rows

from molbt.errors import DataError
from molbt.evaluation.zero_shot.text_features import TextFeatures
from molbt.evaluation.zero_shot.training_pairs import TrainingPairs

ROWS = made_rows(TRAINING, n=30)


def table_of(pairs: TrainingPairs) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "smiles": [pairs.smiles[place] for place in pairs.molecule],
            "task": [pairs.assays[place] for place in pairs.assay],
            "label": pairs.label.astype(float),
            "text": [pairs.texts[place] for place in pairs.assay],
        }
    )


def test_described_and_labelled_rows_are_kept_in_their_order():
    rows = ROWS.assign(label=ROWS["label"].where(ROWS.index != 3))
    texts = {name: text for name, text in TEXTS.items() if name != TRAINING[1]}
    expected = rows[(rows.index != 3) & (rows["task"] != TRAINING[1])]
    pd.testing.assert_frame_equal(table_of(TrainingPairs.of(rows, texts)), expected.reset_index(drop=True), check_dtype=False)


def test_a_sample_is_some_of_the_pairs_and_the_same_each_time():
    pairs = TrainingPairs.of(ROWS, TEXTS)
    sample = pairs.sampled(100, random_state=1)
    assert len(sample) == 100
    assert len(table_of(sample).merge(ROWS.drop_duplicates())) == 100
    assert set(sample.molecule) == set(range(len(sample.smiles)))
    assert sample.identity == pairs.sampled(100, random_state=1).identity != pairs.sampled(100, random_state=2).identity
    assert pairs.sampled(len(pairs)) is pairs


def test_the_identity_changes_with_any_part():
    changed = [ROWS.assign(label=1 - ROWS["label"]), ROWS.iloc[::-1], ROWS.assign(smiles=ROWS["smiles"] + "C")]
    found = [TrainingPairs.of(rows, TEXTS).identity for rows in (ROWS, *changed)]
    found.append(TrainingPairs.of(ROWS, {name: text + "." for name, text in TEXTS.items()}).identity)
    assert len(set(found)) == 5


def test_rows_without_both_classes_or_texts_are_refused():
    for rows, texts in ((ROWS, {"other": "text"}), (ROWS[ROWS["label"] == 1], TEXTS)):
        with pytest.raises(DataError, match="both classes"):
            TrainingPairs.of(rows, texts)


def test_texts_are_tf_idf_and_its_leading_directions():
    texts = ["inhibition of CYP3A4", "inhibition of 5-HT2A", "activation of CYP3A4", "binding to 5-HT2A"]
    features = TextFeatures([*texts, texts[0]], components=2)
    weights = features.weights(texts).toarray()
    # Terms in two of the four distinct texts: inhibition, of, "inhibition of", "of cyp3a4", cyp3a4, 5-ht2a. Words of three are in "of".
    documents = {"inhibition": 2, "of": 3, "inhibition of": 2, "cyp3a4": 2, "of cyp3a4": 2}
    idf = np.array([np.log(5 / (1 + n)) + 1 for n in documents.values()])
    np.testing.assert_allclose(np.sort(weights[0][weights[0] > 0]), np.sort(idf / np.linalg.norm(idf)), rtol=1e-5)
    _, _, directions = np.linalg.svd(weights)
    np.testing.assert_allclose(np.abs(features.coordinates(texts)), np.abs(weights @ directions[:2].T), atol=1e-4)
    assert not features.weights(["zebra"]).nnz
    with pytest.raises(DataError, match="share words"):
        TextFeatures(["one", "two"])
