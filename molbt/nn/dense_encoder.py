"""The encoder of numeric vectors: fitted scaling, then a fully connected network."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from molbt.errors import ConfigError, ShapeError
from molbt.nn.layered_encoder import LayeredEncoder, check_layers
from molbt.nn.mlp import dense_block


class DenseEncoder(LayeredEncoder):
    """Scaling → dropout → dense blocks → linear.

    Inputs are raw: they become ``(x − centre) / scale``, clipped to ±``winsorise``; NaN becomes 0, which stands for the centre.

    Parameters
    ----------
    embedding_dim : int
    fitted : mapping of Tensor
        ``centre`` and ``scale``, each ``(inputs,)`` float32; they fix the number of inputs.
    winsorise : float
        Bound of the scaled inputs, in units of the scale.
    hidden : sequence of int
        Widths of the hidden blocks.
    activation : {"gelu", "relu", "silu"}
    dropout, input_dropout : float
        Shares of hidden activations and of inputs set to zero in training.

    Shapes
    ------
    input ``(batch, inputs)`` float32, may hold NaN; output ``(batch, output_dims[output])``.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 512,
        fitted: Mapping[str, Tensor],
        winsorise: float,
        hidden: Sequence[int] = (1024,),
        activation: str = "gelu",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> None:
        check_layers(hidden=hidden, embedding_dim=embedding_dim, activation=activation, dropout=dropout, input_dropout=input_dropout)
        if set(fitted) != {"centre", "scale"}:
            raise ConfigError(
                f"expected the fitted arrays 'centre' and 'scale', received {sorted(fitted)}, for {type(self).__name__}; "
                "call the modality's fit on training rows first"
            )
        self.input_dim = len(fitted["centre"])
        super().__init__(
            dense_block(self.input_dim, hidden[0], activation=activation, dropout=dropout),
            hidden=hidden,
            embedding_dim=embedding_dim,
            activation=activation,
            dropout=dropout,
            input_dropout=input_dropout,
            fitted=fitted,
        )
        self.winsorise = winsorise

    def forward(self, batch: Tensor, output: str = "embedding") -> Tensor:
        """Return one output per row.

        Raises
        ------
        ShapeError
            If the batch is of another width than the fitted arrays.
        """
        if batch.ndim != 2 or batch.shape[1] != self.input_dim:
            raise ShapeError(
                f"expected inputs of shape (batch, {self.input_dim}), received {tuple(batch.shape)}, in {type(self).__name__}.forward; "
                "prepare the values with the modality the encoder was built from"
            )
        return self.run(self.input_dropout(self.scale(batch)), output)

    def scale(self, batch: Tensor) -> Tensor:
        """Return the inputs of the network: ``(batch, inputs)``, finite."""
        scaled = (batch - self.fitted.get_buffer("centre")) / self.fitted.get_buffer("scale")
        # torch's clamp keeps NaN, so the order of the two does not matter.
        return torch.nan_to_num(scaled.clamp(-self.winsorise, self.winsorise), nan=0.0)

    def mix(self, batch_a: Tensor, batch_b: Tensor, alpha: Tensor) -> Tensor:
        """Return raw values whose scaled form is ``alpha · scale(a) + (1 − alpha) · scale(b)``.

        Clipping and NaN are resolved before mixing: a mixture of the raw values would not be a mixture of the network's inputs.

        Parameters
        ----------
        batch_a, batch_b : Tensor of shape (batch, inputs), float32
        alpha : Tensor of shape () or (batch,), float

        Raises
        ------
        ShapeError
            If the batches differ in shape.
        """
        if batch_a.shape != batch_b.shape:
            raise ShapeError(
                f"expected two batches of one shape, received {tuple(batch_a.shape)} and {tuple(batch_b.shape)}, in "
                f"{type(self).__name__}.mix; mix views of the same rows and the same modality"
            )
        alpha = alpha.to(batch_a.dtype).reshape(-1, 1)
        mixed = alpha * self.scale(batch_a) + (1 - alpha) * self.scale(batch_b)
        return mixed * self.fitted.get_buffer("scale") + self.fitted.get_buffer("centre")

    def select(self, batch: Tensor, index: Tensor) -> Tensor:
        """Return the rows at ``index`` (``(rows,)`` int64), in that order."""
        return batch.index_select(0, index)
