"""Signals of a fixed number of points: spectra and other curves, as numbers in a cell of the table."""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from molbt.data.columns import FixedColumn
from molbt.data.molecules import ParsePolicy
from molbt.draws import Draws
from molbt.errors import DataError
from molbt.modalities.base import Columns, Modality, Prepared
from molbt.nn.dense_encoder import DenseEncoder

_SEPARATOR = re.compile(r"[\s,;]+")


class Signal(Modality):
    """One-dimensional signals on a common axis (infrared, NMR or mass spectra that were binned, dose–response curves).

    A cell holds ``points`` numbers, separated by spaces, commas or semicolons, or a JSON list of them.

    Attributes
    ----------
    points : int
        Numbers per signal; a cell with another number of them is refused.
    winsorise : float
        The network's inputs are clipped to ± this many standard deviations around the mean of each point.
    shift : int
        Augmentation: the signal moves by up to this many points either way; what leaves the axis is lost, and what enters is unknown (the
        network then sees the mean).
    gain : float
        Augmentation: the signal is multiplied by a number in [1 − gain, 1 + gain].
    noise : float
        Augmentation: to each point a number is added, uniform up to ± this share of the signal's largest absolute value.
    mask : float
        Augmentation: share of the axis hidden, in one window.
    """

    augmentations: ClassVar[frozenset[str]] = frozenset({"shift", "gain", "noise", "mask"})
    is_molecular: ClassVar[bool] = False

    points: int = Field(ge=2, le=1 << 20)
    winsorise: float = Field(default=5.0, gt=0.0, allow_inf_nan=False)
    shift: int = Field(default=0, ge=0)
    gain: float = Field(default=0.0, ge=0.0, lt=1.0)
    noise: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    mask: float = Field(default=0.0, ge=0.0, lt=1.0)

    def prepare(self, values: Sequence[str], policy: ParsePolicy) -> Prepared:
        """Read the numbers of each cell. A refused cell has an entry of NaN.

        Returns
        -------
        Prepared
            One fixed column ``values``: ``(values, points)`` float32.
        """
        signals = np.full((len(values), self.points), np.nan, dtype=np.float32)
        reasons = []
        for row, value in enumerate(values):
            numbers, reason = _read(value, self.points)
            reasons.append(reason)
            if not reason:
                signals[row] = numbers
        return Prepared({"values": FixedColumn.from_numpy(signals)}, reasons)

    def check_columns(self, columns: Columns) -> None:
        """Refuse other columns than one of ``points`` numbers."""
        values = columns.get("values")
        if not isinstance(values, FixedColumn) or values.values.dtype != torch.float32 or values.values.shape[1:] != (self.points,):
            raise DataError(f"expected one column 'values' with {self.points} float32 numbers per entry")

    def fit(self, columns: Columns, index: np.ndarray) -> dict[str, np.ndarray]:
        """Return ``centre`` and ``scale``, the mean and standard deviation of each point at ``index``, ``(points,)`` float32.

        A point that never varies has the scale 1.
        """
        values = _values(columns).values.numpy()
        centre, scale = np.zeros(self.points), np.ones(self.points)
        for j in range(self.points):  # one at a time: a memory-mapped column may be larger than the memory
            known = values[index, j].astype(np.float64)
            if len(known):
                centre[j] = known.mean()
                scale[j] = known.std() if known.min() < known.max() else 1.0
        return {"centre": centre.astype(np.float32), "scale": np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)}

    def collate(self, columns: Columns, index: Tensor) -> Tensor:
        """Gather raw signals: ``(batch, points)`` float32. The encoder scales them."""
        return _values(columns).gather(index)

    def augment(self, batch: Tensor, draws: Draws) -> Tensor:
        """Return a copy that is shifted, multiplied, noisy and partly hidden (NaN), as far as each is asked for."""
        axis = torch.arange(self.points, device=batch.device)
        if self.shift:
            steps = (draws.stream("shift").uniform() * (2 * self.shift + 1)).long() - self.shift
            source = axis - steps[:, None]
            moved = batch.gather(1, source.clamp(0, self.points - 1))
            batch = moved.masked_fill((source < 0) | (source >= self.points), torch.nan)
        if self.gain:
            batch = batch * (1 + self.gain * (2 * draws.stream("gain").uniform() - 1))[:, None]
        if self.noise:
            largest = batch.abs().nan_to_num(nan=0.0).amax(1, keepdim=True)
            batch = batch + self.noise * largest * (2 * draws.stream("noise").uniform_grid(self.points) - 1)
        hidden = round(self.mask * self.points)
        if hidden:
            start = (draws.stream("mask").uniform() * (self.points - hidden + 1)).long()[:, None]
            batch = batch.masked_fill((axis >= start) & (axis < start + hidden), torch.nan)
        return batch

    def build_encoder(  # type: ignore[override]  # the parameters are spelled out: they are the keys of the configuration
        self,
        *,
        embedding_dim: int = 512,
        fitted: Mapping[str, Tensor],
        hidden: Sequence[int] = (1024,),
        activation: str = "gelu",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> DenseEncoder:
        """Return the network of ``molbt.nn.dense_encoder``; ``fitted`` holds what ``fit`` returned."""
        return DenseEncoder(
            embedding_dim=embedding_dim,
            fitted=fitted,
            winsorise=self.winsorise,
            hidden=hidden,
            activation=activation,
            dropout=dropout,
            input_dropout=input_dropout,
        )

    def dense(self, columns: Columns, index: np.ndarray) -> np.ndarray:
        """Return the raw signals at ``index``: ``(rows, points)`` float32."""
        return _values(columns).gather(torch.as_tensor(index, dtype=torch.int64)).numpy()


def _read(value: str, points: int) -> tuple[np.ndarray, str]:
    """Return the numbers of a cell and ``""``, or nothing and why it is refused."""
    words = [word for word in _SEPARATOR.split(value.strip().removeprefix("[").removesuffix("]").strip()) if word]
    if len(words) != points:
        return np.empty(0), f"expected {points} numbers, found {len(words)}"
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError:
        return np.empty(0), "a point is not a number"
    if not (np.abs(numbers) <= np.finfo(np.float32).max).all():
        return np.empty(0), "a point is not finite"
    return numbers, ""


def _values(columns: Columns) -> FixedColumn:
    return cast(FixedColumn, columns["values"])
