"""Where a run starts: networks, objectives and optimiser that are new, come from another model, or from a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from molbt.config import RunConfig, TrainerConfig
from molbt.data.columns import Column
from molbt.data.corpus import Samples
from molbt.errors import TrainingError
from molbt.model.checkpoint import fitted_of, from_pretrained
from molbt.model.twin_model import TwinModel, encoder_keys
from molbt.objectives.base import Objective
from molbt.training.hardware import Hardware
from molbt.training.lars import LARS
from molbt.training.ranks import broadcast_from_rank_zero, on_any_rank
from molbt.training.schedule import optimiser_groups
from molbt.training.state import TrainingState, part_of


def starting_point(
    config: RunConfig,
    columns: Mapping[str, Mapping[str, Column]],
    samples: Samples,
    hardware: Hardware,
    *,
    init: str | Path | None,
    checkpoint: Mapping[str, Tensor] | None,
) -> TrainingState:
    """Return the state that the next step continues from, on the run's device, in training mode and equal on all ranks.

    Raises
    ------
    ConfigError
        If the model to start from has other networks than the configuration.
    CheckpointError
        If the model to start from is damaged, or the checkpoint does not fit.
    TrainingError
        If the ranks found different checkpoints.
    """
    trainer, device = config.trainer, torch.device(hardware.device)
    hardware.seed(trainer.seed, "encoders")
    if checkpoint is not None:
        twin = TwinModel(config, fitted_of(part_of(checkpoint, "twin.")))
    elif init is not None:
        twin = from_pretrained(init)
        twin.adopt(config)
    else:
        twin = TwinModel(config, _fit(config, columns, samples))
    twin.to(device).train()
    objectives = _build_objectives(config, twin, samples, hardware).to(device).train()
    each: list[Objective] = list(objectives.values())  # type: ignore[arg-type]
    groups = optimiser_groups(twin, each, weight_decay=trainer.weight_decay)
    state = TrainingState(twin, objectives, _optimiser(trainer, groups))
    if checkpoint is not None:
        state.load(checkpoint)
    first_step = torch.tensor([state.step])
    broadcast_from_rank_zero([first_step])
    if on_any_rank(int(first_step) != state.step)[0]:
        raise TrainingError(
            f"the ranks found different checkpoints (rank 0: step {int(first_step)}, this one: step {state.step}); "
            "run them on one file system that all can read"
        )
    state.broadcast()
    return state


def _optimiser(trainer: TrainerConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if trainer.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=trainer.learning_rate, fused=True)
    for group in groups:
        group["rate_factor"] *= 1.0 if group["adapt"] else trainer.excluded_rate
    return LARS(groups, lr=trainer.learning_rate, momentum=trainer.momentum, trust=trainer.trust)


def _fit(config: RunConfig, columns: Mapping[str, Mapping[str, Column]], samples: Samples) -> dict[str, dict[str, Tensor]]:
    """Learn each encoder's scaling from the training samples."""
    fitted: dict[str, dict[str, Tensor]] = {}
    for view, key in encoder_keys(config).items():
        if key not in fitted:
            arrays = config.views[view].build_modality().fit(columns[view], samples.entries[view].numpy())
            fitted[key] = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    return fitted


def _build_objectives(config: RunConfig, twin: TwinModel, samples: Samples, hardware: Hardware) -> nn.ModuleDict:
    """Build the objectives in order, each by its label: its name, from the second of a name on with a number behind it."""
    objectives = nn.ModuleDict()
    names: list[str] = []
    for settings in config.objectives:
        names.append(settings.name)
        count = names.count(settings.name)
        label = settings.name if count == 1 else f"{settings.name}_{count}"
        objective = settings.build()
        hardware.seed(config.trainer.seed, "objective", label)
        objective.build(twin, pairs=settings.pairs or config.pairs, n_tasks=samples.n_tasks)
        objectives[label] = objective
    return objectives
