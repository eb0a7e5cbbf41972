"""What fine-tuning is told and judged by: labels of several targets, some missing, as one weighted loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from molbt.predict.linear_output import LinearOutput

_LEAST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class Targets:
    """What the outputs for the rows of a training should be.

    Parameters
    ----------
    values : Tensor of shape (n, targets), float32
        Standardised labels, or 0 and 1.
    weights : Tensor of shape (n, targets), float32
        0 where there is no label. Those of a target have the mean 1, so that all count alike, and so do the classes of each.
    is_class : Tensor of shape (targets,), bool
    """

    values: Tensor
    weights: Tensor
    is_class: Tensor

    @classmethod
    def of(cls, labels: np.ndarray, heads: Sequence[LinearOutput], device: torch.device) -> "Targets":
        """Make them of labels ``(n, targets)``, NaN where there is none, and the heads that were fitted on them.

        A target with one label only has no weight: its head is constant already.
        """
        known = np.isfinite(labels)
        values = np.where(known, labels, 0.0)
        weights = known / np.maximum(known.mean(axis=0), 1 / max(len(labels), 1))
        for place, head in enumerate(heads):
            if head.constant_ is not None:
                weights[:, place] = 0.0
            elif head.task_type == "regression":
                values[:, place] = (values[:, place] - head.centre_) / head.spread_
            else:
                share = labels[known[:, place], place].mean()
                weights[:, place] *= np.where(values[:, place] == 1, 0.5 / share, 0.5 / (1 - share))
        is_class = torch.tensor([head.task_type == "classification" for head in heads], device=device)
        on_device = [torch.as_tensor(array, dtype=torch.float32).to(device) for array in (values, weights)]
        return cls(on_device[0], on_device[1], is_class)

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the mean loss of the outputs of some rows: squared error, or binary cross-entropy of log odds."""
        values = self.values[rows]
        entropy = nn.functional.binary_cross_entropy_with_logits(outputs, values, reduction="none")
        return (self.weights[rows] * torch.where(self.is_class, entropy, (outputs - values).square())).mean()


def prediction_losses(predictions: np.ndarray, labels: np.ndarray, task_types: Sequence[str], spreads: np.ndarray) -> np.ndarray:
    """Return the loss of each prediction, NaN without a label: squared error over the square of the spread, or log loss.

    Parameters
    ----------
    predictions : ndarray of shape (epochs, n, targets)
        Values, or probabilities of class 1.
    labels : ndarray of shape (n, targets)
    task_types : sequence of {"regression", "classification"}
    spreads : ndarray of shape (targets,)
        Standard deviations of the labels.
    """
    losses = np.empty_like(predictions)
    for place, task_type in enumerate(task_types):
        predicted, known = predictions[..., place], labels[:, place]
        if task_type == "regression":
            losses[..., place] = ((predicted - known) / max(spreads[place], np.finfo(np.float64).tiny)) ** 2
        else:
            truth = np.where(known == 1, predicted, np.where(known == 0, 1 - predicted, np.nan))
            losses[..., place] = -np.log(np.maximum(truth, _LEAST_PROBABILITY))
    return losses


def mean_over_targets(losses: np.ndarray) -> np.ndarray:
    """Return ``(epochs,)``: the mean over rows, then over targets, of ``(epochs, n, targets)``; infinite where nothing is known."""
    return np.ma.masked_invalid(losses).mean(axis=1).mean(axis=1).filled(np.inf)
