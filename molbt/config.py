"""A run's configuration: one YAML file, one ``RunConfig``.

Unknown keys are refused with the closest valid one. Configuration objects stop at the factories: networks and objectives receive plain
numbers, never a configuration.
"""

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from molbt import registry
from molbt.errors import ConfigError, suggestion

if TYPE_CHECKING:
    from molbt.data.molecules import ParsePolicy
    from molbt.modalities.base import Modality
    from molbt.objectives.base import Objective


class _Section(BaseModel):
    """A part of the configuration; a key it does not know is refused with the closest one it does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for key in values:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key {key!r}{suggestion(key, cls.model_fields)}")
        return values


class MoleculeConfig(_Section):
    """How SMILES are read: see ``molbt.data.molecules.ParsePolicy``."""

    standardise: Literal["none", "largest_fragment", "neutral"] = "none"
    max_length: int = Field(5_000, ge=1)
    max_heavy_atoms: int = Field(1_000, ge=1)

    def policy(self) -> "ParsePolicy":
        from molbt.data.molecules import ParsePolicy

        return ParsePolicy(**self.model_dump())


class ViewConfig(BaseModel):
    """A view: a modality, a column of the table, and the modality's own parameters beside them.

    ``encoder`` overrides keys of the run's encoder section for this view. Views of the same modality, column and preparation share an
    encoder unless ``share_encoder`` is false.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    modality: str
    column: str = "smiles"
    encoder: dict[str, Any] = Field(default_factory=dict)
    share_encoder: bool = True

    def build_modality(self) -> "Modality":
        """Return the modality with the view's parameters, validated."""
        modality = registry.find("modalities", self.modality)
        parameters = self.model_extra or {}
        for key in parameters:
            if key not in modality.model_fields:  # type: ignore[attr-defined]
                valid = [*modality.model_fields, "modality", "column", "encoder", "share_encoder", "like"]  # type: ignore[attr-defined]
                raise ConfigError(f"unknown key {key!r} in a view of modality {self.modality!r}{suggestion(key, valid)}")
        try:
            return modality(**parameters)
        except ValidationError as error:
            raise ConfigError(_describe(error, where=f"view of modality {self.modality!r}")) from error


class ProjectorConfig(_Section):
    """The network between embedding and objective: ``molbt.nn.mlp.Projector``."""

    widths: tuple[int, ...] = (1024, 1024)


class ObjectiveConfig(BaseModel):
    """One term of the run's loss: a name, its weight, the pairs it scores (all of the run's by default), and its own parameters."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    weight: float = 1.0
    pairs: tuple[tuple[str, str], ...] | None = None

    def build(self) -> "Objective":
        """Return the objective, its parameters checked against the signature."""
        objective = registry.find("objectives", self.name)
        parameters = self.model_extra or {}
        valid = [name for name in inspect.signature(objective).parameters if name != "self"]
        for key in parameters:
            if key not in valid:
                raise ConfigError(f"unknown key {key!r} in objective {self.name!r}{suggestion(key, [*valid, 'name', 'weight', 'pairs'])}")
        return objective(**parameters)


class LabelConfig(_Section):
    """A label set: columns of the table that hold a number and, where there are several tasks, the task's name."""

    value: str
    task: str | None = None


