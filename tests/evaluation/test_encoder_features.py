"""The encoder's own controls: the same encoder untrained, and principal components of its inputs."""

import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import TruncatedSVD

from molbt.data.molecules import ParsePolicy
from molbt.errors import ConfigError
from molbt.evaluation.encoder_features import encoder_features
from molbt.evaluation.principal_components import PrincipalComponents
from molbt.modalities.fingerprint import Fingerprint

SMILES = ["CCO", "c1ccccc1O", "not a molecule", "CC(=O)Nc1ccc(O)cc1"]


def test_controls_are_as_wide_as_the_encoder_and_keep_refused_rows(tiny_run, tmp_path):
    features = encoder_features(tiny_run, tmp_path)
    for name in ("pca", "untrained", "embedding"):
        values = features.learned[name](SMILES)
        assert values.shape == (4, 16), name
        assert np.isnan(values).all(axis=1).tolist() == [False, False, True, False], name


def test_untrained_encoder_differs_from_the_trained_one_and_is_the_same_again(tiny_run, tmp_path):
    first = encoder_features(tiny_run, tmp_path / "a").learned
    again = encoder_features(tiny_run, tmp_path / "b").learned
    other = encoder_features(tiny_run, tmp_path / "c", random_state=1).learned
    np.testing.assert_array_equal(first["untrained"](SMILES[:2]), again["untrained"](SMILES[:2]))
    assert not np.allclose(first["untrained"](SMILES[:2]), first["embedding"](SMILES[:2]))
    assert not np.allclose(first["untrained"](SMILES[:2]), other["untrained"](SMILES[:2]))


def test_principal_components_are_those_of_the_runs_own_molecules(tiny_run, nci_smiles, tmp_path):
    sample = pd.read_csv(tiny_run / "sample.csv")["smiles"].tolist()
    assert set(sample) <= set(nci_smiles)
    features = encoder_features(tiny_run, tmp_path)
    assert f"fitted on {len(sample):,} molecules of its own pretraining" in features.notes[0]
    fingerprint = Fingerprint(width=256)
    matrices = []
    for smiles in (sample, [SMILES[0], SMILES[1]]):
        prepared = fingerprint.prepare(smiles, ParsePolicy())
        matrices.append(np.log1p(fingerprint.dense(prepared.columns, np.arange(len(smiles))).toarray()))
    expected = TruncatedSVD(16, random_state=0).fit(matrices[0]).transform(matrices[1])
    found = features.learned["pca"](SMILES[:2])
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3, atol=1e-3)


def test_a_model_without_its_run_says_where_its_components_come_from(tiny_run, tmp_path):
    shutil.copytree(tiny_run / "model", tmp_path / "alone" / "model")
    features = encoder_features(tmp_path / "alone" / "model", tmp_path / "report")
    assert "come with RDKit" in features.notes[0]


def test_an_earlier_layer_has_controls_of_its_own_width_and_another_identity(tiny_run, tmp_path):
    embedding = encoder_features(tiny_run, tmp_path / "a")
    hidden = encoder_features(tiny_run, tmp_path / "b", layer="hidden_1")
    for name in ("pca", "untrained", "embedding"):
        assert hidden.learned[name](SMILES).shape == (4, 32), name
    assert set(hidden.identities.values()).isdisjoint(embedding.identities.values())
    with pytest.raises(ConfigError, match="hidden_1"):
        encoder_features(tiny_run, tmp_path / "c", layer="hidden_7")


def test_components_are_fitted_once_for_an_encoder(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setenv("MOLBT_CACHE", str(tmp_path / "cache"))
    first = encoder_features(tiny_run, tmp_path / "a").learned["pca"](SMILES)
    monkeypatch.setattr(PrincipalComponents, "fit", lambda self, smiles: pytest.fail("fitted again"))
    np.testing.assert_array_equal(encoder_features(tiny_run, tmp_path / "b").learned["pca"](SMILES), first)
    with pytest.raises(pytest.fail.Exception):  # another seed is another decomposition
        encoder_features(tiny_run, tmp_path / "c", random_state=1).learned["pca"](SMILES)
