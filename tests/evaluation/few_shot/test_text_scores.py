"""Scores of texts against those of the featurizer of pairs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_run import nci_smiles, small_config

from molbt import PairFeaturizer, pretrain
from molbt.errors import ConfigError
from molbt.evaluation.few_shot.text_scores import TextScores

TEXTS = {"N": "contains nitrogen atoms", "O": "contains oxygen atoms", "no N": "without nitrogen atoms", "no O": "without oxygen atoms"}
SMILES = nci_smiles(80)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = pd.DataFrame(
        [{"smiles": s, "text": text, "label": int((name[-1] in s) != ("no" in name))} for s in SMILES for name, text in TEXTS.items()]
    )
    views = {"molecule": {"modality": "fingerprint", "width": 256}, "assay": {"modality": "lsa", "column": "text", "components": 4}}
    config = small_config(
        views=views,
        pairs=[["molecule", "assay"]],
        objectives=[{"name": "matching", "labels": "activity"}],
        labels={"activity": {"value": "label"}},
    )
    return pretrain(table, tmp_path_factory.mktemp("texts") / "run", config=config).directory


def test_scores_are_those_of_the_assays_own_text(run: Path) -> None:
    expected = PairFeaturizer(run).fit().score(SMILES[:10], list(TEXTS.values()))
    scores = TextScores(run, TEXTS)
    for column, assay in enumerate(TEXTS):
        np.testing.assert_allclose(scores(assay, SMILES[:10]), expected[:, column], rtol=1e-5, atol=1e-6)
    assert np.abs(expected[:, 0] - expected[:, 1]).max() > 1e-3


def test_what_has_no_score_is_missing(run: Path) -> None:
    scores = TextScores(run, TEXTS)
    assert np.isnan(scores("S", SMILES[:4])).all()
    assert np.isnan(scores("N", ["CCO", "no SMILES"])).tolist() == [False, True]


def test_the_identity_follows_the_texts(run: Path) -> None:
    assert TextScores(run, TEXTS).identity == TextScores(run, dict(reversed(TEXTS.items()))).identity
    assert TextScores(run, TEXTS).identity != TextScores(run, TEXTS | {"N": "other"}).identity


def test_a_model_without_texts_is_refused() -> None:
    with pytest.raises(ConfigError, match="pairs molecules with texts"):
        TextScores("default", TEXTS)
