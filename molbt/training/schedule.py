"""The learning rate as a function of the step, and the parameter groups it drives."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from molbt.errors import ConfigError
from molbt.objectives.base import Objective, ParameterGroup


def learning_rate(step: int, *, total_steps: int, peak: float, final: float, warmup: float) -> float:
    """Return the learning rate of a step: linear warm-up over a share of the run, then a half cosine down to ``final``.

    The first step already has a rate above zero, and the last one is the end of the cosine.
    """
    warmup_steps = round(warmup * total_steps)
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps)
    return final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def optimiser_groups(twin: nn.Module, objectives: Iterable[Objective], *, weight_decay: float) -> list[dict[str, Any]]:
    """Return what a torch optimiser takes: weights that decay, and norms and biases (fewer than two dimensions) that do not.

    ``adapt`` says whether LARS adapts the rate of a group: that of weights.

    Raises
    ------
    ConfigError
        If an objective's groups leave out a parameter of its own that requires a gradient: it would silently stay as it is.
    """
    groups = [ParameterGroup([parameter for parameter in twin.parameters() if parameter.requires_grad])]
    for objective in objectives:
        own = objective.parameter_groups()
        grouped = {parameter for group in own for parameter in group.parameters}
        forgotten = [name for name, parameter in objective.named_parameters() if parameter.requires_grad and parameter not in grouped]
        if forgotten:
            raise ConfigError(
                f"{type(objective).__name__}.parameter_groups leaves out {', '.join(forgotten)}; add them to a group, or switch them off "
                "with requires_grad_(False)"
            )
        groups += own
    found = []
    for group in groups:
        for is_weight, decay in ((True, weight_decay), (False, 0.0)):
            parameters = [parameter for parameter in group.parameters if (parameter.ndim >= 2) == is_weight]
            if parameters:
                own_settings = {"rate_factor": group.rate_factor, "constant_rate": group.constant_rate, "adapt": is_weight}
                found.append({"params": parameters, "weight_decay": decay, **own_settings})
    return found


def set_learning_rates(optimiser: torch.optim.Optimizer, rate: float, *, peak: float) -> None:
    """Give each group of ``optimiser_groups`` its rate for a step, where that of the run is ``rate``."""
    for group in optimiser.param_groups:
        group["lr"] = group["rate_factor"] * (peak if group["constant_rate"] else rate)
