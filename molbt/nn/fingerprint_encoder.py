"""The encoder of fingerprints: its first layer is a sum over the features that occur."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from molbt.data.columns import RaggedColumn
from molbt.errors import ShapeError
from molbt.nn.layered_encoder import LayeredEncoder, check_layers
from molbt.nn.mlp import norm_block

EXPECTED_ACTIVE = 100
"""Features of a molecule, ECFP4 and atom pairs together: the medians of RDKit's NCI and screening sets are 69 and 151."""


@dataclass(frozen=True)
class FingerprintBatch:
    """Fingerprints of a batch, item by item: an item is a feature that occurs in a row.

    Parameters
    ----------
    ids : Tensor of shape (items,), int64
        Feature numbers in ``[0, width)``. An id may occur twice in a row after ``FingerprintEncoder.mix``: the weights add up.
    weights : Tensor of shape (items,), float32
        Inputs of the network: transformed counts.
    row_of_item : Tensor of shape (items,), int64
        The row each item belongs to, in rising order.
    offsets : Tensor of shape (rows + 1,), int64
        Row ``i`` has the items ``offsets[i]:offsets[i + 1]``.
    width : int
        Number of features there are.
    """

    ids: Tensor
    weights: Tensor
    row_of_item: Tensor
    offsets: Tensor
    width: int

    @property
    def n_rows(self) -> int:
        return len(self.offsets) - 1

    def __len__(self) -> int:
        return self.n_rows

    def to(self, device: torch.device | str) -> "FingerprintBatch":
        return FingerprintBatch(
            self.ids.to(device), self.weights.to(device), self.row_of_item.to(device), self.offsets.to(device), self.width
        )

    def select(self, index: Tensor) -> "FingerprintBatch":
        """Return the rows at ``index`` (``(rows,)`` int64), in that order."""
        taken = RaggedColumn({"ids": self.ids, "weights": self.weights}, self.offsets).gather(index)
        return FingerprintBatch(taken.fields["ids"], taken.fields["weights"], taken.row_of_item, taken.offsets, self.width)

    def to_dense(self) -> Tensor:
        """Return the matrix of weights: ``(rows, width)`` float32."""
        # A cell gets at most two addends (after a mix), and the sum of two does not depend on their order: the same bits on any device.
        flat = self.weights.new_zeros(self.n_rows * self.width)
        return flat.index_add(0, self.row_of_item * self.width + self.ids, self.weights).view(self.n_rows, self.width)


