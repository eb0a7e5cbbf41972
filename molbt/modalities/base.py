"""The contract of a modality: one kind of input, from raw values to an encoder.

A modality is a frozen set of parameters. What it learns from data goes into the encoder's ``fitted`` buffers,
what it prepares into columns.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from molbt.data.columns import Column
from molbt.data.molecules import ParsePolicy, Perception
from molbt.draws import Draws
from molbt.nn.encoder import Encoder

Columns = Mapping[str, Column]
Batch = Any  # each modality has its own; see `Modality.collate`


@dataclass(frozen=True)
class Prepared:
    """What ``prepare`` returns: one entry per value, in order.

    Attributes
    ----------
    columns : dict of Column
        Each with as many entries as there were values; a refused value has an entry too (empty or NaN).
    reasons : list of str
        ``""`` for a usable value, otherwise why it was refused.
    """

    columns: dict[str, Column]
    reasons: list[str]

    @property
    def valid(self) -> np.ndarray:
        """``(values,)`` bool: which values can be used."""
        return np.array([not reason for reason in self.reasons], dtype=bool)


class Modality(BaseModel, ABC):
    """One kind of input. Subclasses declare their parameters as fields (validated by pydantic; unknown ones are refused)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    augmentations: ClassVar[frozenset[str]] = frozenset()
    """Names of the fields that only ``augment`` reads: they change neither the columns nor the encoder."""
    is_molecular: ClassVar[bool] = True
    """Whether raw values are SMILES, parsed by ``molbt.data.molecules``."""

    def preparation(self) -> dict[str, Any]:
        """Return the parameters that the prepared columns and the encoder depend on, as JSON values (part of the content address)."""
        return self.model_dump(mode="json", exclude=set(self.augmentations))

    @property
    def perception(self) -> Perception:
        """How much of a molecule ``prepare`` reads; it is given no less (``molbt.data.molecules``)."""
        return Perception.ALL

    @abstractmethod
    def prepare(self, values: Sequence[str], policy: ParsePolicy) -> Prepared:
        """Turn raw values into columns: pure, deterministic, in one process (the caller shards and parallelises).

        Parameters
        ----------
        values : sequence of str
            Unique raw values: SMILES for a molecular modality.
        policy : ParsePolicy
            How SMILES are read and standardised (unused by other modalities).
        """

    def check_columns(self, columns: Columns) -> None:
        """Refuse columns that ``prepare`` would not have made: those of a corpus may come from elsewhere.

        Raises
        ------
        DataError
            Names what is odd; the caller adds where.
        """

    def fit(self, columns: Columns, index: np.ndarray) -> dict[str, np.ndarray]:
        """Learn from the entries at ``index`` (training rows only); the arrays become the encoder's ``fitted`` buffers."""
        return {}

    @abstractmethod
    def collate(self, columns: Columns, index: Tensor) -> Batch:
        """Gather the entries at ``index`` (``(batch,)`` int64) into a batch on the columns' device."""

    @abstractmethod
    def augment(self, batch: Batch, draws: Draws) -> Batch:
        """Return a randomly changed copy of a batch; random through ``draws`` only."""

    @abstractmethod
    def build_encoder(self, *, embedding_dim: int, fitted: Mapping[str, Tensor], **parameters: Any) -> Encoder:
        """Return a network from batches to embeddings.

        Parameters
        ----------
        embedding_dim : int
        fitted : mapping of Tensor
            What ``fit`` learned, or what a checkpoint holds of it.
        **parameters
            The ``encoder`` section of the configuration.
        """

    def dense(self, columns: Columns, index: np.ndarray) -> Any:
        """Return the encoder's inputs at ``index`` as a matrix (NumPy array or SciPy CSR, rows by inputs), for controls such as PCA."""
        raise NotImplementedError(f"modality {type(self).__name__} has no matrix form of its inputs")
