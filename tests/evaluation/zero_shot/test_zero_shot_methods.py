"""Each method against what it says it does, with RDKit, pandas and the formulas as the other source."""

import numpy as np
import pandas as pd
import pytest
from made_pairs import HELD_OUT, TEXTS, TRAINING, made_rows
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from sklearn.metrics import roc_auc_score
from small_run import nci_smiles

from molbt import PairFeaturizer, registry
from molbt.errors import ConfigError
from molbt.evaluation.zero_shot.methods.lookup import Lookup
from molbt.evaluation.zero_shot.methods.retrieval import Retrieval
from molbt.evaluation.zero_shot.methods.twin import TwinScore
from molbt.evaluation.zero_shot.training import Training
from molbt.predict.boosted_pairs import BoostedPairs
from molbt.predict.training_pairs import TrainingPairs

NAMES = registry.available("zero_shot_methods")
READS_TEXT = [name for name in NAMES if name not in ("frequent_hitters", "lookup")]
NEW = [smiles for smiles in nci_smiles(420)[260:] if Chem.MolFromSmiles(smiles) is not None]


@pytest.fixture(scope="module")
def fitted(training):
    return {name: registry.find("zero_shot_methods", name)(training).fit() for name in NAMES}


def test_there_are_the_methods_that_the_help_names():
    from molbt.cli.zero_shot_methods import METHODS_HELP

    assert METHODS_HELP.replace(" or ", ", ").split(", ") == NAMES


def test_names_and_features_tell_methods_apart():
    found = [registry.find("zero_shot_methods", name) for name in NAMES]
    assert [method.name for method in found] == NAMES
    assert len({method.features for method in found}) == len(found)


@pytest.mark.parametrize("name", NAMES)
def test_every_molecule_has_a_score_and_a_refused_one_none(fitted, name):
    scores = fitted[name].score(["CCO", "C1CC", "c1ccccc1N"], TEXTS[HELD_OUT[0]])
    assert scores.dtype == np.float64
    refused = [False, name != "lookup", False]  # an unknown molecule has one half in a lookup
    assert np.isnan(scores).tolist() == refused


@pytest.mark.parametrize("name", READS_TEXT)
def test_new_molecules_are_ranked_for_new_assays(fitted, name):
    truth = made_rows(HELD_OUT, n=160, first=260).set_index(["task", "smiles"])["label"]
    labels = {assay: [truth[assay, s] for s in NEW] for assay in HELD_OUT}
    aucs = [roc_auc_score(y, fitted[name].score(NEW, TEXTS[assay])) for assay, y in labels.items() if 0 < sum(y) < len(y)]
    assert len(aucs) >= 5
    assert np.mean(aucs) > 0.65


@pytest.mark.parametrize("name", NAMES)
def test_only_methods_that_read_the_text_rank_otherwise_for_another(fitted, name):
    one, other = (fitted[name].score(NEW[:50], TEXTS[assay]) for assay in ("nitrogen_sulfur", "carbonyl_aromatic"))
    assert np.array_equal(one, other) == (name not in READS_TEXT)


def test_frequent_hitters_are_those_that_are_active_in_many_assays(fitted):
    rate = made_rows(TRAINING).groupby("smiles")["label"].mean()
    smiles = [s for s in rate.index if Chem.MolFromSmiles(s) is not None]
    found = fitted["frequent_hitters"].score(smiles, "")
    assert np.corrcoef(found, rate[smiles])[0, 1] > 0.8


def test_the_lookup_is_the_mean_label_of_a_molecule():
    rows = pd.DataFrame({"smiles": ["CCO", "OCC", "CCO", "CCN"], "task": ["a", "a", "b", "b"], "label": [1.0, 0.0, 1.0, 1.0]})
    method = Lookup(Training(TrainingPairs.of(rows, {"a": "one", "b": "two"}))).fit()
    assert method.score(["C(C)O", "CCN", "CCC"], "any").tolist() == pytest.approx([2 / 3, 1, 0.5])


def test_the_twin_scores_as_the_featurizer_does(run, training):
    text = TEXTS[HELD_OUT[1]]
    expected = PairFeaturizer(run, on_invalid="nan").fit().score(NEW[:20], [text])[:, 0]
    np.testing.assert_allclose(TwinScore(training).fit().score(NEW[:20], text), expected)


def test_retrieval_is_its_formula(training):
    pairs = training.pairs
    text = TEXTS[HELD_OUT[2]]
    weights = training.texts.weights([*pairs.texts, text]).toarray().astype(float)
    cosine = weights[:-1] @ weights[-1]
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=65_536)
    known = [(place, Chem.MolFromSmiles(smiles)) for place, smiles in enumerate(pairs.smiles)]
    prints = {place: generator.GetCountFingerprint(mol) for place, mol in known if mol is not None}
    expected = []
    for smiles in NEW[:6]:
        mine = generator.GetCountFingerprint(Chem.MolFromSmiles(smiles))
        similar = {place: DataStructs.TanimotoSimilarity(mine, theirs) ** 4 for place, theirs in prints.items()}
        total = 0.0
        for assay in range(len(pairs.assays)):
            own = [(m, y) for m, a, y in zip(pairs.molecule, pairs.assay, pairs.label, strict=True) if a == assay and m in similar]
            rate = np.mean([y for _, y in own])
            vote = sum(similar[m] * (y - rate) for m, y in own) / (sum(similar[m] for m, _ in own) + 0.1)
            total += max(cosine[assay], 0) ** 4 * vote
        expected.append(total)
    np.testing.assert_allclose(Retrieval(training).fit().score(NEW[:6], text), expected, rtol=1e-4)


def test_the_trees_of_a_saved_predictor_are_those_that_are_evaluated(training, fitted):
    found = BoostedPairs.fit(training.twin, training.sample).head.booster_
    assert found.model_to_string() == fitted["lightgbm_twin"].head_.booster_.model_to_string()


def test_methods_on_a_twin_need_one(training):
    without = Training(training.pairs)
    for name in ("twin", "lightgbm_twin"):
        with pytest.raises(ConfigError, match="--model RUN"):
            registry.find("zero_shot_methods", name)(without).fit().score(["CCO"], "a")
