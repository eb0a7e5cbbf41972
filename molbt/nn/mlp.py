"""Fully connected blocks: the body of encoders and the projector."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from molbt.nn.batch_norm import BatchNorm

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}


def dense_block(width_in: int, width_out: int, *, activation: str = "gelu", dropout: float = 0.0) -> nn.Sequential:
    """Linear → batch norm → activation → dropout.

    The linear layer has no bias: the batch norm removes it, and Adam would turn its rounding noise into steps.
    """
    layers = [nn.Linear(width_in, width_out, bias=False), *norm_block(width_out, activation=activation, dropout=dropout)]
    return nn.Sequential(*layers)


def norm_block(width: int, *, activation: str = "gelu", dropout: float = 0.0) -> list[nn.Module]:
    """What follows a linear layer: batch norm → activation → dropout (left out when 0)."""
    layers: list[nn.Module] = [BatchNorm(width), ACTIVATIONS[activation]()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return layers


class Projector(nn.Sequential):
    """The network between embedding and objective, used in pretraining only.

    Each width but the last is Linear → batch norm → ReLU without bias; the last is Linear without bias and without norm
    (Barlow Twins standardises the projections itself).

    Shapes
    ------
    input ``(batch, embedding_dim)``, output ``(batch, widths[-1])``. With no widths the projection is the embedding.

    References
    ----------
    Zbontar et al. 2021, section 2.2: "three linear layers, each with 8192 output units".
    """

    def __init__(self, embedding_dim: int, widths: Sequence[int]) -> None:
        sizes = [embedding_dim, *widths]
        layers: list[nn.Module] = []
        for position, (width_in, width_out) in enumerate(pairwise(sizes), start=1):
            if position < len(widths):
                layers += dense_block(width_in, width_out, activation="relu")
            else:
                layers.append(nn.Linear(width_in, width_out, bias=False))
        super().__init__(*layers)
        self.projection_dim = sizes[-1]
