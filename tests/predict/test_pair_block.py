"""Features of pairs, read when they are asked for, are those of the featurizer."""

import numpy as np
import pandas as pd
from made_pairs import HELD_OUT, TEXTS
from small_run import nci_smiles

from molbt import PairFeaturizer
from molbt.predict.pair_block import INTERACTIONS, PairBlock, pair_features

SMILES = nci_smiles(6)
PAIRS = pd.DataFrame({"smiles": SMILES, "text": [TEXTS[name] for name in HELD_OUT[:3]] * 2})


def test_features_of_pairs_are_those_of_the_featurizer(twin):
    featurizer = PairFeaturizer(twin, interactions=INTERACTIONS).fit()
    molecules, texts = featurizer.embed_molecules(SMILES)[0], featurizer.embed_texts(PAIRS["text"][:3])[0]
    block = PairBlock(molecules, texts, np.arange(6), np.array([0, 1, 2, 0, 1, 2]))
    expected = featurizer.transform(PAIRS)
    assert block.shape == expected.shape
    np.testing.assert_allclose(block.read(), expected, atol=1e-6)
    np.testing.assert_allclose(block[np.array([4, 2])].read(1, 2), expected[[2]], atol=1e-6)
    counted = [name.split("_")[0] for name in featurizer.get_feature_names_out()]
    assert block.part_widths == {name: counted.count(name) for name in ("molecule", "text", *INTERACTIONS)}


def test_embeddings_of_two_widths_stand_side_by_side():
    molecules, texts = np.ones((2, 3), np.float32), np.full((1, 2), 5, np.float32)
    block = PairBlock(molecules, texts, np.array([1]), np.array([0]))
    assert block.part_widths == {"molecule": 3, "text": 2}
    assert block.read().tolist() == [[1, 1, 1, 5, 5]]


def test_a_pair_is_valid_where_both_embeddings_are():
    molecules, texts = np.array([[1.0], [np.nan]], np.float32), np.array([[np.nan], [2.0]], np.float32)
    found = pair_features(molecules, texts, np.array([0, 0, 1]), np.array([0, 1, 1]))
    assert found.valid.tolist() == [False, True, False]
