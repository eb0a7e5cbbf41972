"""The sections of a run's configuration: views, objectives, labels, reading of molecules, training loop."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from molbt import registry
from molbt.config_text import describe_problems
from molbt.errors import ConfigError, suggestion

if TYPE_CHECKING:
    from molbt.data.molecules import ParsePolicy
    from molbt.modalities.base import Modality
    from molbt.objectives.base import Objective


class Section(BaseModel):
    """A part of the configuration; a key it does not know is refused with the closest one it does."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for key in values:
                if key not in cls.model_fields:
                    # pydantic would refuse it too, but not name the one that was meant.
                    raise ValueError(f"unknown key {key!r}{suggestion(key, cls.model_fields)}")
        return values


class MoleculeConfig(Section):
    """How SMILES are read: see ``molbt.data.molecules.ParsePolicy``."""

    standardise: Literal["none", "largest_fragment", "neutral"] = "none"
    max_length: int = Field(5_000, ge=1)
    max_heavy_atoms: int = Field(1_000, ge=1)
    max_seconds: float = Field(20.0, gt=0)

    def policy(self) -> "ParsePolicy":
        from molbt.data.molecules import ParsePolicy

        return ParsePolicy(**self.model_dump())


class ViewConfig(BaseModel):
    """A view: a modality, a column of the table, and the modality's own parameters beside them.

    ``encoder`` overrides keys of the run's encoder section for this view. Views of the same modality, column and preparation share an
    encoder unless ``share_encoder`` is false; a view of another column takes that of the view that ``share_encoder`` names (a neighbour
    of each molecule, or a hard negative).
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    modality: str
    column: str = "smiles"
    encoder: dict[str, Any] = Field(default_factory=dict)
    share_encoder: bool | str = True

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
            raise ConfigError(describe_problems(error, where=f"a view of modality {self.modality!r}")) from error

    def check_encoder_keys(self, shared: Mapping[str, Any]) -> None:
        """Raise ConfigError for a key that the modality's encoder does not take, in the run's encoder section or in the view's own."""
        modality = self.build_modality()
        valid = [name for name in inspect.signature(modality.build_encoder).parameters if name != "fitted"]
        for key in {**shared, **self.encoder}:
            if key not in valid:
                raise ConfigError(f"unknown key {key!r} in the encoder section for modality {self.modality!r}{suggestion(key, valid)}")


class ProjectorConfig(Section):
    """The network between embedding and objective: ``molbt.nn.mlp.Projector``."""

    widths: tuple[Annotated[int, Field(gt=0, le=1 << 16)], ...] = (1024, 1024)


class ObjectiveConfig(BaseModel):
    """One term of the run's loss: a name, its weight, the pairs it scores (all of the run's by default), and its own parameters.

    The losses of the pairs are summed, or averaged with ``average_pairs``: with several crops of one input their number then leaves the
    scale of the loss alone.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    name: str
    weight: float = Field(1.0, gt=0)
    pairs: tuple[tuple[str, str], ...] | None = Field(None, min_length=1)
    average_pairs: bool = False

    def build(self) -> "Objective":
        """Return the objective, its parameters checked against the signature."""
        try:
            return registry.find("objectives", self.name)(**self.parameters())
        except (TypeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"objective {self.name!r} cannot be built from {self.model_extra}: {error}; check its values") from error

    def parameters(self) -> dict[str, Any]:
        """Return all parameters of the objective, with its defaults where the configuration names none."""
        known = inspect.signature(registry.find("objectives", self.name)).parameters
        given = self.model_extra or {}
        for key in given:
            if key not in known:
                valid = [*known, *ObjectiveConfig.model_fields]
                raise ConfigError(f"unknown key {key!r} in objective {self.name!r}{suggestion(key, valid)}")
        defaults = {name: parameter.default for name, parameter in known.items() if parameter.default is not inspect.Parameter.empty}
        return {**defaults, **given}


class LabelConfig(Section):
    """A label set: columns of the table that hold a number and, where there are several tasks, the task's name."""

    value: str
    task: str | None = None


class TrainerConfig(Section):
    """The training loop: ``molbt.training.trainer.pretrain``.

    Attributes
    ----------
    epochs, max_steps : int
        The run ends after so many passes, or so many steps where these are fewer.
    batch_size : int
        Of all ranks together.
    unique_entities : str or None
        A view whose entries (the texts of assays, the sequences of targets) a batch repeats as little as possible; a repeat is no
        negative for a contrastive loss, and for a correlation one it lowers the effective batch size.
    episodes : str or None
        A label set whose tasks come in episodes: samples of one task (that of their first label) stand together in a batch,
        ``episode_size`` at a time. For ``prototypes``.
    episode_size : int
    optimiser : {"adamw", "lars"}
        ``lars`` is for large batches and wants other rates: ``molbt.training.lars.LARS``.
    momentum, trust : float
        Of LARS.
    excluded_rate : float
        Learning rate of norms and biases over that of weights, for LARS; 0.024 (0.0048 over 0.2) in the code of Barlow Twins.
    learning_rate, final_learning_rate : float
        Peak and end of the optimiser's rate: linear warm-up over the share ``warmup`` of the run, then a half cosine.
    weight_decay : float
        Of weight matrices; norms and biases have none.
    clip_norm : float or None
        Largest norm of the gradient. The norm of a Barlow Twins loss is in the hundreds, so 10 scales every step: it keeps the first
        steps, ten times larger, from dominating Adam's second moments. (Ten epochs on the embedded molecules end at a loss of 227 with 10
        and 289 with none.)
    seed : int
        Decides initialisation, order and augmentations.
    device : str
        ``auto`` is CUDA where there is one.
    precision : {"auto", "fp32", "bf16"}
        Of the networks' matrix products. ``auto`` is bf16 where the processor computes it natively. Losses are computed in float32.
    num_threads : int or None
        Compute threads of each process; None leaves torch's choice (``OMP_NUM_THREADS``). Kept on resume: other counts give other bits.
    checkpoint_every, keep_checkpoints : int
        Epochs between checkpoints, and how many are kept.
    probe_size : int
        Samples of the batch that diagnostics look at after each epoch.
    skip_non_finite : int
        How many steps of a run may be left out because their loss or gradient is not finite; with the next one the run ends. Each is
        logged. On a GPU the loss is then looked at in every step, which costs a little time.
    stop_on_collapse : bool
        End the run when the representation collapses, instead of a warning.
    """

    epochs: int = Field(20, ge=1)
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(1024, ge=2)
    unique_entities: str | None = None
    episodes: str | None = None
    episode_size: int = Field(64, ge=2)
    optimiser: Literal["adamw", "lars"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1)
    trust: float = Field(1e-3, gt=0)
    excluded_rate: float = Field(1.0, gt=0)
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
    skip_non_finite: int = Field(0, ge=0)
    stop_on_collapse: bool = False
