"""What training changes from step to step, and its form in a checkpoint: named tensors, nothing else."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from molbt.errors import CheckpointError
from molbt.model.twin_model import TwinModel
from molbt.nn.collectives import sum_over_ranks, world_size
from molbt.objectives.base import Objective
from molbt.training.ranks import broadcast_from_rank_zero


@dataclass
class EpochTotals:
    """Sums over the steps of the current epoch, on the device: reading them at every step would make a GPU wait.

    Attributes
    ----------
    sums : dict of scalar Tensor, float64
        Of ``loss``, ``gradient_norm`` and each objective's terms.
    steps : int
    seconds : float
        Spent on them before this process took over.
    """

    sums: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0

    def plus(self, numbers: Mapping[str, Tensor]) -> "EpochTotals":
        """Return the totals with what a step reports, under the same names at every step."""
        # In the order of the step: a checkpoint forgets it.
        sums = {name: self.sums.get(name, 0) + value.detach().double() for name, value in numbers.items()}
        return EpochTotals(sums, self.steps + 1, self.seconds)

    def means(self) -> dict[str, float]:
        """Return the mean over the steps and the ranks."""
        if not self.sums:
            return {}
        total = sum_over_ranks(torch.stack(list(self.sums.values()))) / (world_size() * max(1, self.steps))
        return dict(zip(self.sums, total.tolist(), strict=True))

    def are_finite(self) -> bool:
        """Return whether every loss and gradient was finite; waits for the device."""
        return all(math.isfinite(float(self.sums[name])) for name in ("loss", "gradient_norm") if name in self.sums)


@dataclass
class TrainingState:
    """Everything that a stopped run needs to go on. Random numbers have no state: they are functions of the seed and the step.

    Attributes
    ----------
    twin : TwinModel
    objectives : ModuleDict of Objective
        By label, in the order of the configuration.
    optimiser : Optimizer
    step : int
        Steps done.
    skipped : int
        How many of them left everything as it was, because their loss was not finite.
    totals : EpochTotals
    """

    twin: TwinModel
    objectives: nn.ModuleDict
    optimiser: torch.optim.Optimizer
    step: int = 0
    skipped: int = 0
    totals: EpochTotals = field(default_factory=EpochTotals)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser trains, in its order."""
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]

    @property
    def buffers(self) -> list[Tensor]:
        """What forward passes change beside the parameters: running statistics, queues."""
        return [*self.twin.buffers(), *self.objectives.buffers()]

    def put_back(self, buffers: Sequence[Tensor]) -> None:
        """Take over copies of ``buffers``."""
        with torch.no_grad():
            for own, copy in zip(self.buffers, buffers, strict=True):
                own.copy_(copy)

    def is_finite(self) -> bool:
        """Return whether all weights, statistics of the twin and slots of the optimiser are finite; waits for the device."""
        slots = [value for state in self.optimiser.state.values() for value in state.values() if isinstance(value, Tensor)]
        return all(bool(tensor.isfinite().all()) for tensor in (*self.parameters, *self.twin.buffers(), *slots))

    def each_objective(self) -> dict[str, Objective]:
        return dict(self.objectives.items())  # type: ignore[arg-type]

    def broadcast(self) -> None:
        """Start all ranks from the networks of rank 0."""
        broadcast_from_rank_zero([*self.twin.state_dict().values(), *self.objectives.state_dict().values()])

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the whole state by name: ``twin.…``, ``objectives.…``, ``optimiser.<parameter>.<slot>``, ``totals.…``, ``step``, …"""
        tensors = {f"twin.{name}": tensor for name, tensor in self.twin.state_dict().items()}
        tensors |= {f"objectives.{name}": tensor for name, tensor in self.objectives.state_dict().items()}
        for parameter, name in self._names().items():
            slots = self.optimiser.state.get(parameter, {})
            tensors |= {f"optimiser.{name}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
        tensors |= {f"totals.sums.{name}": value for name, value in self.totals.sums.items()}
        return tensors | {
            "totals.steps": torch.tensor(self.totals.steps),
            "totals.seconds": torch.tensor(self.totals.seconds, dtype=torch.float64),
            "step": torch.tensor(self.step),
            "skipped": torch.tensor(self.skipped),
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a state that ``to_tensors`` wrote.

        Raises
        ------
        CheckpointError
            If names or shapes are not those of these networks.
        """
        device = self.parameters[0].device
        try:
            self.twin.load_state_dict(part_of(tensors, "twin."))
            self.objectives.load_state_dict(part_of(tensors, "objectives."))
            self.step = int(tensors["step"])
            self.skipped = int(tensors.get("skipped", 0))  # none could be, before it was counted
            sums = {name: value.to(device) for name, value in part_of(tensors, "totals.sums.").items()}
            self.totals = EpochTotals(sums, int(tensors["totals.steps"]), float(tensors["totals.seconds"]))
        except (RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"the checkpoint does not fit the configuration: {reason}; start the run again in a new directory"
            ) from error
        for parameter, name in self._names().items():
            slots = part_of(tensors, f"optimiser.{name}.")
            if slots:
                self.optimiser.state[parameter] = {slot: value.to(parameter.device, copy=True) for slot, value in slots.items()}

    def _names(self) -> dict[nn.Parameter, str]:
        named = {parameter: f"twin.{name}" for name, parameter in self.twin.named_parameters()}
        return named | {parameter: f"objectives.{name}" for name, parameter in self.objectives.named_parameters()}


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin so, without the beginning."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
