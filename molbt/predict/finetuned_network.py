"""Encoders of a pretrained model with one linear output per target: what fine-tuning trains."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from molbt.model.twin_model import TwinModel
from molbt.predict.linear_output import LinearOutput
from molbt.training.batches import GlobalBatch


class FineTunedNetwork(nn.Module):
    """The molecular encoders of a twin side by side, and linear outputs that start as heads on the frozen encoders.

    Batch norm keeps the statistics of pretraining, in training as in use: small batches would add noise, and the heads on the frozen
    encoder would not be the start.

    Parameters
    ----------
    twin : TwinModel
    views : sequence of str
        One for each encoder.
    layer : str
        The encoders' output that is read.
    heads : sequence of LinearOutput
        Fitted on that output, one per target; a head that has seen one label only keeps predicting it.
    frozen : ndarray of shape (n, width), float32
        That output for the training rows: its columns are standardised with their present means and deviations, so that one rate and
        one penalty suit them all.
    dropout : float
        Share of the standardised output set to zero in training.

    Shapes
    ------
    input ``GlobalBatch`` of ``batch`` rows, output ``(batch, targets)``: standardised values, or log odds for balanced classes.
    """

    mean: Tensor
    scale: Tensor
    penalty: Tensor

    def __init__(
        self, twin: TwinModel, views: Sequence[str], layer: str, heads: Sequence[LinearOutput], frozen: np.ndarray, dropout: float
    ) -> None:
        super().__init__()
        self.twin, self.views, self.layer = twin, tuple(views), layer
        self._heads = list(heads)
        mean, scale = frozen.mean(axis=0, dtype=np.float64), frozen.std(axis=0, dtype=np.float64)
        scale[scale < 1e-6 * np.maximum(np.abs(mean), 1.0)] = 1.0
        weight = [np.zeros(len(mean)) if head.constant_ is not None else head.weight_ * scale / head.spread_ for head in heads]
        bias = [0.0 if head.constant_ is not None else (head.bias_ + mean @ head.weight_ - head.centre_) / head.spread_ for head in heads]
        self.register_buffer("mean", torch.from_numpy(mean).float())
        self.register_buffer("scale", torch.from_numpy(scale).float())
        self.register_buffer("penalty", torch.tensor([0.0 if head.constant_ is not None else head.penalty_ for head in heads]).float())
        self.weight = nn.Parameter(torch.from_numpy(np.stack(weight)).float())
        self.bias = nn.Parameter(torch.tensor(bias, dtype=torch.float32))
        self.dropout = nn.Dropout(dropout)

    @property
    def encoders(self) -> list[nn.Module]:
        return [self.twin.encoder_of(view) for view in self.views]

    def train(self, mode: bool = True) -> "FineTunedNetwork":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        return self

    def forward(self, batch: GlobalBatch, *, augmented: bool = False) -> Tensor:
        everything = torch.arange(len(batch), device=batch.samples.device)
        outputs = [self.twin.encode(view, batch.gather(view, everything, augmented=augmented), self.layer) for view in self.views]
        return nn.functional.linear(self.dropout((torch.cat(outputs, dim=1) - self.mean) / self.scale), self.weight, self.bias)

    def predict(self, batch: GlobalBatch) -> np.ndarray:
        """Return ``(batch, targets)`` float64: values in the label's unit, or probabilities of class 1, in evaluation mode."""
        self.eval()
        with torch.inference_mode():
            outputs = self(batch).cpu().double().numpy()
        return np.column_stack([head.from_standardised(output) for head, output in zip(self._heads, outputs.T, strict=True)])

    def penalised(self, loss: Tensor) -> Tensor:
        """Return a mean loss of a label with the penalties of the outputs' weights."""
        return loss + (self.penalty * self.weight.square().sum(dim=1)).mean()

    def parameter_groups(self, *, encoder_factor: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return what a torch optimiser takes and ``set_learning_rates`` drives: matrices of the encoders decay, all else does not."""
        trained = [parameter for encoder in self.encoders for parameter in encoder.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": weight_decay},
            {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
            {"params": [self.weight, self.bias], "weight_decay": 0.0},
        ]
        factors = (encoder_factor, encoder_factor, 1.0)
        return [group | {"rate_factor": factor, "constant_rate": False} for group, factor in zip(groups, factors, strict=True)]

    def heads(self) -> list[LinearOutput]:
        """Return copies of the heads with the present weights, for the output of the present encoders."""
        weight, bias = self.weight.detach().cpu().double().numpy(), self.bias.detach().cpu().double().numpy()
        mean, scale = self.mean.cpu().double().numpy(), self.scale.cpu().double().numpy()
        heads = [copy.copy(head) for head in self._heads]
        for head, of_target, shift in zip(heads, weight, bias, strict=True):
            if head.constant_ is None:
                raw = head.spread_ * of_target / scale
                head.set_weights(raw, head.centre_ + head.spread_ * shift - mean @ raw)
        return heads
