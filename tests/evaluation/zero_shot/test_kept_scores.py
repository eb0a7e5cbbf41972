"""Scores are computed once for what they depend on."""

from pathlib import Path

import numpy as np
import pytest
from made_pairs import TEXTS, TRAINING, made_rows

from molbt.evaluation.zero_shot.kept_scores import KeptScores
from molbt.evaluation.zero_shot.methods.base import ZeroShotMethod
from molbt.evaluation.zero_shot.training import Training
from molbt.predict.training_pairs import TrainingPairs


class Counting(ZeroShotMethod):
    """Counts how often it is fitted and asked."""

    name = "counting"
    features = "lengths"
    fits = 0
    asked = 0
    settings: dict = {}  # noqa: RUF012

    def fit(self):
        type(self).fits += 1
        return self

    def score(self, smiles, text):
        type(self).asked += 1
        return np.array([len(value) + len(text) for value in smiles], dtype=np.float64)

    @classmethod
    def parameters(cls):
        return cls.settings


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Counting, "fits", 0)
    monkeypatch.setattr(Counting, "asked", 0)
    pairs = TrainingPairs.of(made_rows(TRAINING, n=20), TEXTS)

    def make(n_pairs: int = len(pairs), texts: dict[str, str] = TEXTS) -> KeptScores:
        return KeptScores(Counting, Training(pairs.sampled(n_pairs)), texts, tmp_path / "scores")

    return make


def test_a_finished_assay_is_neither_scored_nor_fitted_again(kept):
    one = kept()
    first = one("nitrogen_oxygen", ["C", "CC"])
    assert one("nitrogen_sulfur", ["C", "CC"]).tolist() == (first + 0).tolist()
    assert (Counting.fits, Counting.asked) == (1, 2)
    assert kept()("nitrogen_oxygen", ["C", "CC"]).tolist() == first.tolist()
    assert (Counting.fits, Counting.asked) == (1, 2)


def test_other_molecules_texts_pairs_or_settings_are_scored_anew(kept, monkeypatch):
    kept()("nitrogen_oxygen", ["C", "CC"])
    kept()("nitrogen_oxygen", ["C", "CCC"])
    kept(texts={"nitrogen_oxygen": "another text"})("nitrogen_oxygen", ["C", "CC"])
    kept(n_pairs=100)("nitrogen_oxygen", ["C", "CC"])
    monkeypatch.setattr(Counting, "settings", {"trees": 2})
    kept()("nitrogen_oxygen", ["C", "CC"])
    assert Counting.asked == 5


def test_an_assay_without_a_text_has_no_scores(kept):
    assert np.isnan(kept(texts={})("nitrogen_oxygen", ["C", "CC"])).all()
    assert Counting.asked == 0
