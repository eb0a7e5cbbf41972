"""Pairs against the twin's own networks called by hand, refused pairs, interactions and scores."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem
from sklearn.base import clone
from small_run import nci_smiles, small_config

from molbt import MoleculeFeaturizer, PairFeaturizer, from_pretrained, pretrain
from molbt.data.molecules import ParsePolicy
from molbt.errors import ConfigError, InvalidMoleculeError, ShapeError
from molbt.objectives.matching import Matching

TEXTS = ["contains nitrogen atoms", "contains oxygen atoms", "contains sulfur atoms", "is a large molecule with many atoms"]
SMILES = nci_smiles(60)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    truth = [lambda s: "N" in s or "n" in s, lambda s: "O" in s, lambda s: "S" in s, lambda s: len(s) > 25]
    table = pd.DataFrame(
        [{"smiles": s, "text": text, "label": int(holds(s))} for s in nci_smiles(200) for text, holds in zip(TEXTS, truth, strict=True)]
    )
    config = small_config(
        views={"molecule": {"modality": "fingerprint", "width": 512}, "assay": {"modality": "lsa", "column": "text", "components": 4}},
        pairs=[["molecule", "assay"]],
        objectives=[{"name": "matching", "labels": "activity"}],
        labels={"activity": {"value": "label"}},
        trainer={"epochs": 12},
    )
    directory = tmp_path_factory.mktemp("pairs") / "run"
    pretrain(table, directory, config=config)
    return directory


def by_hand(run, view, values):
    """Embeddings and projections, one value at a time."""
    twin = from_pretrained(run).eval()
    rows = []
    for value in values:
        columns = twin.modalities[view].prepare([value], ParsePolicy()).columns
        with torch.inference_mode():
            embedding = twin.encode(view, twin.modalities[view].collate(columns, torch.tensor([0])))
            rows.append((embedding[0].numpy(), twin.project(view, embedding)[0].numpy()))
    return tuple(np.stack(parts) for parts in zip(*rows, strict=True))


def test_features_are_both_embeddings_and_their_interactions(run):
    pairs = pd.DataFrame({"smiles": SMILES[:8], "text": TEXTS * 2})
    featurizer = PairFeaturizer(run, interactions=("cosine", "product", "difference"))
    found = featurizer.fit_transform(pairs)
    molecules, texts = by_hand(run, "molecule", pairs["smiles"])[0], by_hand(run, "assay", pairs["text"])[0]
    cosine = (molecules * texts).sum(1) / np.linalg.norm(molecules, axis=1) / np.linalg.norm(texts, axis=1)
    expected = np.concatenate([molecules, texts, molecules * texts, molecules - texts, cosine[:, None]], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    names = featurizer.get_feature_names_out()
    assert len(names) == found.shape[1] == 4 * 16 + 1
    assert [names[0], names[16], names[32], names[48], names[64]] == ["molecule_0", "text_0", "product_0", "difference_0", "cosine"]
    np.testing.assert_allclose(found[:, :16], MoleculeFeaturizer(run).fit_transform(SMILES[:8]), atol=1e-6)


def test_the_card_counts_molecules_and_pairs(run):
    facts = json.loads((run / "model" / "config.json").read_text())["facts"]
    distinct = len({smiles for smiles in nci_smiles(200) if Chem.MolFromSmiles(smiles) is not None})
    assert facts["molecules"] == distinct
    assert facts["samples"] == 4 * distinct


def test_scores_rank_molecules_as_the_objective_does(run):
    featurizer = PairFeaturizer(run).fit()
    found = featurizer.score(SMILES, TEXTS)
    z_molecules, z_texts = by_hand(run, "molecule", SMILES)[1], by_hand(run, "assay", TEXTS)[1]
    objective = Matching(labels="activity")
    for column in range(len(TEXTS)):
        logits = objective.logits(torch.from_numpy(z_molecules), torch.from_numpy(z_texts[[column]]).expand(len(SMILES), -1))
        np.testing.assert_allclose(found[:, column], logits.detach().numpy(), rtol=1e-4, atol=1e-4)
    holds_oxygen = np.array(["O" in smiles for smiles in SMILES])
    assert found[holds_oxygen, 1].mean() > found[~holds_oxygen, 1].mean()


def test_every_pair_keeps_its_row(run):
    pairs = np.array([["CCO", TEXTS[0]], ["C1CC", TEXTS[0]], ["CCO", " "], ["", ""], ["CCO", TEXTS[0]]], dtype=object)
    featurizer = PairFeaturizer(run, on_invalid="nan", interactions=("cosine",)).fit()
    found = featurizer.transform(pairs)
    assert np.isnan(found).all(axis=1).tolist() == [False, True, True, True, False]
    assert np.array_equal(found[0], found[4])
    assert featurizer.reasons_[2] == "text: blank"
    assert "ring" in featurizer.reasons_[1]
    scores = featurizer.score(["CCO", "C1CC"], [TEXTS[0], ""])
    assert np.isnan(scores).tolist() == [[False, True], [True, True]]
    assert featurizer.score([], TEXTS).shape == (0, 4)
    with pytest.raises(InvalidMoleculeError, match=r"3 of 5 pairs.*row 1"):
        PairFeaturizer(run).fit().transform(pairs)


def test_it_is_a_transformer_of_scikit_learn(run):
    featurizer = clone(PairFeaturizer(run, interactions=("cosine",))).set_output(transform="pandas")
    pairs = pd.DataFrame({"smiles": SMILES[:3], "text": TEXTS[:3]})
    frame = featurizer.fit_transform(pairs)
    assert frame.columns[-1] == "cosine"
    copied = pickle.loads(pickle.dumps(featurizer))  # noqa: S301  # our own bytes
    pd.testing.assert_frame_equal(copied.transform(pairs), frame)


def test_what_cannot_be_used_is_refused(run, tiny_run):
    with pytest.raises(ConfigError, match=r"expected a model that pairs molecules with texts"):
        PairFeaturizer(tiny_run).fit()
    with pytest.raises(ConfigError, match="ratio"):
        PairFeaturizer(run, interactions=("ratio",)).fit()
    with pytest.raises(ShapeError, match=r"\(n, 2\)"):
        PairFeaturizer(run).fit().transform(["CCO"])
