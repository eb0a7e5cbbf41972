"""The encoder of embedded texts: a fully connected network on the first wording of each."""

from torch import Tensor

from molbt.nn.dense_encoder import DenseEncoder


class TextEncoder(DenseEncoder):
    """``DenseEncoder`` on the first of several wordings.

    Shapes
    ------
    input ``(batch, wordings, width)`` float32, output ``(batch, output_dims[output])``.
    """

    def forward(self, batch: Tensor, output: str = "embedding") -> Tensor:
        """Return one output per text."""
        return super().forward(batch[:, 0], output)

    def mix(self, batch_a: Tensor, batch_b: Tensor, alpha: Tensor) -> Tensor:
        """Return a batch of one wording each that mixes the first wordings; see ``DenseEncoder.mix``."""
        return super().mix(batch_a[:, 0], batch_b[:, 0], alpha).unsqueeze(1)
