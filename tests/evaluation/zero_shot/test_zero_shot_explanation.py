"""An explanation adds up to the prediction, and its neighbours are those of the leaves."""

import numpy as np
import pytest
from made_pairs import HELD_OUT, TEXTS
from scipy.special import logit

from molbt.errors import InvalidMoleculeError
from molbt.evaluation.zero_shot.explanation import explain_pair
from molbt.evaluation.zero_shot.methods.lightgbm_pairs import LightgbmPairs
from molbt.evaluation.zero_shot.methods.lightgbm_twin import LightgbmTwin
from molbt.evaluation.zero_shot.training import COUNT_WIDTH, DESCRIPTORS


@pytest.fixture(scope="module")
def method(training):
    return LightgbmPairs(training).fit()


def test_blocks_and_base_are_the_log_odds(method):
    for smiles in ("CCO", "c1ccccc1N"):
        found = explain_pair(method, smiles, TEXTS[HELD_OUT[0]])
        assert list(found.blocks) == ["ecfp4", "descriptors", "text", "base"]
        assert sum(found.blocks.values()) == pytest.approx(logit(method.score([smiles], TEXTS[HELD_OUT[0]])[0]), abs=1e-4)


def test_a_block_has_the_contributions_of_its_columns(method):
    text, columns = TEXTS[HELD_OUT[0]], method.head_.columns_
    row = method.pair_features(["c1ccccc1N"], text).matrix().toarray()[:, columns]
    contributions = method.head_.booster_.predict(row, pred_contrib=True)[0, :-1]
    found = explain_pair(method, "c1ccccc1N", text).blocks
    ends = COUNT_WIDTH, COUNT_WIDTH + len(DESCRIPTORS)
    assert found["ecfp4"] == pytest.approx(contributions[columns < ends[0]].sum())
    assert found["descriptors"] == pytest.approx(contributions[(columns >= ends[0]) & (columns < ends[1])].sum())
    assert found["text"] == pytest.approx(contributions[columns >= ends[1]].sum())
    assert contributions[columns == ends[0]].sum() != 0  # the first descriptor, on the border, is used


def test_a_training_pair_is_its_own_nearest_neighbour(method):
    sample = method.training.sample
    place = 7
    smiles, assay = sample.smiles[sample.molecule[place]], sample.assays[sample.assay[place]]
    found = explain_pair(method, smiles, sample.texts[sample.assay[place]], n=3)
    assert found.pairs["shared"].iloc[0] == 1
    alike = found.pairs[found.pairs["shared"] == 1]
    assert (smiles, assay) in set(zip(alike["smiles"], alike["assay"], strict=True))
    assert found.pairs["shared"].is_monotonic_decreasing
    assert len(found.pairs) == len(found.assays) == 3


def test_shares_are_those_of_single_trees(method):
    text = TEXTS[HELD_OUT[1]]
    found = explain_pair(method, "CCOC(=O)c1ccccc1", text)
    booster, columns = method.head_.booster_, method.head_.columns_
    asked = booster.predict(method.pair_features(["CCOC(=O)c1ccccc1"], text).matrix().toarray()[:, columns], pred_leaf=True)[0]
    sample = method.training.sample
    best = found.pairs.iloc[0]
    of_best = method.pair_features([best["smiles"]], best["text"]).matrix().toarray()[:, columns]
    equal = booster.predict(of_best, pred_leaf=True)[0] == asked
    assert best["shared"] == pytest.approx(np.mean(equal))
    label = {(sample.smiles[m], sample.assays[a]): y for m, a, y in zip(sample.molecule, sample.assay, sample.label, strict=True)}
    assert best["label"] == label[best["smiles"], best["assay"]]


def test_a_refused_molecule_is_not_explained(method):
    with pytest.raises(InvalidMoleculeError, match="C1CC"):
        explain_pair(method, "C1CC", TEXTS[HELD_OUT[0]])


def test_trees_on_a_twin_are_explained_by_its_parts(training):
    method = LightgbmTwin(training).fit()
    found = explain_pair(method, "CCO", TEXTS[HELD_OUT[0]])
    assert list(found.blocks) == ["molecule", "text", "product", "difference", "cosine", "base"]
    assert found.log_odds == pytest.approx(logit(method.score(["CCO"], TEXTS[HELD_OUT[0]])[0]), abs=1e-6)
