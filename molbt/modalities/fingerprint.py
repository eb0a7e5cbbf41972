"""Molecular fingerprints: any concatenation of RDKit's, as counts or bits, stored item by item."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from pydantic import Field, model_validator
from scipy import sparse
from torch import Tensor

from molbt.data.columns import RaggedColumn
from molbt.data.molecules import ParsePolicy, Perception, parse_molecules
from molbt.draws import Draws
from molbt.errors import ConfigError, DataError
from molbt.modalities._fingerprint_augmentations import add_absent, drop_items, drop_whole_kind, scale_counts
from molbt.modalities._rdkit_fingerprints import MACCS_WIDTH, FingerprintKind
from molbt.modalities.base import Columns, Modality, Prepared
from molbt.nn.fingerprint_encoder import FingerprintBatch, FingerprintEncoder

_CHUNK = 64  # molecules held at once while preparing: few enough to stay in the processor's cache
_MIN_BLOCK = 32


class Fingerprint(Modality):
    """A concatenation of RDKit fingerprints.

    Attributes
    ----------
    kinds : tuple of str
        ``ecfp{n}`` and ``fcfp{n}`` (n: any even diameter), ``atom_pair``, ``topological_torsion``, ``rdkit_path``, ``maccs``, ``avalon``.
        ``_chiral`` behind one of the first four families lets stereocentres count (``ecfp4_chiral``).
    counts : bool
        How often each feature occurs (at most 255 is kept), or only whether it does.
    width : int
        Number of features in all. MACCS keys take their own 167; the other kinds share the rest in equal blocks, rounded down to a
        multiple of 8, in the order of ``kinds``, and RDKit folds each kind to its block. One kind alone takes the whole width.
    transform : {"log1p", "count"}
        What the network receives for a count. Without counts it receives 1.
    drop : float
        Augmentation: probability that an occurring feature is left out.
    count_noise : float
        Augmentation: each count is multiplied by a number uniform in ``1 ± count_noise``; it does not fall below 1.
    flip : float
        Augmentation: expected number of features per molecule that are drawn and, where absent, switched on with count 1. Draws hit
        all features alike, so about ``flip · (1 − share of features present)`` appear.
    drop_kind : float
        Augmentation: probability that one kind, any with equal chance, is left out as a whole. One kind at most: a molecule never
        loses all.

    Examples
    --------
    >>> from molbt.data.molecules import ParsePolicy
    >>> modality = Fingerprint(kinds=("ecfp4",), width=2048)
    >>> prepared = modality.prepare(["CCO", "no SMILES"], ParsePolicy())
    >>> prepared.valid
    array([ True, False])
    >>> modality.dense(prepared.columns, np.array([0, 1])).sum(axis=1).A1
    array([6., 0.], dtype=float32)
    """

    augmentations: ClassVar[frozenset[str]] = frozenset({"drop", "count_noise", "flip", "drop_kind"})

    kinds: tuple[str, ...] = ("ecfp4", "atom_pair")
    counts: bool = True
    width: int = Field(default=8192, ge=_MIN_BLOCK, le=1 << 20)
    transform: Literal["log1p", "count"] = "log1p"
    drop: float = Field(default=0.0, ge=0.0, lt=1.0)
    count_noise: float = Field(default=0.0, ge=0.0, le=1.0)
    flip: float = Field(default=0.0, ge=0.0, le=1000.0)
    drop_kind: float = Field(default=0.0, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _check(self) -> "Fingerprint":
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ConfigError(f"kinds must name one or more different fingerprints, received {list(self.kinds)}; list each once")
        smallest = min(width for _, _, width in self._blocks())
        if smallest < _MIN_BLOCK or self.input_dim > self.width:
            raise ConfigError(
                f"expected a width with room for MACCS keys ({MACCS_WIDTH} features) and {_MIN_BLOCK} features of each other kind, "
                f"received width {self.width} for {list(self.kinds)}; raise width or name fewer kinds"
            )
        if self.count_noise and not self.counts:
            raise ConfigError(f"count_noise needs counts: true, received count_noise {self.count_noise} with counts: false; set it to 0")
        if self.drop_kind and len(self.kinds) == 1:
            raise ConfigError(f"drop_kind needs two or more kinds, received {self.drop_kind} with kinds {list(self.kinds)}; set it to 0")
        return self

    @property
    def input_dim(self) -> int:
        """Number of features: the end of the last block, at most ``width``."""
        _, start, width = self._blocks()[-1]
        return start + width

    def _blocks(self) -> list[tuple[FingerprintKind, int, int]]:
        """Return kind, first feature and number of features of each block."""
        kinds = [FingerprintKind.from_name(name) for name in self.kinds]
        n_folded = sum(kind.is_folded for kind in kinds)
        shared = self.width - MACCS_WIDTH * (len(kinds) - n_folded)
        folded = self.width if len(kinds) == 1 else shared // max(n_folded, 1) // 8 * 8
        blocks, start = [], 0
        for kind in kinds:
            width = folded if kind.is_folded else MACCS_WIDTH
            blocks.append((kind, start, width))
            start += width
        return blocks

    @property
    def perception(self) -> Perception:
        """The most that one of the kinds reads."""
        return max(kind.perception for kind, _, _ in self._blocks())

    def prepare(self, values: Sequence[str], policy: ParsePolicy) -> Prepared:
        """Parse SMILES and compute their fingerprints. A refused value has an entry without items.

        Returns
        -------
        Prepared
            One ragged column ``features`` with the fields ``id`` (uint16, or uint32 when there are more than 65,536 features),
            rising within an entry, and ``count`` (uint8, at most 255; absent when ``counts`` is false).
        """
        blocks = [(kind.items_of(width, self.counts), start) for kind, start, width in self._blocks()]
        ids, counts, lengths, reasons = [], [], [], []
        for first in range(0, len(values), _CHUNK):
            parsed = list(parse_molecules(values[first : first + _CHUNK], policy, perception=self.perception))
            reasons += [reason for _, reason in parsed]
            position = np.array([i for i, (mol, _) in enumerate(parsed) if mol is not None], dtype=np.int64)
            mols = [mol for mol, _ in parsed if mol is not None]
            parts = [(position[row], id_ + start, count) for items_of, start in blocks for row, id_, count in [items_of(mols)]]
            row, id_, count = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            # Blocks rise and ids rise within each, so a stable sort by row leaves the ids of a row rising.
            order = np.argsort(row, kind="stable")
            ids.append(id_[order].astype(self._id_dtype()))
            counts.append(np.minimum(count[order], 255).astype(np.uint8))
            lengths.append(np.bincount(row, minlength=len(parsed)))
        fields = {"id": np.concatenate([np.empty(0, self._id_dtype()), *ids])}
        if self.counts:
            fields["count"] = np.concatenate([np.empty(0, np.uint8), *counts])
        offsets = np.concatenate([[0], *lengths]).cumsum().astype(np.int64)
        return Prepared({"features": RaggedColumn.from_numpy(fields, offsets)}, reasons)

    def _id_dtype(self) -> type[np.uint16] | type[np.uint32]:
        return np.uint16 if self.input_dim <= 1 << 16 else np.uint32

    def check_columns(self, columns: Columns) -> None:
        """Refuse other fields than the fingerprint has, and features beyond its width."""
        features = columns.get("features")
        fields = {"id": torch.int16 if self._id_dtype() is np.uint16 else torch.int32} | ({"count": torch.uint8} if self.counts else {})
        if not isinstance(features, RaggedColumn) or {name: values.dtype for name, values in features.fields.items()} != fields:
            raise DataError(f"expected one ragged column 'features' with the fields {', '.join(fields)}")
        largest = features.fields["id"].numpy().view(self._id_dtype()).max(initial=0)
        if largest >= self.input_dim:
            raise DataError(f"expected features below {self.input_dim}, found number {largest}")

    def collate(self, columns: Columns, index: Tensor) -> FingerprintBatch:
        """Gather entries; the weights are transformed counts."""
        taken = _features(columns).gather(index)
        ids = taken.fields["id"]
        if not self.counts:
            weights = torch.ones(len(ids), device=ids.device)
        else:
            weights = taken.fields["count"].to(torch.float32)
            weights = torch.log1p(weights) if self.transform == "log1p" else weights
        return FingerprintBatch(ids, weights, taken.row_of_item, taken.offsets, self.input_dim)

    def augment(self, batch: FingerprintBatch, draws: Draws) -> FingerprintBatch:
        """Return a randomly changed copy: count noise, then dropped features, then flips, then a dropped kind."""
        present = batch
        if self.count_noise:
            batch = scale_counts(batch, self.count_noise, draws.stream("count_noise"), log1p=self.transform == "log1p")
        if self.drop:
            batch = drop_items(batch, self.drop, draws.stream("drop"))
        if self.flip:
            weight = float(np.log1p(np.float32(1))) if self.counts and self.transform == "log1p" else 1.0
            batch = add_absent(batch, present, self.flip, draws.stream("flip"), weight=weight)
        if self.drop_kind:
            starts = [start for _, start, _ in self._blocks()]
            batch = drop_whole_kind(batch, self.drop_kind, draws.stream("drop_kind"), starts=starts)
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
    ) -> FingerprintEncoder:
        """Return the network of ``molbt.nn.fingerprint_encoder`` for this fingerprint; nothing is fitted."""
        return FingerprintEncoder(
            self.input_dim,
            embedding_dim=embedding_dim,
            fitted=fitted,
            hidden=hidden,
            activation=activation,
            dropout=dropout,
            input_dropout=input_dropout,
        )

    def dense(self, columns: Columns, index: np.ndarray) -> sparse.csr_matrix:
        """Return the raw counts (without counts: bits) at ``index``: SciPy CSR ``(rows, input_dim)``, float32, ids sorted."""
        taken = _features(columns).gather(torch.as_tensor(index, dtype=torch.int64))
        ids = taken.fields["id"].numpy()
        data = taken.fields["count"].numpy().astype(np.float32) if self.counts else np.ones(len(ids), np.float32)
        return sparse.csr_matrix((data, ids, taken.offsets.numpy()), shape=(len(index), self.input_dim))


def _features(columns: Columns) -> RaggedColumn:
    return cast(RaggedColumn, columns["features"])
