"""Networks that objectives put behind the projectors: predictors of the other view, and norms of the output."""

from collections.abc import Sequence

from torch import Tensor, nn

from molbt.nn.batch_norm import BatchNorm
from molbt.nn.mlp import dense_block
from molbt.objectives.base import Twin


class Predictors(nn.Module):
    """A predictor network for each direction of the pairs: one where views share an encoder, two between two encoders.

    Each is Linear → batch norm → ReLU → Linear.

    Parameters
    ----------
    twin : Twin
    pairs : sequence of (str, str)
    hidden : int
    bias : bool
        Of the last layer.
    """

    def __init__(self, twin: Twin, pairs: Sequence[tuple[str, str]], *, hidden: int, bias: bool) -> None:
        super().__init__()
        self._key_of_view = {view: twin.encoder_key(view) for pair in pairs for view in pair}
        self.networks = nn.ModuleDict()
        for source, target in [direction for a, b in pairs for direction in ((a, b), (b, a))]:
            width = twin.projection_dim(source)
            if self._name(source, target) not in self.networks:
                layers = nn.Sequential(dense_block(width, hidden, activation="relu"), nn.Linear(hidden, width, bias=bias))
                self.networks[self._name(source, target)] = layers

    def forward(self, projection: Tensor, source: str, target: str) -> Tensor:
        """Return what the projection of one view says of the other: ``(batch, projection_dim)``."""
        return self.networks[self._name(source, target)](projection)

    def _name(self, source: str, target: str) -> str:
        return f"{self._key_of_view[source]}-{self._key_of_view[target]}"


class OutputNorms(nn.Module):
    """A batch norm without scale and shift behind each projector, which ends without one.

    Parameters
    ----------
    twin : Twin
    views : sequence of str
        Views of one encoder share its norm.
    """

    def __init__(self, twin: Twin, views: Sequence[str]) -> None:
        super().__init__()
        self._key_of_view = {view: twin.encoder_key(view) for view in views}
        self.norms = nn.ModuleDict({twin.encoder_key(view): BatchNorm(twin.projection_dim(view), affine=False) for view in views})

    def forward(self, projection: Tensor, view: str) -> Tensor:
        return self.norms[self._key_of_view[view]](projection)
