"""Training pairs hold what the rows say."""

import numpy as np
import pandas as pd
import pytest
from made_pairs import TEXTS, TRAINING, made_rows

from molbt.errors import DataError, ShapeError
from molbt.predict.training_pairs import TrainingPairs, labelled_pairs

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


def test_a_table_of_texts_has_an_assay_for_each_text():
    found = TrainingPairs.of_texts(["C", "CC", "C", None, "CN"], ["a", " ", "b", "a", "b"], [1, 1, float("nan"), 0, 0])
    assert (found.assays, found.texts) == (["a", "b"], ["a", "b"])
    assert table_of(found)[["smiles", "task", "label"]].to_numpy().tolist() == [["C", "a", 1], ["", "a", 0], ["CN", "b", 0]]


def test_chosen_pairs_keep_their_order_and_only_what_they_need():
    pairs = TrainingPairs.of(ROWS, TEXTS)
    found = pairs.chosen(np.array([70, 3, 4]))
    pd.testing.assert_frame_equal(table_of(found), table_of(pairs).iloc[[70, 3, 4]].reset_index(drop=True))
    assert (len(found.smiles), len(found.assays)) == (3, 2)


def test_labels_are_0_and_1_one_for_each_pair():
    for odd in (2.0, float("inf")):
        with pytest.raises(DataError, match="labels 0 and 1, received"):
            labelled_pairs(["C", "C"], ["a", "b"], [1.0, odd])
    with pytest.raises(ShapeError, match="2, 1 and 2"):
        labelled_pairs(["C", "C"], ["a"], [1.0, 0.0])
