"""The newest rows of earlier batches."""

import torch
from torch import Tensor, nn


class MemoryQueue(nn.Module):
    """Rows first in, first out, each with the number of the entity (molecule, text) that it is of.

    It starts empty: ``is_filled`` tells which places hold rows, so nothing is compared with noise while it fills. Any number of rows may be
    pushed, whatever the size. On several ranks every rank pushes the rows of all, gathered in rank order.

    Parameters
    ----------
    size : int
        Number of rows kept.
    width : int

    Attributes
    ----------
    rows : Tensor of shape (size, width)
    entities : Tensor of shape (size,), int64
        −1 where there is no row yet.
    n_pushed : scalar Tensor, int64
        Rows since the start.
    """

    rows: Tensor
    entities: Tensor
    n_pushed: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, width))
        self.register_buffer("entities", torch.full((size,), -1))
        self.register_buffer("n_pushed", torch.zeros((), dtype=torch.int64))

    @property
    def is_filled(self) -> Tensor:
        """``(size,)`` bool."""
        return torch.arange(len(self.rows), device=self.rows.device) < self.n_pushed

    @property
    def share_filled(self) -> Tensor:
        """Scalar between 0 and 1."""
        return self.is_filled.double().mean()

    @torch.no_grad()
    def push(self, rows: Tensor, entities: Tensor) -> None:
        """Put ``(n, width)`` rows and their ``(n,)`` entities in the place of the oldest."""
        size = len(self.rows)
        places = (self.n_pushed + torch.arange(len(rows), device=self.rows.device))[-size:] % size
        self.rows[places] = rows[-size:].to(self.rows.dtype)
        self.entities[places] = entities[-size:]
        self.n_pushed += len(rows)
