"""Language models from elsewhere: none of their code runs, no pickled weights are read, and what is missing is not made up."""

import contextlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from carriers import Touch, carriers
from safetensors.torch import load_file, save_file

from molbt.errors import CheckpointError, ConfigError, MolbtError
from molbt.modalities._text_models import find_text_model, load_text_model

CODE = """
from pathlib import Path
Path({canary!r}).touch()
from transformers import BertConfig, BertModel
class Config(BertConfig): pass
class Model(BertModel): pass
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT with random weights and a tokenizer of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    place = tmp_path_factory.mktemp("text") / "bert"
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "assay": 2, "binding": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(place)
    sizes: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=4, max_position_embeddings=16, **sizes)).save_pretrained(place)
    return place


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "bert"))


def change(path: Path, **parts: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


def load(place: Path) -> Any:
    return load_text_model(find_text_model(str(place)))


def test_a_whole_model_is_read(model: Path) -> None:
    tokenizer, network = load(model)
    tokens = tokenizer(["assay binding"], return_tensors="pt")
    assert network(**tokens).last_hidden_state.shape == (1, 2, 8)
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("deep", [False, True])
def test_code_of_its_own_is_not_run(model: Path, tmp_path: Path, file: str, deep: bool) -> None:
    canary = tmp_path / "canary"
    (model / "evil.py").write_text(CODE.format(canary=str(canary)))
    code = {"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model", "AutoTokenizer": ["evil.Config", None]}}
    change(model / file, **({"text_config": code} if deep else code), model_type="bert")
    with pytest.raises(CheckpointError, match="asks for code of the model's own \\('auto_map'\\)"):
        load(model)
    assert not canary.exists()


def test_a_type_that_needs_code_is_refused(model: Path) -> None:
    change(model / "config.json", model_type="evil")
    with pytest.raises(CheckpointError, match="does not know without the model's code"):
        load(model)


def test_pickled_weights_are_never_read(model: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (model / "model.safetensors").unlink()
    for name, content in carriers(canary).items():
        (model / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"pickled weights .* are never read"):
            load(model)
        assert not canary.exists(), name


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_no_carrier_is_executed(model: Path, made: Path, tmp_path: Path, file: str) -> None:
    canary = tmp_path / "canary"
    for name, content in carriers(canary).items():
        (model / file).write_bytes(content)
        # A JSON object that says nothing of tokenizers is a tokenizer's configuration that says nothing.
        with contextlib.suppress(MolbtError) if (file, name) == ("tokenizer_config.json", "jsonpickle") else pytest.raises(MolbtError):
            load(model)
        assert not canary.exists(), name


@pytest.mark.parametrize("shard", ["../outside.safetensors", "/etc/passwd", "evil.bin", 3])
def test_an_index_of_other_files_is_refused(model: Path, tmp_path: Path, shard: object) -> None:
    (model / "evil.bin").write_bytes(pickle.dumps(Touch(tmp_path / "canary")))
    (model / "model.safetensors").rename(model / "model-00001-of-00001.safetensors")
    names = load_file(model / "model-00001-of-00001.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, shard)}))
    with pytest.raises(CheckpointError, match=r"names other files than \*\.safetensors"):
        load(model)
    assert not (tmp_path / "canary").exists()


def test_an_adapter_of_another_model_is_refused(model: Path) -> None:
    (model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/else"}))
    with pytest.raises(CheckpointError, match="holds an adapter"):
        load(model)


def test_missing_weights_are_not_made_up(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "query" not in name}
    save_file(kept, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack .*query"):
        load(model)


@pytest.mark.parametrize("layers", [10**9, -1, "many", None])
def test_a_tower_of_layers_is_refused(model: Path, layers: object) -> None:
    change(model / "config.json", num_hidden_layers=layers)
    with pytest.raises(CheckpointError, match="layers are read"):
        load(model)


@pytest.mark.parametrize("revision", [None, "main", "v1", "0" * 39, "g" * 40])
def test_a_hub_model_needs_a_commit(revision: str | None) -> None:
    with pytest.raises(ConfigError, match="needs a revision of 40 hexadecimal digits"):
        find_text_model("someone/model", revision)
