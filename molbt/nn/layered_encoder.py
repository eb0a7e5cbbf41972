"""What encoders of vectors share: a first block of their own, dense blocks, and a last linear layer."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn

from molbt.errors import ConfigError, suggestion
from molbt.nn.encoder import Encoder
from molbt.nn.mlp import ACTIVATIONS, dense_block

WIDEST_LAYER = 1 << 16
"""Wider layers are refused: two of them take 17 GB."""


class LayeredEncoder(Encoder):
    """First block → dense blocks → linear. A subclass makes the input of the first block and calls ``run``.

    Parameters
    ----------
    first : Module
        Everything from the input of ``run`` to the activations ``hidden_1`` of width ``hidden[0]``.
    hidden : sequence of int
        Widths of the hidden blocks; at least one.
    embedding_dim : int
    activation : str
        A name of ``molbt.nn.mlp.ACTIVATIONS``.
    dropout : float
        Share of hidden activations set to zero in training.
    input_dropout : float
        Share of inputs set to zero in training (the others are scaled by ``1 / (1 - input_dropout)``).
    fitted : mapping of Tensor
        What the modality learned from training rows.

    Attributes
    ----------
    output_dims : dict of int
        ``"embedding"``, and ``"hidden_1"``, ``"hidden_2"``, …: the activations of each hidden block.
    """

    def __init__(
        self,
        first: nn.Module,
        *,
        hidden: Sequence[int],
        embedding_dim: int,
        activation: str,
        dropout: float,
        input_dropout: float,
        fitted: Mapping[str, Tensor],
    ) -> None:
        super().__init__(fitted)
        self.embedding_dim = embedding_dim
        self.blocks = nn.ModuleList([first])
        for width_in, width_out in pairwise(hidden):
            self.blocks.append(dense_block(width_in, width_out, activation=activation, dropout=dropout))
        # No bias: the projector's norm (or the objective's standardisation) removes it, and Adam would turn its rounding noise into steps.
        self.last = nn.Linear(hidden[-1], embedding_dim, bias=False)
        self.input_dropout = nn.Dropout(input_dropout)
        self.output_dims = {"embedding": embedding_dim} | {f"hidden_{k}": width for k, width in enumerate(hidden, start=1)}

    def run(self, inputs: Tensor, output: str) -> Tensor:
        """Return one output from the input of the first block; layers behind that output are not computed.

        Raises
        ------
        ConfigError
            If there is no such output.
        """
        if output not in self.output_dims:
            raise ConfigError(f"unknown output {output!r} of {type(self).__name__}{suggestion(output, self.output_dims)}")
        depth = len(self.blocks) if output == "embedding" else int(output.removeprefix("hidden_"))
        for block in self.blocks[:depth]:
            inputs = block(inputs)
        return self.last(inputs) if output == "embedding" else inputs


def check_layers(*, hidden: Sequence[int], embedding_dim: int, activation: str, dropout: float, input_dropout: float) -> None:
    """Refuse layer sizes and rates that no network can have; a configuration may hold anything in their places.

    Raises
    ------
    ConfigError
        Names the key of the ``encoder`` section, what it must be, and what it is.
    """
    if not (isinstance(hidden, list | tuple) and hidden and all(_is_width(width) for width in hidden)):
        raise ConfigError(
            f"encoder.hidden must hold one or more positive widths of at most {WIDEST_LAYER:,}, received {hidden!r:.60}; for example [1024]"
        )
    if not _is_width(embedding_dim):
        raise ConfigError(
            f"encoder.embedding_dim must be positive and at most {WIDEST_LAYER:,}, received {embedding_dim!r:.60}; "
            "for example embedding_dim: 512"
        )
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ConfigError(f"unknown encoder.activation {activation!r}{suggestion(activation, ACTIVATIONS)}")
    for key, rate in (("dropout", dropout), ("input_dropout", input_dropout)):
        if not (type(rate) in (int, float) and 0.0 <= rate < 1.0):
            raise ConfigError(f"encoder.{key} must lie in [0, 1), received {rate!r:.60}; the share of values set to zero; 0 is off")


def _is_width(value: object) -> bool:
    return type(value) is int and 1 <= value <= WIDEST_LAYER
