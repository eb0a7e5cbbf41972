"""Models come back as they were saved; what is damaged or something else is refused."""

import hashlib
import json
import pickle
from pathlib import Path

import pytest
import torch
from small_run import DESCRIPTORS, FINGERPRINTS, registered, small_config

from molbt.errors import CheckpointError
from molbt.model.checkpoint import find_model, from_pretrained, save_pretrained
from molbt.model.twin_model import TwinModel
from molbt.objectives.barlow_twins import BarlowTwins

CONFIG = {"views": {"a": FINGERPRINTS["a"], "descriptors": DESCRIPTORS}, "pairs": [["a", "descriptors"]]}
FITTED = {"descriptors": {"centre": torch.randn(6), "scale": torch.rand(6) + 0.1}}


@pytest.fixture
def twin() -> TwinModel:
    return TwinModel(small_config(**CONFIG), FITTED)


@pytest.fixture
def saved(twin: TwinModel, tmp_path: Path) -> Path:
    return save_pretrained(twin, tmp_path / "model", facts={"molecules": 280, "source": "first_5K.smi"})


def test_model_comes_back_bit_for_bit(twin, saved):
    loaded = from_pretrained(saved)
    assert loaded.config == twin.config
    assert not loaded.training
    state = loaded.state_dict()
    assert state.keys() == twin.state_dict().keys()
    assert all(torch.equal(tensor, twin.state_dict()[name]) for name, tensor in state.items())
    batch = torch.randn(7, 6)
    assert torch.equal(loaded.encode("descriptors", batch), twin.eval().encode("descriptors", batch))


def test_loading_leaves_the_random_state_alone(saved):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    from_pretrained(saved)
    assert torch.equal(torch.get_rng_state(), state)


def test_same_model_is_saved_in_the_same_bytes(twin, saved, tmp_path):
    save_pretrained(from_pretrained(saved), tmp_path / "again", facts={"molecules": 280, "source": "first_5K.smi"})
    for name in ("model.safetensors", "config.json", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()


def test_model_is_found_in_its_run(saved):
    assert find_model(saved.parent) == find_model(saved) == saved


def test_model_needs_nothing_of_what_trained_it(tmp_path):
    class Homemade(BarlowTwins):
        pass

    with registered("objectives", homemade=Homemade):
        config = small_config(objectives=[{"name": "homemade"}])
        save_pretrained(TwinModel(config, {}), tmp_path / "model")
    assert from_pretrained(tmp_path / "model").config == config


def test_card_tells_what_the_model_is(saved):
    card = (saved / "README.md").read_text()
    for part in ("fingerprint", "barlow_twins", "molecules: 280", "source: first_5K.smi", "open question"):
        assert part in card


@pytest.mark.parametrize("place", [0, 9, 400, -1])
def test_flipped_bit_of_the_weights_is_noticed(saved, place):
    content = bytearray((saved / "model.safetensors").read_bytes())
    content[place] ^= 1
    (saved / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged: its SHA-256 should begin"):
        from_pretrained(saved)


@pytest.mark.parametrize("length", [0, 8, 1000])
def test_cut_weights_are_noticed(saved, length):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="is damaged"):
        from_pretrained(saved)


def test_missing_weights_and_missing_models_are_told(saved, tmp_path):
    (saved / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"expected weights in .*model\.safetensors"):
        from_pretrained(saved)
    with pytest.raises(CheckpointError, match="which does not exist; make one with: molbt pretrain"):
        from_pretrained(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="is empty or holds no model"):
        from_pretrained(tmp_path / "empty")


def change(saved: Path, **parts: object) -> None:
    path = saved / "config.json"
    content = {**json.loads(path.read_text()), **parts}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"format": "another.model"}, r"expected a description of format 'molbt\.twin_model'"),
        ({"format": None}, "this is something else"),
        ({"format_version": 99, "molbt_version": "9.9"}, r"has format version 99, this molbt .* reads 1; use molbt 9\.9"),
        ({"sha256": None}, "sha256: Field required"),
        ({"run_config": None}, "run_config: Field required"),
        ({"run_config": {"views": {}}}, "does not fit this version of molbt"),
        ({"run_config": [1, 2]}, "run_config: Input should be a valid dictionary"),
        ({"sha256": 7}, "sha256: Input should be a valid string"),
        ({"facts": []}, "facts: Input should be a valid dictionary"),
    ],
)
def test_description_of_something_else_is_refused(saved, parts, message):
    change(saved, **parts)
    with pytest.raises(CheckpointError, match=message):
        from_pretrained(saved)


def test_description_of_other_networks_is_refused(saved):
    run_config = json.loads((saved / "config.json").read_text())["run_config"]
    change(saved, run_config={**run_config, "projector": {"widths": [5, 5]}})
    with pytest.raises(CheckpointError, match="does not fit this version of molbt"):
        from_pretrained(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'"text"'])
def test_description_that_is_no_json_object_is_refused(saved, content):
    (saved / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        from_pretrained(saved)


def test_oversized_description_is_not_read(saved):
    (saved / "config.json").write_text(" " * (8 << 20) + "{}")
    with pytest.raises(CheckpointError, match="bytes; a description of this kind has at most"):
        from_pretrained(saved)


class Canary:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def test_pickle_in_place_of_the_weights_is_not_executed(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(Canary())
    (saved / "model.safetensors").write_bytes(content)
    change(saved, sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(CheckpointError, match="does not fit"):
        from_pretrained(saved)
    assert not (tmp_path / "executed").exists()