class TrainerConfig(_Section):
    """The training loop: ``molbt.training.trainer.pretrain``."""

    epochs: int = Field(20, ge=1)
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(1024, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    final_learning_rate: float = Field(0.0, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    clip_norm: float | None = Field(10.0, gt=0)
    seed: int = Field(0, ge=0)
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    num_threads: int | None = Field(None, ge=1)
    checkpoint_every: int = Field(1, ge=1)
    keep_checkpoints: int = Field(2, ge=1)
    probe_size: int = Field(1024, ge=2)
    stop_on_collapse: bool = False


class RunConfig(_Section):
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
        scored = [*self.pairs, *(pair for objective in self.objectives for pair in objective.pairs or ())]
        for pair in scored:
            for name in pair:
                if name not in self.views:
                    raise ValueError(f"pair {list(pair)} names the view {name!r}, which is not defined{suggestion(name, self.views)}")
            if pair[0] == pair[1]:
                raise ValueError(f"pair {list(pair)} scores a view with itself; name two views")
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
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"expected a mapping of sections in {source}, found {type(values).__name__}; see molbt info --presets")
        for change in changes:
            values = _with_change(values, change)
        try:
            config = cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(_describe(error, where=source)) from error
        for view in config.views.values():
            view.build_modality()
        for objective in config.objectives:
            if objective.build().requires_labels and not config.labels:
                raise ConfigError(
                    f"objective {objective.name!r} in {source} needs labels, but the configuration has no 'labels' section; "
                    "add one, for example  labels: {activity: {value: pIC50}}"
                )
        return config

    @classmethod
    def from_yaml(cls, path: str | Path, *, changes: Sequence[str] = ()) -> "RunConfig":
        """Read a YAML file and apply ``key.subkey=value`` changes."""
        path = Path(path)
        if not path.is_file():
            raise ConfigError(f"expected a YAML file at {path}, found none; pass --config FILE, or --preset NAME")
        return cls._from_text(path.read_text(encoding="utf-8"), source=str(path), changes=changes)

    @classmethod
    def from_preset(cls, name: str = "default", *, changes: Sequence[str] = ()) -> "RunConfig":
        """Return a preset of the package by name, with ``key.subkey=value`` changes applied."""
        if name not in preset_names():
            raise ConfigError(f"unknown preset {name!r}{suggestion(name, preset_names())}")
        text = (resources.files("molbt") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
        return cls._from_text(text, source=f"preset {name!r}", changes=changes)

    @classmethod
    def _from_text(cls, text: str, *, source: str, changes: Sequence[str]) -> "RunConfig":
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{source} is not valid YAML: {error}; compare it with the shape in the README") from error
        if not isinstance(values, dict):
            raise ConfigError(f"expected a mapping of sections in {source}, found {type(values).__name__}; see the shape in the README")
        return cls.from_dict(values, source=source, changes=changes)

    def as_dict(self) -> dict[str, Any]:
        """Return the resolved configuration as JSON values: every view with all its modality's parameters, nothing implied."""
        resolved = self.model_dump(mode="json")
        for name, view in self.views.items():
            own = view.model_dump(mode="json", include={"modality", "column", "encoder", "share_encoder"})
            resolved["views"][name] = {**own, **view.build_modality().model_dump(mode="json")}
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


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, prefix: str = "") -> list[str]:
    """Return one line per setting in which two resolved configurations differ: ``trainer.epochs: 20 -> 30``."""
    lines = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, prefix=f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before} -> {after}")
    return lines


def _resolve_view(name: str, views: Mapping[str, Any], seen: tuple[str, ...]) -> Any:
    """Return a view with everything it takes over through ``like``."""
    view = views[name]
    if not isinstance(view, Mapping) or "like" not in view:
        return view
    model = view["like"]
    if model not in views:
        raise ValueError(f"view {name!r} is like {model!r}, which is not defined{suggestion(model, views)}")
    if model in (*seen, name):
        raise ValueError(f"views {', '.join((*seen, name))} are like each other in a circle; define one of them in full")
    taken_over = _resolve_view(model, views, (*seen, name))
    return {**taken_over, **{key: value for key, value in view.items() if key != "like"}}


def _with_change(values: Mapping[str, Any], change: str) -> dict[str, Any]:
    """Apply ``objectives.0.weight=0.5`` to nested settings; a number in the path is a position in a list."""
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise ConfigError(f"expected KEY.SUBKEY=VALUE, received {change!r}; for example --set trainer.epochs=20")
    changed = json.loads(json.dumps(values))
    place: Any = changed
    *parents, last = path.split(".")
    try:
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        if isinstance(place, list):
            place[int(last)] = yaml.safe_load(text)
        else:
            place[last] = yaml.safe_load(text)
    except (IndexError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"no setting at {path!r}: {error}; compare it with the shape in the README") from error
    return changed


def _describe(error: ValidationError, *, where: str) -> str:
    """Turn pydantic's list of problems into one line each: place, what was expected, what came."""
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or "top level"
        message = problem["msg"].removeprefix("Value error, ")
        received = "" if isinstance(problem["input"], Mapping) else f", received {problem['input']!r}"
        lines.append(f"{place}: {message}{received}")
    return f"{where} cannot be used: " + "; ".join(lines)
