"""The twin model: encoders and projectors of two or more views."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from molbt.config import RunConfig, ViewConfig, differences
from molbt.errors import ConfigError, suggestion
from molbt.modalities.base import Modality
from molbt.nn.encoder import Encoder
from molbt.nn.mlp import Projector


class TwinModel(nn.Module):
    """Encoders and projectors of the views of a run.

    Views that share an encoder share its projector too. An encoder is known by its key: the name of the first view that uses it.

    Parameters
    ----------
    config : RunConfig
        Its sections ``views``, ``encoder``, ``projector`` and ``molecules`` decide the model.
    fitted : mapping of mapping of Tensor
        For each encoder key, what its modality learned from training rows (``Modality.fit``); none for modalities that learn nothing.

    Raises
    ------
    ConfigError
        If the encoder section does not fit a modality, or a view has the name of one of torch's own methods.
    """

    def __init__(self, config: RunConfig, fitted: Mapping[str, Mapping[str, Tensor]]) -> None:
        super().__init__()
        self.config = config
        self.modalities: dict[str, Modality] = {name: view.build_modality() for name, view in config.views.items()}
        self._key_of_view = encoder_keys(config)
        self.encoders = nn.ModuleDict()
        self.projectors = nn.ModuleDict()
        for view, key in self._key_of_view.items():
            if hasattr(nn.ModuleDict, key):
                raise ConfigError(f"view {key!r} has a name that torch's modules use themselves; choose another, such as '{key}_view'")
            if key not in self.encoders:
                parameters = {**config.encoder, **config.views[view].encoder}
                encoder = _build_encoder(self.modalities[view], parameters, fitted.get(key, {}))
                self.encoders[key] = encoder
                self.projectors[key] = Projector(encoder.embedding_dim, config.projector.widths)

    def adopt(self, config: RunConfig) -> None:
        """Take over a configuration that builds the same networks; its augmentations, columns and training may be others.

        Raises
        ------
        ConfigError
            If it builds other encoders or projectors, or prepares their inputs otherwise; the message holds each difference.
        """
        check_same_networks(self.config, config)
        self.config = config
        self.modalities = {name: view.build_modality() for name, view in config.views.items()}

    def encoder_key(self, view: str) -> str:
        """Return the key of the encoder that a view uses."""
        if view not in self._key_of_view:
            raise ConfigError(f"unknown view {view!r}{suggestion(view, self._key_of_view)}")
        return self._key_of_view[view]

    def encoder_of(self, view: str) -> Encoder:
        return self.encoders[self.encoder_key(view)]  # type: ignore[return-value]

    def projector_of(self, view: str) -> Projector:
        return self.projectors[self.encoder_key(view)]  # type: ignore[return-value]

    def embedding_dim(self, view: str) -> int:
        return self.encoder_of(view).embedding_dim

    def projection_dim(self, view: str) -> int:
        return self.projector_of(view).projection_dim

    def encode(self, view: str, batch: Any, output: str = "embedding") -> Tensor:
        """Return embeddings ``(batch, embedding_dim)``, or another output of the view's encoder."""
        return self.encoder_of(view)(batch, output)

    def project(self, view: str, embedding: Tensor) -> Tensor:
        """Return projections ``(batch, projection_dim)`` of embeddings."""
        return self.projector_of(view)(embedding)


def encoder_keys(config: RunConfig) -> dict[str, str]:
    """Return, for each view, the key of its encoder: the first view with the same modality, column, preparation and encoder settings, or
    that of the view it names."""
    keys: dict[str, str] = {}
    seen: list[tuple[ViewConfig, dict[str, Any], str]] = []
    for name, view in config.views.items():
        preparation = view.build_modality().preparation()
        if isinstance(view.share_encoder, str):
            keys[name] = _named_key(config, name, keys)
            continue
        for other, other_preparation, key in seen:
            same_input = (view.modality, view.column, preparation) == (other.modality, other.column, other_preparation)
            if same_input and view.encoder == other.encoder and view.share_encoder and other.share_encoder:
                keys[name] = key
                break
        else:
            keys[name] = name
            seen.append((view, preparation, name))
    return keys


def _named_key(config: RunConfig, name: str, keys: Mapping[str, str]) -> str:
    """Return the key of the encoder that a view names, after a look whether it takes the view's batches."""
    view, wanted = config.views[name], str(config.views[name].share_encoder)
    if wanted not in keys:
        raise ConfigError(f"view {name!r} shares the encoder of {wanted!r}, which is no view before it{suggestion(wanted, keys)}")
    other = config.views[wanted]
    same_input = view.modality == other.modality and view.build_modality().preparation() == other.build_modality().preparation()
    if not same_input or view.encoder != other.encoder:
        raise ConfigError(
            f"view {name!r} shares the encoder of {wanted!r}, but has another modality, preparation or encoder section; give both the same"
        )
    return keys[wanted]


def architecture(config: RunConfig) -> dict[str, Any]:
    """Return the settings that the networks and the inputs they were made for depend on, as JSON values."""
    settings = config.as_dict()
    views = {
        name: {"modality": view.modality, "encoder_key": key, "encoder": settings["views"][name]["encoder"]}
        | view.build_modality().preparation()
        for (name, view), key in zip(config.views.items(), encoder_keys(config).values(), strict=True)
    }
    return {part: settings[part] for part in ("encoder", "projector", "molecules")} | {"views": views}


def check_same_networks(model: RunConfig, wanted: RunConfig) -> None:
    """Raise ConfigError, with each difference, unless a model's networks and the inputs they were made for are those of a configuration."""
    changed = differences(architecture(model), architecture(wanted))
    if changed:
        raise ConfigError(
            "the model to start from has other networks than the configuration: " + "; ".join(changed) + ". "
            "Keep these settings as they are in the model's config.json, or train a new model"
        )


def _build_encoder(modality: Modality, parameters: Mapping[str, Any], fitted: Mapping[str, Tensor]) -> Encoder:
    valid = [name for name in inspect.signature(modality.build_encoder).parameters if name != "fitted"]
    for name in parameters:
        if name not in valid:
            raise ConfigError(f"unknown key {name!r} in the encoder section for {type(modality).__name__}{suggestion(name, valid)}")
    return modality.build_encoder(fitted=fitted, **parameters)


def reset_randomly(twin: TwinModel, seed: int) -> TwinModel:
    """Return an untrained twin of the same configuration and fitted arrays: the control that shows what training adds."""
    fitted = {key: dict(encoder.fitted.named_buffers()) for key, encoder in twin.encoders.items()}  # type: ignore[union-attr]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TwinModel(twin.config, fitted)
