"""The loop that adapts a language model, and its state in a checkpoint: named tensors, nothing else."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from molbt.errors import CheckpointError, Interrupted, TrainingError
from molbt.text_adaptation.epochs import EpochBatches
from molbt.text_adaptation.network import MaskedTokenPredictor
from molbt.text_adaptation.settings import AdaptationConfig
from molbt.training.hardware import Hardware, StopRequest
from molbt.training.run_dir import MetricsLog, RunDirectory
from molbt.training.schedule import learning_rate, set_learning_rates
from molbt.training.state import EpochTotals, part_of

logger = logging.getLogger(__name__)

_KEPT_CHECKPOINTS = 2

Progress = Callable[[str, int, int], None]


@dataclass
class AdaptationState:
    """What a stopped training needs to go on; random numbers are functions of the seed and the step.

    Attributes
    ----------
    predictor : MaskedTokenPredictor
    optimiser : Optimizer
    step : int
    totals : EpochTotals
    """

    predictor: MaskedTokenPredictor
    optimiser: torch.optim.Optimizer
    step: int = 0
    totals: EpochTotals = field(default_factory=EpochTotals)

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.predictor.named_parameters() if parameter.requires_grad}

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the trained weights, the optimiser's slots and the sums of the epoch by name; frozen ones are in the original's files."""
        tensors: dict[str, Tensor] = {f"network.{name}": parameter for name, parameter in self.trained.items()}
        for name, parameter in self.trained.items():
            slots = self.optimiser.state.get(parameter, {})
            tensors |= {f"optimiser.{name}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
        tensors |= {f"totals.sums.{name}": value for name, value in self.totals.sums.items()}
        seconds = torch.tensor(self.totals.seconds, dtype=torch.float64)
        return tensors | {"totals.steps": torch.tensor(self.totals.steps), "totals.seconds": seconds, "step": torch.tensor(self.step)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a state that ``to_tensors`` wrote.

        Raises
        ------
        CheckpointError
            If names or shapes are not those of this network.
        """
        try:
            with torch.no_grad():
                for name, parameter in self.trained.items():
                    parameter.copy_(tensors[f"network.{name}"])
                    slots = part_of(tensors, f"optimiser.{name}.")
                    self.optimiser.state[parameter] = {slot: value.to(parameter.device, copy=True) for slot, value in slots.items()}
            self.step = int(tensors["step"])
            device = next(iter(self.trained.values())).device
            sums = {name: value.to(device) for name, value in part_of(tensors, "totals.sums.").items()}
            self.totals = EpochTotals(sums, int(tensors["totals.steps"]), float(tensors["totals.seconds"]))
        except (RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"the checkpoint does not fit this language model: {reason}; start again in a new directory") from error


def train(
    predictor: MaskedTokenPredictor,
    batches: EpochBatches,
    config: AdaptationConfig,
    hardware: Hardware,
    run: RunDirectory,
    *,
    stop: StopRequest,
    label: str,
    progress: Progress | None = None,
) -> None:
    """Train the weights of a predictor that require a gradient, from the newest checkpoint on.

    Parameters
    ----------
    predictor : MaskedTokenPredictor
        On the device where the steps run.
    batches : EpochBatches
    config, hardware, run
        Checkpoints and ``metrics.csv`` go to the run's directory.
    stop : StopRequest
    label : str
        What progress and messages call this training; draws of the networks depend on it.
    progress : callable, optional
        ``progress(label, steps_done, steps_total)``

    Raises
    ------
    TrainingError
        If a loss or gradient is not finite; the last checkpoint stays.
    Interrupted
        When stopping was asked for, once the state is saved.
    """
    total_steps = min(config.epochs * len(batches), config.max_steps or config.epochs * len(batches))
    device = torch.device(hardware.device)
    state = AdaptationState(predictor, _optimiser(predictor, config))
    checkpoint = run.load_checkpoint()
    if checkpoint is not None:
        state.load(checkpoint)
        logger.info("%s goes on at step %d of %d", label, state.step, total_steps)
    metrics = MetricsLog(run.path / "metrics.csv", up_to_step=state.step)
    trained = list(state.trained.values())
    predictor.train()
    while state.step < total_steps:
        started = time.perf_counter()
        epoch, position = divmod(state.step, len(batches))
        rate = learning_rate(state.step, total_steps=total_steps, peak=config.learning_rate, final=0.0, warmup=config.warmup)
        set_learning_rates(state.optimiser, rate, peak=config.learning_rate)
        # Dropout draws from torch's generator, which is set anew at each step.
        hardware.seed(config.seed, label, "step", state.step)

        batch = batches.batch(epoch, position).to(device)
        with hardware.autocast():
            losses = predictor.losses(batch)
            loss = losses.sum() / max(1, len(losses))  # none where no text of a batch has a token
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(trained, config.clip_norm)
        state.totals = state.totals.plus({"loss": loss, "gradient_norm": norm})
        if not state.totals.are_finite():
            raise TrainingError(
                f"the loss or its gradient is not finite at step {state.step + 1} of {run.path}; the last checkpoint is kept. Lower "
                "--learning-rate, or set --precision fp32, in a new directory"
            )
        state.optimiser.step()
        state.step += 1
        state.totals.seconds += time.perf_counter() - started
        if progress is not None:
            progress(f"{label}, epoch {epoch + 1}/{config.epochs}", state.step, total_steps)

        stopping, ended = bool(stop), state.step == total_steps
        if position + 1 == len(batches) or ended:
            means = state.totals.means()
            row = {"step": state.step, "epoch": epoch + 1, "learning_rate": rate, **means, "seconds": state.totals.seconds}
            metrics.append(row)
            perplexity = math.exp(min(means["loss"], 700.0))
            logger.info("%s, epoch %d of %d: training perplexity %.4g", label, epoch + 1, config.epochs, perplexity)
            state.totals = EpochTotals()
        if ended or stopping or state.step % config.checkpoint_every == 0:
            run.save_checkpoint(state.step, state.to_tensors(), keep=_KEPT_CHECKPOINTS)
        if stopping:
            raise Interrupted(f"stopped at step {state.step} of {total_steps}; the state is saved in {run.path}; continue with --resume")


def _optimiser(predictor: MaskedTokenPredictor, config: AdaptationConfig) -> torch.optim.Optimizer:
    """AdamW; matrices decay, norms and biases do not, and a head that begins untrained learns faster."""
    head = set(predictor.head()) if predictor.new_head else set()
    groups = []
    for in_head in (False, True):
        for is_weight in (True, False):
            parameters = [
                parameter
                for parameter in predictor.parameters()
                if parameter.requires_grad and (parameter in head) == in_head and (parameter.ndim >= 2) == is_weight
            ]
            if parameters:
                decay = config.weight_decay if is_weight else 0.0
                factor = config.head_rate if in_head else 1.0
                groups.append({"params": parameters, "weight_decay": decay, "rate_factor": factor, "constant_rate": False})
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
