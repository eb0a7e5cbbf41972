"""Regression of a view's un-augmented inputs: a masked view restores itself, or one kind of input predicts another."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import nn

from molbt.errors import ConfigError
from molbt.nn.collectives import sum_over_ranks
from molbt.nn.contrast import in_full_precision
from molbt.nn.dense_encoder import DenseEncoder
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Twin, Views


class Regression(Objective):
    """Mean squared error of the scaled inputs of ``target`` before augmentation, from the embedding of ``source``.

    With ``source`` and ``target`` the same masked view this is masked-input regression; with a fingerprint as source and descriptors as
    target it is descriptor pretraining (CheMeleon: Burns et al. 2025). The inputs are those of the target's network: scaled to unit
    spread and clipped, with 0 for a missing number, so every descriptor weighs the same.

    Parameters
    ----------
    source : str
        View whose embedding is read.
    target : str
        View whose inputs are predicted; its encoder must take numeric vectors (``descriptors``).
    """

    def __init__(self, *, source: str, target: str) -> None:
        super().__init__()
        self.source = source
        self.target = target

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        encoder = twin.encoder_of(self.target)
        if not isinstance(encoder, DenseEncoder):
            raise ConfigError(
                f"objective 'regression' expects a target view of numeric vectors, received {self.target!r} with a "
                f"{type(encoder).__name__}; name a view of modality descriptors"
            )
        self.head = nn.Linear(twin.embedding_dim(self.source), encoder.input_dim)

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        """Terms: ``loss``, and ``explained``: 1 − loss over the mean square of the targets (0 when all are predicted as their centres)."""
        truth = cast(DenseEncoder, twin.encoder_of(self.target)).scale(views.original(self.target))
        off = (in_full_precision(self.head(views.embedding(self.source))) - truth).square().sum()
        total, spread = sum_over_ranks(torch.stack([off, truth.square().sum()]))
        loss = total / (views.n_rows * truth.shape[1])
        return ObjectiveOutput(loss, {"loss": loss.detach(), "explained": (1 - total / spread.clamp(min=1e-12)).detach()})
