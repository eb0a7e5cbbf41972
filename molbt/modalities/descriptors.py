"""RDKit's 2D descriptors as a vector of numbers, scaled by what training rows show."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from molbt.data.columns import FixedColumn
from molbt.data.molecules import ParsePolicy, parse_molecules
from molbt.draws import Draws
from molbt.errors import DataError
from molbt.modalities._rdkit_descriptors import check_names, default_names, descriptor_matrix
from molbt.modalities.base import Columns, Modality, Prepared
from molbt.nn.dense_encoder import DenseEncoder

_CHUNK = 64  # molecules held at once while preparing
_IQR_OF_NORMAL = 1.349  # interquartile range of a normal distribution with standard deviation 1


class Descriptors(Modality):
    """RDKit descriptors.

    Attributes
    ----------
    names : tuple of str
        Names in ``rdkit.Chem.Descriptors.descList``. The default, all but ``qed``, ``BCUT2D_*``, ``SPS``, ``AvgIpc`` and ``Ipc``, is
        written out as soon as the modality is built: a saved configuration holds the list itself, and another RDKit version computes
        the same descriptors or refuses.
    winsorise : float
        The network's inputs are clipped to ± this many robust standard deviations around the median.
    mask : float
        Augmentation: probability that a descriptor is hidden (the network then sees the median).
    """

    augmentations: ClassVar[frozenset[str]] = frozenset({"mask"})

    names: tuple[str, ...] = Field(default_factory=default_names)
    winsorise: float = Field(default=5.0, gt=0.0, allow_inf_nan=False)
    mask: float = Field(default=0.0, ge=0.0, lt=1.0)

    @field_validator("names")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        check_names(names)
        return names

    def prepare(self, values: Sequence[str], policy: ParsePolicy) -> Prepared:
        """Parse SMILES and compute their descriptors. A refused value has an entry of NaN.

        Returns
        -------
        Prepared
            One fixed column ``values``: ``(values, names)`` float32, raw; NaN where a descriptor has no finite value.
        """
        parts, reasons = [np.empty((0, len(self.names)), np.float32)], []
        for first in range(0, len(values), _CHUNK):
            parsed = list(parse_molecules(values[first : first + _CHUNK], policy))
            reasons += [reason for _, reason in parsed]
            parts.append(descriptor_matrix([mol for mol, _ in parsed], self.names))
        return Prepared({"values": FixedColumn.from_numpy(np.concatenate(parts))}, reasons)

    def check_columns(self, columns: Columns) -> None:
        """Refuse other columns than one of a number per descriptor."""
        values = columns.get("values")
        if not isinstance(values, FixedColumn) or values.values.dtype != torch.float32 or values.values.shape[1:] != (len(self.names),):
            raise DataError(f"expected one column 'values' with {len(self.names)} float32 numbers per entry")

    def fit(self, columns: Columns, index: np.ndarray) -> dict[str, np.ndarray]:
        """Return ``centre`` and ``scale`` of each descriptor over the entries at ``index``, ``(names,)`` float32.

        The centre is the median, the scale the interquartile range over 1.349; where that is 0 (more than half the molecules share
        a value) the standard deviation; where that is 0 too, or a descriptor has no values, 1. NaN is left out.
        """
        values = _values(columns).values.numpy()
        centre, scale = np.zeros(len(self.names)), np.ones(len(self.names))
        for j in range(len(self.names)):  # one at a time: a memory-mapped column may be larger than the memory
            known = values[index, j].astype(np.float64)
            known = known[np.isfinite(known)]
            if not len(known):
                continue
            low, centre[j], high = np.percentile(known, [25, 50, 75])
            if known.min() < known.max():  # the standard deviation of equal numbers can round to something else than 0
                scale[j] = (high - low) / _IQR_OF_NORMAL or known.std()
        scale = np.maximum(scale, np.finfo(np.float32).tiny)  # float32 must not round a scale to 0
        return {"centre": centre.astype(np.float32), "scale": scale.astype(np.float32)}

    def collate(self, columns: Columns, index: Tensor) -> Tensor:
        """Gather raw values: ``(batch, names)`` float32, may hold NaN. The encoder scales them."""
        return _values(columns).gather(index)

    def augment(self, batch: Tensor, draws: Draws) -> Tensor:
        """Return a copy in which masked descriptors are NaN."""
        if not self.mask:
            return batch
        hidden = draws.stream("mask").uniform_grid(batch.shape[1]) < self.mask
        return batch.masked_fill(hidden, torch.nan)

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
        """Return the raw values at ``index``: ``(rows, names)`` float32, NaN kept."""
        return _values(columns).gather(torch.as_tensor(index, dtype=torch.int64)).numpy()


def _values(columns: Columns) -> FixedColumn:
    return cast(FixedColumn, columns["values"])
