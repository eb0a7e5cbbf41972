"""The contract of an encoder: a network from a modality's batch to an embedding."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class Fitted(nn.Module):
    """Arrays learned from training rows before training (scaling, vocabularies' weights), saved with the encoder and never trained."""

    def __init__(self, arrays: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, array in arrays.items():
            self.register_buffer(name, array.clone())


class Encoder(nn.Module, ABC):
    """A network from a batch of one modality to embeddings.

    Attributes
    ----------
    embedding_dim : int
        Width of the default output.
    output_dims : dict of int
        Width of every output that ``forward`` offers; always holds ``"embedding"``.
    fitted : Fitted
    """

    embedding_dim: int
    output_dims: dict[str, int]

    def __init__(self, fitted: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.fitted = Fitted(fitted)

    @abstractmethod
    def forward(self, batch: Any, output: str = "embedding") -> Tensor:
        """Return one output per row of the batch: ``(batch, output_dims[output])``, float."""

    def mix(self, batch_a: Any, batch_b: Any, alpha: Tensor) -> Any:
        """Return the batch whose inputs of the network are ``alpha · a + (1 − alpha) · b``, row by row, for mixing objectives.

        ``alpha`` has the shape ``()``, ``(1,)`` or ``(batch,)``. With 1 the mixture gives the outputs of ``a``.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot mix its inputs; choose an objective that does not mix")

    def select(self, batch: Any, index: Tensor) -> Any:
        """Return the rows of a batch at ``index`` (``(rows,)`` int64), in that order."""
        raise NotImplementedError(f"{type(self).__name__} cannot select rows of a batch; choose an objective that does not")
