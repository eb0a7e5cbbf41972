"""Saving and loading twin models: ``config.json``, ``model.safetensors`` and a card; nothing executable.

The SHA-256 of the weights stands in ``config.json``: safetensors itself accepts most flipped bits.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from molbt import __version__
from molbt.config import RunConfig
from molbt.config_text import describe_problems
from molbt.data.files import atomic_write
from molbt.data.json_files import read_json
from molbt.errors import CheckpointError
from molbt.model.card import model_card, with_results
from molbt.model.twin_model import TwinModel

FORMAT = "molbt.twin_model"
FORMAT_VERSION = 1
_MAX_RUN_CONFIG = 1 << 18
_SHIPPED = Path(__file__).resolve().parents[1] / "weights"


def save_pretrained(
    twin: TwinModel, directory: str | Path, *, facts: Mapping[str, Any] | None = None, half_precision: bool = False
) -> Path:
    """Write a model into a directory and return it.

    Parameters
    ----------
    twin : TwinModel
    directory : path
        Made if it is missing; files of the same names are replaced, each in one step.
    facts : mapping, optional
        JSON values about the training for the card and for ``config.json``: data, molecules seen, versions.
    half_precision : bool
        Store weight matrices as float16, in half the bytes; norms, biases and fitted arrays stay as they are. Reading gives float32.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    state = twin.state_dict()
    if half_precision:
        state = {name: tensor.half() if tensor.ndim > 1 and tensor.is_floating_point() else tensor for name, tensor in state.items()}
    weights = tensors_to_bytes(state)
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "molbt_version": __version__,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "run_config": twin.config.as_dict(),
        "facts": dict(facts or {}),
    }
    # The description is written last: a model directory without it is not a model.
    for name, content in (
        ("model.safetensors", weights),
        ("README.md", model_card(config, n_parameters=sum(p.numel() for p in twin.encoders.parameters())).encode()),
        ("config.json", json.dumps(config, indent=1).encode()),
    ):
        with atomic_write(directory / name) as file:
            file.write(content)
    return directory


def add_results(path: str | Path, results: str) -> Path:
    """Put benchmark results into the card of a model, in the place of those that it has, and return the card's path.

    Raises
    ------
    CheckpointError
        If no model is there, or its card is missing or cannot be written.
    """
    card = find_model(path) / "README.md"
    try:
        text = with_results(card.read_text(encoding="utf-8"), results)
        with atomic_write(card) as file:
            file.write(text.encode())
    except OSError as error:
        raise CheckpointError(
            f"cannot write benchmark results into the card {card}: {error.strerror or error}; leave out --write-card, or "
            "copy the model to a directory of your own"
        ) from error
    return card


def from_pretrained(path: str | Path) -> TwinModel:
    """Load a model from a model directory or from a run directory (its ``model`` folder), in evaluation mode on the CPU.

    Raises
    ------
    CheckpointError
        If no model is there, if it is of another format, or if the weights do not match their checksum, do not fit the description or
        are not finite.
    """
    directory = find_model(path)
    config = read_config(directory)
    path = directory / "model.safetensors"
    try:
        if not path.is_file():  # a pipe might never end
            raise CheckpointError(f"expected weights in {path}, found no file; copy the whole model directory")
        content = path.read_bytes()
    except (OSError, MemoryError) as error:
        raise CheckpointError(f"expected weights in {path}: {error}; copy the whole model directory") from error
    found = hashlib.sha256(content).hexdigest()
    if found != config["sha256"]:
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 should begin {config['sha256'][:12]}, found {found[:12]}; copy it again or retrain"
        )
    try:
        state = load_tensors(content)
        # Validated without its objectives: using a model needs none of what trained it.
        run_config = RunConfig.model_validate(config["run_config"])
        _check_shapes(run_config, state)
        # The first weights are drawn and then replaced; the caller's random state is not to notice.
        with torch.random.fork_rng(devices=[]):
            twin = TwinModel(run_config, fitted_of(state))
        twin.load_state_dict(state)
    except Exception as error:  # a description from elsewhere fails in as many ways as there are lines that build a network
        raise CheckpointError(
            f"the model in {directory} does not fit this version of molbt ({__version__}): {error}; use the version that wrote it, or "
            "retrain"
        ) from error
    if not all(bool(parameter.isfinite().all()) for parameter in twin.parameters()):
        raise CheckpointError(f"the weights in {path} are not all finite; train the model again")
    return twin.eval()


