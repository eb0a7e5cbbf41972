"""Explained predictions of trees on a twin: parts that add up, and neighbours that are those of the leaves."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_pairs import HELD_OUT, TEXTS

from molbt import PairFeaturizer
from molbt.errors import ConfigError
from molbt.predict.boosted_pairs import BoostedPairs
from molbt.predict.pair_block import INTERACTIONS

TEXT = TEXTS[HELD_OUT[0]]
SMILES = ["CCO", "C1CC", "c1ccccc1N"]


@pytest.fixture(scope="module")
def explained(boosted):
    return boosted.explain(SMILES, TEXT, n=4)


def test_there_is_one_explanation_for_each_molecule_and_none_of_a_refused_one(explained, boosted):
    assert [found is None for found in explained] == [False, True, False]
    for found, probability in zip(explained, boosted.score(SMILES, [TEXT])[:, 0], strict=True):
        if found is not None:
            assert boosted.sigmoid(found.log_odds) == pytest.approx(probability, abs=1e-9)
            assert found.log_odds == sum(found.blocks.values())


def test_a_part_has_the_contributions_of_its_columns(explained, boosted, twin):
    featurizer = PairFeaturizer(twin, interactions=INTERACTIONS).fit()
    columns = boosted.boosted.head.columns_
    row = featurizer.transform(pd.DataFrame({"s": ["CCO"], "t": [TEXT]}))[:, columns].astype(np.float64)
    contributions = boosted.boosted.head.booster_.predict(row, pred_contrib=True)[0]
    part_of = np.array([name.split("_")[0] for name in featurizer.get_feature_names_out()])[columns]
    assert set(explained[0].blocks) == {"molecule", "text", *INTERACTIONS, "base"}
    for part in ("molecule", "text", *INTERACTIONS):
        assert explained[0].blocks[part] == pytest.approx(contributions[:-1][part_of == part].sum(), abs=1e-9)
    assert explained[0].blocks["base"] == contributions[-1]
    assert contributions[:-1][part_of == "cosine"].sum() != 0  # a single column


def test_a_training_pair_is_its_own_nearest(boosted):
    pairs = boosted.boosted.pairs
    smiles, text = pairs.smiles[pairs.molecule[11]], pairs.texts[pairs.assay[11]]
    [found] = boosted.explain([smiles], text, n=3)
    own = found.pairs[(found.pairs["smiles"] == smiles) & (found.pairs["text"] == text)]
    assert own["shared"].tolist() == [1]
    assert own["label"].item() == pairs.label[11]
    assert len(found.pairs) == len(found.assays) == 3


def test_shares_are_means_over_trees_and_over_the_pairs_of_an_assay(explained, boosted):
    pairs, leaves = boosted.boosted.pairs, boosted.boosted.leaves
    best = explained[2].pairs
    table = pd.DataFrame({"s": np.array(pairs.smiles)[pairs.molecule], "t": np.array(pairs.texts)[pairs.assay]})
    place = table.index[(table["s"] == best["smiles"][0]) & (table["t"] == best["text"][0])][0]
    featurizer = boosted.featurizer
    asked = PairFeaturizer(featurizer.model, interactions=INTERACTIONS).fit().transform(pd.DataFrame({"s": SMILES[2:], "t": [TEXT]}))
    head = boosted.boosted.head
    own = head.booster_.predict(asked[:, head.columns_].astype(np.float64), pred_leaf=True)[0]
    shared = (leaves == own).mean(axis=1)
    assert best["shared"][0] == shared[place] == shared.max()
    assert best["shared"].is_monotonic_decreasing
    means = pd.Series(shared).groupby(table["t"]).mean().sort_values(ascending=False)
    np.testing.assert_allclose(explained[2].assays["shared"], means[:4])
    assert explained[2].assays["text"][0] == means.index[0]
    assert explained[2].assays["pairs"][0] == (table["t"] == means.index[0]).sum()


def test_a_pair_that_was_measured_twice_stands_once(boosted):
    pairs, leaves = boosted.boosted.pairs, boosted.boosted.leaves
    twice = np.append(np.arange(len(pairs)), [11, 11])
    doubled = BoostedPairs(boosted.boosted.head, pairs.chosen(twice), leaves[twice])
    found = replace(boosted, boosted=doubled).explain([pairs.smiles[pairs.molecule[11]]], pairs.texts[pairs.assay[11]], n=20)[0].pairs
    assert not found[["smiles", "text", "label"]].duplicated().any()
    assert len(found) == 20


def test_what_cannot_be_explained_is_said(boosted, twin_predictor):
    with pytest.raises(ConfigError, match="--head lightgbm --training"):
        twin_predictor.explain(SMILES, TEXT)
    with pytest.raises(ConfigError, match="description of an assay, received ' '"):
        boosted.explain(SMILES, " ")
    assert boosted.explain([], TEXT) == []
