"""A model on its own: its bytes, its record of what it saw, and the numbers it gives."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import nci_smiles, small_config

from molbt import describe
from molbt.data.seen_molecules import SeenMolecules
from molbt.errors import CheckpointError, ConfigError, DataError
from molbt.featurizer import MoleculeFeaturizer
from molbt.model.card import with_results
from molbt.model.checkpoint import find_model, from_pretrained, read_config, shipped_models
from molbt.model.export import export_model
from molbt.training.trainer import pretrain


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    directory = tmp_path_factory.mktemp("export") / "run"
    pretrain(corpus, directory, config=small_config(trainer={"epochs": 2}))
    return directory


def test_copy_holds_the_same_weights_facts_and_record(run, tmp_path):
    copy = export_model(run, tmp_path / "copy")
    state, expected = from_pretrained(copy).state_dict(), from_pretrained(run).state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert read_config(copy)["facts"] == read_config(run / "model")["facts"]
    seen, original = SeenMolecules.load(copy), SeenMolecules.load(run / "model")
    assert seen is not None
    np.testing.assert_array_equal(seen.molecules, original.molecules)


def test_half_precision_halves_the_weights_and_changes_embeddings_in_the_fourth_digit(run, tmp_path):
    whole, half = export_model(run, tmp_path / "whole"), export_model(run, tmp_path / "half", half_precision=True)
    sizes = [(directory / "model.safetensors").stat().st_size for directory in (whole, half)]
    assert sizes[1] < 0.65 * sizes[0]
    smiles = nci_smiles(40)
    expected, embeddings = (MoleculeFeaturizer(directory, on_invalid="nan").fit_transform(smiles) for directory in (whole, half))
    valid = np.isfinite(expected).all(axis=1)
    error = np.linalg.norm(embeddings[valid] - expected[valid]) / np.linalg.norm(expected[valid])
    assert 0 < error < 1e-3
    assert next(from_pretrained(half).parameters()).dtype == torch.float32


def test_a_copy_keeps_what_was_written_into_the_card_and_tells_its_own_checksum(run, tmp_path):
    first = export_model(run, tmp_path / "first")
    card = (first / "README.md").read_text()
    assert card == (run / "model" / "README.md").read_text()
    by_hand = card.replace("## Limits\n", "## How the recipe was chosen\nBy hand.\n\n## Limits\n")
    (first / "README.md").write_text(with_results(by_hand, "rmse 0.5"))
    second = export_model(first, tmp_path / "second", half_precision=True)
    copied = (second / "README.md").read_text()
    checksums = [read_config(directory)["sha256"] for directory in (first, second)]
    assert checksums[0] != checksums[1]
    assert copied == (first / "README.md").read_text().replace(*checksums)
    (first / "README.md").write_text("# Mine\n")
    third = (export_model(first, tmp_path / "third") / "README.md").read_text()
    assert third.startswith("# Mine\n\n## Versions and checksum\n")
    assert checksums[0] in third


def test_a_copy_of_the_shipped_encoder_keeps_its_card(tmp_path):
    copy = export_model("default", tmp_path / "copy", half_precision=True)
    assert "## How the recipe was chosen" in (copy / "README.md").read_text()


def test_a_directory_in_use_is_refused(run, tmp_path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        export_model(run, tmp_path / "copy")


def test_the_shipped_encoder_is_found_by_name_and_featurizes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "default" in shipped_models()
    embeddings = MoleculeFeaturizer("default", on_invalid="nan").fit_transform(["CCO", "c1ccccc1O", "not a molecule"])
    assert np.isfinite(embeddings[:2]).all()
    assert np.isnan(embeddings[2]).all()
    assert not np.allclose(embeddings[0], embeddings[1])
    assert sum(path.stat().st_size for path in find_model("default").iterdir()) < 12_000_000


def test_a_model_of_ones_own_comes_before_the_shipped_one(run, tmp_path, monkeypatch):
    export_model(run, tmp_path / "default")
    monkeypatch.chdir(tmp_path)
    assert read_config(find_model("default"))["sha256"] == read_config(run / "model")["sha256"]


def test_an_unknown_name_lists_the_shipped_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="default"):
        find_model("defualt")


def test_the_shipped_encoder_is_described_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "embedding width: 256" in describe.directory(Path("default"))
    with pytest.raises(DataError, match="none of their files"):
        describe.directory(Path("defualt"))


def test_what_an_installation_offers_names_the_shipped_encoders():
    assert f"encoders that come with molbt (--model): {', '.join(shipped_models())}" in describe.installation()
