"""The learning rate as a function of the step, and the parameter groups it drives."""

import math
from collections.abc import Iterable
from typing import Any

from torch import nn


def learning_rate(step: int, *, total_steps: int, peak: float, final: float, warmup: float) -> float:
    """Return the learning rate of a step: linear warm-up over a share of the run, then a half cosine down to ``final``.

    The first step already has a rate above zero, and the last one is the end of the cosine.
    """
    warmup_steps = round(warmup * total_steps)
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps)
    return final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def parameter_groups(modules: Iterable[nn.Module], *, weight_decay: float) -> list[dict[str, Any]]:
    """Return two optimiser groups: weights that decay, and norms and biases (fewer than two dimensions) that do not."""
    parameters = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
