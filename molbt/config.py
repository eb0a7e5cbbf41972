"""A run's configuration: one YAML file, one ``RunConfig``.

Unknown keys are refused with the closest valid one. Configuration objects stop at the factories: networks and objectives receive plain
numbers, never a configuration.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from molbt.config_sections import LabelConfig, MoleculeConfig, ObjectiveConfig, ProjectorConfig, Section, TrainerConfig, ViewConfig
from molbt.config_text import apply_changes, describe_problems, differences, parse_yaml
from molbt.errors import ConfigError, suggestion

__all__ = [
    "LabelConfig",
    "MoleculeConfig",
    "ObjectiveConfig",
    "ProjectorConfig",
    "RunConfig",
    "TrainerConfig",
    "ViewConfig",
    "differences",
    "preset_names",
]

# Names of views and label sets become names of modules, metrics and files.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class RunConfig(Section):
    """Everything that decides a run, beside the molecules."""

    views: dict[str, ViewConfig]
    pairs: tuple[tuple[str, str], ...]
    encoder: dict[str, Any] = Field(default_factory=lambda: {"embedding_dim": 512, "hidden": [1024]})
    projector: ProjectorConfig = ProjectorConfig()
    objectives: tuple[ObjectiveConfig, ...]
    labels: dict[str, LabelConfig] = Field(default_factory=dict)
    molecules: MoleculeConfig = MoleculeConfig()
    trainer: TrainerConfig = TrainerConfig()

    @model_validator(mode="before")
    @classmethod
    def _resolve_likeness(cls, values: Any) -> Any:
        views = values.get("views") if isinstance(values, Mapping) else None
        if not isinstance(views, Mapping):
            return values
        resolved: dict[str, Any] = {}
        for name in views:
            resolved[name] = _resolve_view(name, views, seen=())
        return {**values, "views": resolved}

    @model_validator(mode="after")
    def _check_names(self) -> "RunConfig":
        if len(self.views) < 2:
            raise ValueError(f"a run needs two or more views, found {len(self.views)}; add a second one, for example  b: {{like: a}}")
        for what, names in (("view", self.views), ("label set", self.labels)):
            for name in names:
                if not _NAME.fullmatch(name):
                    raise ValueError(f"{what} {name!r} needs a name of letters, digits and _ that begins with a letter")
        scored = [*self.pairs, *(pair for objective in self.objectives for pair in objective.pairs or ())]
        for pair in scored:
            for name in pair:
                if name not in self.views:
                    raise ValueError(f"pair {list(pair)} names the view {name!r}, which is not defined{suggestion(name, self.views)}")
            if pair[0] == pair[1]:
                raise ValueError(f"pair {list(pair)} scores a view with itself; name two views")
        entities = self.trainer.unique_entities
        if entities is not None and entities not in self.views:
            raise ValueError(f"trainer.unique_entities names the view {entities!r}, which is not defined{suggestion(entities, self.views)}")
        episodes = self.trainer.episodes
        if episodes is not None and episodes not in self.labels:
            raise ValueError(f"trainer.episodes names the label set {episodes!r}, which is not defined{suggestion(episodes, self.labels)}")
        if episodes is not None and entities is not None:
            raise ValueError("trainer.episodes puts samples together that trainer.unique_entities keeps apart; set one of them")
        for pairs in (self.pairs, *(objective.pairs for objective in self.objectives)):
            if pairs is not None and len({frozenset(pair) for pair in pairs}) < len(pairs):
                raise ValueError(f"pairs {[list(pair) for pair in pairs]} name the same two views more than once; list each pair once")
        if not self.pairs:
            raise ValueError("pairs is empty; name at least one pair of views, for example [[a, b]]")
        if not self.objectives:
            raise ValueError("objectives is empty; name at least one, for example [{name: barlow_twins}]")
        return self

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str = "configuration", changes: Sequence[str] = ()) -> "RunConfig":
        """Return the validated configuration, including each view's and each objective's own parameters.

        Parameters
        ----------
        values : mapping
            The sections, as in the YAML file.
        source : str
            What messages call it.
        changes : sequence of str
            ``key.subkey=value``, applied in order.

        Raises
        ------
        ConfigError
            If a key is unknown (the closest valid one is named), or a value is out of range.

        Notes
        -----
        The result is resolved: every parameter is written out, so two spellings of one configuration are equal and have one hash.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"expected a mapping of sections in {source}, found {type(values).__name__}; see molbt info --presets")
        try:
            config = cls.model_validate(apply_changes(values, changes))
            for view in config.views.values():
                view.check_encoder_keys(config.encoder)
            for objective in config.objectives:
                config._check_labels(objective, source)
            return cls.model_validate(config.as_dict())
        except ValidationError as error:
            raise ConfigError(describe_problems(error, where=source)) from error

    @classmethod
    def from_yaml(cls, path: str | Path, *, changes: Sequence[str] = ()) -> "RunConfig":
        """Read a YAML file and apply ``key.subkey=value`` changes."""
        path = Path(path)
        if not path.is_file():
            raise ConfigError(f"expected a YAML file at {path}, found none; pass --config FILE, or --preset NAME")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error
        return cls.from_dict(parse_yaml(text, source=str(path)), source=str(path), changes=changes)

    @classmethod
    def from_preset(cls, name: str = "default", *, changes: Sequence[str] = ()) -> "RunConfig":
        """Return a preset of the package by name, with ``key.subkey=value`` changes applied."""
        if name not in preset_names():
            raise ConfigError(f"unknown preset {name!r}{suggestion(name, preset_names())}")
        text = (resources.files("molbt") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
        source = f"preset {name!r}"
        return cls.from_dict(parse_yaml(text, source=source), source=source, changes=changes)

    def _check_labels(self, objective: ObjectiveConfig, source: str) -> None:
        """Raise ConfigError when an objective reads labels that the configuration does not define."""
        if not objective.build().requires_labels:
            return
        if not self.labels:
            raise ConfigError(
                f"objective {objective.name!r} in {source} needs labels, but the configuration has no 'labels' section; "
                "add one, for example  labels: {activity: {value: pIC50}}"
            )
        wanted = objective.parameters().get("labels")
        if wanted is not None and wanted not in self.labels:
            raise ConfigError(f"objective {objective.name!r} in {source} reads the label set {wanted!r}{suggestion(wanted, self.labels)}")

    def as_dict(self) -> dict[str, Any]:
        """Return the resolved configuration as JSON values: views and objectives with all their parameters."""
        resolved = self.model_dump(mode="json")
        for name, view in self.views.items():
            own = view.model_dump(mode="json", include={"modality", "column", "encoder", "share_encoder"})
            resolved["views"][name] = {**own, **view.build_modality().model_dump(mode="json")}
        for dumped, objective in zip(resolved["objectives"], self.objectives, strict=True):
            dumped |= objective.parameters()
        return resolved

    def to_yaml(self) -> str:
        """Return the resolved configuration as YAML; ``RunConfig.from_yaml`` reads it back to an equal one."""
        return yaml.safe_dump(self.as_dict(), sort_keys=False, allow_unicode=True, width=120)

    def sha256(self) -> str:
        """Return the content hash of the resolved configuration."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    def with_smiles_column(self, column: str) -> "RunConfig":
        """Return the configuration with every molecular view reading another column."""
        views = {}
        for name, view in self.views.items():
            views[name] = view.model_copy(update={"column": column}) if view.build_modality().is_molecular else view
        return self.model_copy(update={"views": views})


def preset_names() -> list[str]:
    """Return the names of the presets that come with the package."""
    folder = resources.files("molbt") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _resolve_view(name: str, views: Mapping[str, Any], seen: tuple[str, ...]) -> Any:
    """Return a view with everything it takes over through ``like``."""
    view = views[name]
    if not isinstance(view, Mapping):
        return view
    if "like" not in view:
        if "modality" not in view:
            whole = [other for other, settings in views.items() if isinstance(settings, Mapping) and {"modality", "like"} & settings.keys()]
            raise ValueError(
                f"view {name!r} has no modality (other views here: {', '.join(whole) or 'none'}); "
                f"change one of these, or give {name!r} a modality, or like: another view"
            )
        return view
    model = view["like"]
    if model not in views:
        raise ValueError(f"view {name!r} is like {model!r}, which is not defined{suggestion(model, views)}")
    if model in (*seen, name):
        raise ValueError(f"views {', '.join((*seen, name))} are like each other in a circle; define one of them in full")
    taken_over = _resolve_view(model, views, (*seen, name))
    if not isinstance(taken_over, Mapping):
        raise ValueError(f"view {name!r} is like {model!r}, which is {taken_over!r:.40} and no section; give {model!r} a modality")
    return {**taken_over, **{key: value for key, value in view.items() if key != "like"}}
