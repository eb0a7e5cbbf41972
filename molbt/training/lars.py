"""LARS: momentum whose step is a fixed share of each weight's length."""

from collections.abc import Callable
from typing import Any

import torch

from molbt.errors import ConfigError


class LARS(torch.optim.Optimizer):
    """``v ← μ v + r g'``, ``p ← p − lr v`` with ``g' = g + wd p`` and ``r = η ‖p‖ / ‖g'‖``.

    A group with ``adapt=False`` (norms and biases) has ``r = 1``: exclusion is a property of the group, and is not inferred from the weight
    decay or the shape. A parameter or gradient of length 0 has ``r = 1`` too.

    Parameters
    ----------
    params : iterable of dict
        Groups, each with ``params`` and optionally ``lr``, ``weight_decay`` and ``adapt``.
    lr : float
    momentum : float
        μ.
    trust : float
        η.
    weight_decay : float
        Of groups that name none.

    Notes
    -----
    The form of the code of Barlow Twins and VICReg. lightly and solo-learn have ``η ‖p‖ / (‖g‖ + wd ‖p‖)``, which differs where decay and
    gradient point in different directions.

    References
    ----------
    You, Gitman and Ginsburg, "Large Batch Training of Convolutional Networks", 2017, algorithm 1, https://arxiv.org/abs/1708.03888
    """

    def __init__(self, params: Any, *, lr: float, momentum: float = 0.9, trust: float = 1e-3, weight_decay: float = 0.0) -> None:
        for name, value in (("lr", lr), ("trust", trust)):
            if not value > 0:
                raise ConfigError(f"LARS expected a {name} above 0, got {value}; change it in the trainer section")
        super().__init__(params, {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": weight_decay, "adapt": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = parameter.grad.add(parameter, alpha=group["weight_decay"])
                if group["adapt"]:
                    length, update_length = parameter.norm(), update.norm()
                    is_defined = (length > 0) & (update_length > 0)
                    update = update * torch.where(is_defined, group["trust"] * length / update_length, 1.0)
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].mul_(group["momentum"]).add_(update)
                parameter.add_(state["momentum"], alpha=-group["lr"])
        return loss