class FingerprintEncoder(LayeredEncoder):
    """Embedding bag → batch norm → activation, then dense blocks and a linear layer.

    The first layer is the linear layer ``weights @ first_weight`` without bias. On a CPU it is computed as an embedding bag, which
    touches the occurring features alone (with 1,024 molecules, width 8,192 and 1,024 hidden units a forward and backward pass takes
    a seventh to a tenth of the time of the matrix product); on a GPU the batch is made dense and multiplied. Both read the same parameter.

    Parameters
    ----------
    input_dim : int
        Width of the fingerprint.
    embedding_dim : int
    fitted : mapping of Tensor
    hidden : sequence of int
        Widths of the hidden blocks; the first is the width of the embedding bag.
    activation : {"gelu", "relu", "silu"}
    dropout, input_dropout : float
        Shares of hidden activations and of occurring features set to zero in training.
    densify : bool, optional
        Form of the first layer; None chooses by the device.

    Notes
    -----
    ``first_weight`` starts as ``torch.nn.Linear`` starts a layer with ``EXPECTED_ACTIVE`` inputs: uniform in ±1/√100. With the
    nominal fan-in of 8,192, of which all but a hundred are zero, it would start nine times smaller, and Adam's steps, whose size does
    not depend on the weights', would be nine times larger beside it.

    Shapes
    ------
    input ``FingerprintBatch`` of ``batch`` rows, output ``(batch, output_dims[output])``.
    """

    def __init__(
        self,
        input_dim: int,
        *,
        embedding_dim: int = 512,
        fitted: Mapping[str, Tensor],
        hidden: Sequence[int] = (1024,),
        activation: str = "gelu",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        densify: bool | None = None,
    ) -> None:
        check_layers(hidden=hidden, embedding_dim=embedding_dim, activation=activation, dropout=dropout, input_dropout=input_dropout)
        super().__init__(
            nn.Sequential(*norm_block(hidden[0], activation=activation, dropout=dropout)),
            hidden=hidden,
            embedding_dim=embedding_dim,
            activation=activation,
            dropout=dropout,
            input_dropout=input_dropout,
            fitted=fitted,
        )
        self.input_dim = input_dim
        self.densify = densify
        self.first_weight = nn.Parameter(torch.empty(input_dim, hidden[0]))
        nn.init.uniform_(self.first_weight, -(EXPECTED_ACTIVE**-0.5), EXPECTED_ACTIVE**-0.5)

    def forward(self, batch: FingerprintBatch, output: str = "embedding") -> Tensor:
        """Return one output per row.

        Raises
        ------
        ShapeError
            If the batch is of another width than the encoder.
        """
        if batch.width != self.input_dim:
            raise ShapeError(
                f"expected fingerprints of width {self.input_dim}, received {batch.width}, in {type(self).__name__}.forward; "
                "prepare the molecules with the modality the encoder was built from"
            )
        weights = self.input_dropout(batch.weights.to(self.first_weight.dtype))
        dense = batch.ids.device.type != "cpu" if self.densify is None else self.densify
        if dense:
            inputs = FingerprintBatch(batch.ids, weights, batch.row_of_item, batch.offsets, batch.width).to_dense() @ self.first_weight
        else:
            inputs = nn.functional.embedding_bag(
                batch.ids, self.first_weight, batch.offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
            )
        return self.run(inputs, output)

    def mix(self, batch_a: FingerprintBatch, batch_b: FingerprintBatch, alpha: Tensor) -> FingerprintBatch:
        """Return ``alpha · a + (1 − alpha) · b``: the items of both with scaled weights.

        Exact, because the first layer is linear in the weights.

        Parameters
        ----------
        batch_a, batch_b : FingerprintBatch
            As many rows each, of one width.
        alpha : Tensor of shape () or (batch,), float

        Raises
        ------
        ShapeError
            If the batches differ in rows or width.
        """
        a, b = batch_a, batch_b
        if (a.n_rows, a.width) != (b.n_rows, b.width):
            raise ShapeError(
                f"expected two batches of one shape, received {(a.n_rows, a.width)} and {(b.n_rows, b.width)} (rows, width), in "
                f"{type(self).__name__}.mix; mix views of the same rows and the same modality"
            )
        alpha = alpha.to(a.weights.dtype).reshape(-1).expand(a.n_rows)
        # The items of row i are those of a, then those of b: each item moves behind what the other batch holds up to there.
        place_a = torch.arange(len(a.ids), device=a.ids.device) + b.offsets[a.row_of_item]
        place_b = torch.arange(len(b.ids), device=b.ids.device) + a.offsets[b.row_of_item + 1]

        def merge(of_a: Tensor, of_b: Tensor) -> Tensor:
            merged = of_a.new_empty(len(of_a) + len(of_b))
            merged[place_a], merged[place_b] = of_a, of_b
            return merged

        weights = merge(a.weights * alpha[a.row_of_item], b.weights * (1 - alpha)[b.row_of_item])
        return FingerprintBatch(merge(a.ids, b.ids), weights, merge(a.row_of_item, b.row_of_item), a.offsets + b.offsets, a.width)

    def select(self, batch: FingerprintBatch, index: Tensor) -> FingerprintBatch:
        """Return the rows at ``index`` (``(rows,)`` int64), in that order."""
        return batch.select(index)
