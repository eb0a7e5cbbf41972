"""Copies of the networks that follow them slowly, and how slowly."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from molbt.objectives.base import Twin, Views


def rising_momentum(start: float, progress: float) -> float:
    """Return the momentum at a share of the run: ``1 − (1 − start) (cos(π progress) + 1) / 2``, from ``start`` to 1.

    References
    ----------
    Grill et al. 2020, section 3.3
    """
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2


@torch.no_grad()
def follow(copies: Sequence[Tensor], originals: Sequence[Tensor], momentum: float) -> None:
    """Move each copy by ``1 − momentum`` of the way to its original, in place."""
    torch._foreach_lerp_(list(copies), list(originals), 1 - momentum)


def views_of(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return the views that the pairs name, in order, each once."""
    return list(dict.fromkeys(view for pair in pairs for view in pair))


class MomentumNetworks(nn.Module):
    """A copy of the encoder and projector of each view, made of the weights that training starts from, and never trained.

    Only parameters follow. The running statistics of norms are the copies' own, of the batches that they see; like the networks they
    normalise by the statistics of the batch.

    Parameters
    ----------
    twin : Twin
    views : sequence of str
        Views of one encoder share its copy.
    """

    def __init__(self, twin: Twin, views: Sequence[str]) -> None:
        super().__init__()
        self._key_of_view = {view: twin.encoder_key(view) for view in views}
        self.encoders = nn.ModuleDict()
        self.projectors = nn.ModuleDict()
        for view, key in self._key_of_view.items():
            if key not in self.encoders:
                self.encoders[key] = copy.deepcopy(twin.encoder_of(view))
                self.projectors[key] = copy.deepcopy(twin.projector_of(view))
        self.requires_grad_(False)

    @torch.no_grad()
    def projections(self, views: Views, wanted: Sequence[str]) -> dict[str, Tensor]:
        """Return the copies' projections ``(batch, projection_dim)`` of some views of a batch."""
        found = {}
        for view in wanted:
            key = self._key_of_view[view]
            found[view] = self.projectors[key](self.encoders[key](views.batch(view)))
        return found

    def follow(self, twin: Twin, momentum: float) -> None:
        """Move each copy by ``1 − momentum`` of the way to its network."""
        online: list[Tensor] = []
        copies: list[Tensor] = []
        for key in self.encoders:  # an encoder's key is the name of a view that uses it
            online += [*twin.encoder_of(key).parameters(), *twin.projector_of(key).parameters()]
            copies += [*self.encoders[key].parameters(), *self.projectors[key].parameters()]
        follow(copies, online, momentum)