def _check_shapes(config: RunConfig, state: Mapping[str, Tensor]) -> None:
    """Compare what a description asks for with what is there, before memory is taken for it."""
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in TwinModel(config, fitted_of(state)).state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if wanted != found:
        odd = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise ValueError(
            f"its weights are not those of its description: {odd[0]} should be {wanted.get(odd[0], 'absent')}, is "
            f"{found.get(odd[0], 'absent')}, and so {len(odd) - 1} more"
        )


def tensors_to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return named tensors in the safetensors format; equal tensors give equal bytes."""
    # Copies: safetensors refuses tensors that share memory, as tied weights do.
    return dump_tensors({name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()})


def find_model(path: str | Path) -> Path:
    """Return the model directory that a path means: itself, the ``model`` folder of a run, or an encoder that comes with molbt.

    The name of one, such as ``"default"``, is understood where no directory of that name holds a model.
    """
    shipped = _SHIPPED / str(path)
    path = Path(path)
    for candidate in (path, path / "model"):
        if (candidate / "config.json").is_file():
            return candidate
    if path.name == str(path) and (shipped / "config.json").is_file():
        return shipped
    if (path / "run.json").is_file():
        raise CheckpointError(f"expected a finished run at {path}, which has no model yet; go on: molbt pretrain FILE --resume -o {path}")
    state = "is empty or holds no model" if path.exists() else "does not exist"
    raise CheckpointError(
        f"expected a model or a finished run at {path}, which {state}; make one with: molbt pretrain FILE -o {path}, "
        f"or use one that comes with molbt: {', '.join(shipped_models())}"
    )


def run_of(path: str | Path) -> Path:
    """Return the run that a model belongs to, whether the run or the model in it was named; the model's directory where there is none."""
    path = Path(path)
    return next((place for place in (path, path.parent) if (place / "run.json").is_file()), None) or find_model(path)


def shipped_models() -> list[str]:
    """Return the names of the encoders that come with molbt."""
    return sorted(place.parent.name for place in _SHIPPED.glob("*/config.json"))


def read_config(directory: Path) -> dict[str, Any]:
    """Return ``config.json`` of a model directory, checked for format and version."""
    path = directory / "config.json"
    config = read_json(path, remedy="copy it again or retrain")
    if config.get("format") != FORMAT:
        raise CheckpointError(f"expected a description of format {FORMAT!r} in {path}; this is something else")
    if config.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {config.get('format_version')}, this molbt ({__version__}) reads {FORMAT_VERSION}; "
            f"use molbt {config.get('molbt_version')}"
        )
    try:
        _Description.model_validate(config)
    except ValidationError as error:
        raise CheckpointError(f"{describe_problems(error, where=str(path))}; copy it again or retrain") from error
    if len(json.dumps(config["run_config"])) > _MAX_RUN_CONFIG:
        raise CheckpointError(f"{path} describes a run in more than {_MAX_RUN_CONFIG:,} characters; copy it again or retrain")
    return config


class _Description(BaseModel):
    """What every ``config.json`` has; other keys may stand beside these."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    run_config: dict[str, Any]
    facts: dict[str, Any] = {}


def fitted_of(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return what a state holds of each encoder's fitted arrays, by encoder key and name."""
    fitted: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if len(parts) == 4 and parts[0] == "encoders" and parts[2] == "fitted":
            fitted.setdefault(parts[1], {})[parts[3]] = tensor
    return fitted
