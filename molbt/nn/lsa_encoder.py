"""The encoder of texts by their words: TF-IDF on fitted directions, then a fully connected network."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from molbt.errors import ConfigError
from molbt.nn.fingerprint_encoder import FingerprintBatch
from molbt.nn.layered_encoder import LayeredEncoder, check_layers
from molbt.nn.mlp import dense_block

_FITTED = {"terms", "idf", "components", "scale"}


class LsaEncoder(LayeredEncoder):
    """Terms → TF-IDF of length 1 → fitted directions → dropout → dense blocks → linear.

    Terms outside the fitted vocabulary are left out before the length is taken; a text without a known term is at the origin.

    Parameters
    ----------
    embedding_dim : int
    fitted : mapping of Tensor
        As ``molbt.modalities.lsa.Lsa.fit`` returns them.
    hidden : sequence of int
        Widths of the hidden blocks.
    activation : {"gelu", "relu", "silu"}
    dropout, input_dropout : float
        Shares of hidden activations and of coordinates set to zero in training.

    Shapes
    ------
    input ``FingerprintBatch`` of ``batch`` texts, weights 1 + log(count); output ``(batch, output_dims[output])``.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 512,
        fitted: Mapping[str, Tensor],
        hidden: Sequence[int] = (1024,),
        activation: str = "gelu",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> None:
        check_layers(hidden=hidden, embedding_dim=embedding_dim, activation=activation, dropout=dropout, input_dropout=input_dropout)
        if set(fitted) != _FITTED:
            raise ConfigError(
                f"expected the fitted arrays {sorted(_FITTED)}, received {sorted(fitted)}, for {type(self).__name__}; "
                "call the modality's fit on training texts first"
            )
        super().__init__(
            dense_block(fitted["components"].shape[1], hidden[0], activation=activation, dropout=dropout),
            hidden=hidden,
            embedding_dim=embedding_dim,
            activation=activation,
            dropout=dropout,
            input_dropout=input_dropout,
            fitted=fitted,
        )

    def forward(self, batch: FingerprintBatch, output: str = "embedding") -> Tensor:
        """Return one output per text."""
        return self.run(self.input_dropout(self.coordinates(batch)), output)

    def coordinates(self, batch: FingerprintBatch) -> Tensor:
        """Return the input of the network: ``(batch, components)``, with a mean square of about 1 over the training texts."""
        terms, components = self.fitted.get_buffer("terms"), self.fitted.get_buffer("components")
        place = torch.searchsorted(terms, batch.ids).clamp(max=len(terms) - 1)
        weights = batch.weights * self.fitted.get_buffer("idf")[place] * (terms[place] == batch.ids)
        squares = weights.new_zeros(batch.n_rows).index_add(0, batch.row_of_item, weights.square())
        weights = weights * squares.clamp(min=torch.finfo(weights.dtype).tiny).rsqrt()[batch.row_of_item]
        summed = nn.functional.embedding_bag(
            place, components, batch.offsets, mode="sum", per_sample_weights=weights.to(components.dtype), include_last_offset=True
        )
        return summed / self.fitted.get_buffer("scale")

    def select(self, batch: FingerprintBatch, index: Tensor) -> FingerprintBatch:
        """Return the rows at ``index`` (``(rows,)`` int64), in that order."""
        return batch.select(index)
