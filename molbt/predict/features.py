"""Feature sets: named blocks of numbers per row, sparse or dense, and the builders that make them from SMILES.

A name says what is inside: ``counts``, ``descriptors``, ``counts+embedding``. ``counts`` and ``descriptors`` are computed here; the others
(``embedding``, ``untrained``, ``pca``, or any name a caller brings) are callables from SMILES to an array.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import sparse

from molbt.data.molecules import ParsePolicy
from molbt.errors import ConfigError, ShapeError, suggestion

if TYPE_CHECKING:
    from molbt.modalities.base import Modality

Block: TypeAlias = sparse.csr_array | np.ndarray
Embed = Callable[[Sequence[str]], np.ndarray]
"""From SMILES to ``(rows, width)`` float32; a row that cannot be used is NaN throughout."""

COUNT_KINDS = ("ecfp4", "atom_pair")
# The widest that 16-bit ids of the column store hold. Measured on 1,500 molecules of MoleculeACE, folding merges 3 % of the distinct ECFP
# features, and 12 % of the distinct atom pairs (1.5 % of the stored counts); at 2²⁰ columns it still is 8 %, from RDKit's hash itself.
COUNT_WIDTH = 65_536
COMPUTED = ("counts", "descriptors")
LEARNED = ("embedding", "untrained", "pca")


@dataclass(frozen=True)
class FeatureSet:
    """Features of some rows.

    Parameters
    ----------
    name : str
        Names of the parts joined with ``+``.
    blocks : dict of str to CSR (n_rows, width) float32, or ndarray (n_rows, width) float32
        Sparse blocks hold counts. Dense blocks may hold NaN for a single missing number.
    valid : ndarray of shape (n_rows,), bool
        Rows that can be used. A refused row keeps its place (empty in a sparse block, NaN in a dense one).

    Raises
    ------
    ShapeError
        If there is no block, or a block has another number of rows than ``valid``.
    """

    name: str
    blocks: dict[str, Block]
    valid: np.ndarray

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ShapeError(f"the feature set {self.name!r} needs at least one block, got none")
        for name, block in self.blocks.items():
            if block.ndim != 2 or block.shape[0] != len(self.valid):
                raise ShapeError(
                    f"block {name!r} of the feature set {self.name!r} must have shape ({len(self.valid)}, width), got {block.shape}"
                )

    @property
    def n_rows(self) -> int:
        return len(self.valid)

    @property
    def sparse_blocks(self) -> dict[str, sparse.csr_array]:
        return {name: block for name, block in self.blocks.items() if not isinstance(block, np.ndarray)}

    @property
    def dense_blocks(self) -> dict[str, np.ndarray]:
        return {name: block for name, block in self.blocks.items() if isinstance(block, np.ndarray)}

    @property
    def widths(self) -> dict[str, int]:
        """Number of columns of each block: what training and prediction must have in common."""
        return {name: block.shape[1] for name, block in self.blocks.items()}

    def rows(self, index: np.ndarray) -> "FeatureSet":
        """Return the rows at ``index`` (integers, or a mask of length ``n_rows``), in that order."""
        return FeatureSet(self.name, {name: block[index] for name, block in self.blocks.items()}, self.valid[index])

    def matrix(self) -> Block:
        """Return all blocks side by side: dense if all are dense, otherwise CSR; float32."""
        blocks = list(self.blocks.values())
        if not self.sparse_blocks:
            return np.hstack(blocks)
        return sparse.csr_array(sparse.hstack([sparse.csr_array(block) for block in blocks], format="csr", dtype=np.float32))


class FeatureBuilder:
    """A callable from SMILES to a ``FeatureSet``; make it with ``feature_builders``."""

    def __init__(self, name: str, parts: Mapping[str, "_Part"]) -> None:
        self.name = name
        self._parts = parts

    def __call__(self, smiles: Sequence[str]) -> FeatureSet:
        blocks: dict[str, Block] = {}
        valid = np.ones(len(smiles), dtype=bool)
        for part in self._parts.values():
            part_blocks, part_valid = part(smiles)
            blocks |= part_blocks
            valid &= part_valid
        return FeatureSet(self.name, blocks, valid)

    def __repr__(self) -> str:
        return f"FeatureBuilder({self.name!r})"


def feature_builders(
    names: Sequence[str], *, learned: Mapping[str, Embed] | None = None, policy: ParsePolicy | None = None, n_jobs: int = 1
) -> dict[str, FeatureBuilder]:
    """Return a builder for each name, in order. Builders share their parts, so a part common to several is computed once per list of
    SMILES.

    Parameters
    ----------
    names : sequence of str
        Such as ``["counts", "descriptors", "counts+embedding"]``.
    learned : mapping of str to callable, optional
        Dense parts that are not computed here: from unique SMILES to ``(n, width)`` float32, NaN rows where refused.
    policy : ParsePolicy, optional
        How SMILES are read for the computed parts.
    n_jobs : int
        Processes for the computed parts; the numbers do not depend on it.

    Raises
    ------
    ConfigError
        If a name is unknown or repeated, or names a learned part without a callable.
    """
    learned = dict(learned or {})
    policy = policy or ParsePolicy()
    wanted = {name: parse_feature_name(name, extra=learned) for name in names}
    parts: dict[str, _Part] = {}
    for part in dict.fromkeys(part for names_of_parts in wanted.values() for part in names_of_parts):
        if part in learned:
            parts[part] = _Part(_embedding_blocks(part, learned[part]))
        elif part == "counts":
            parts[part] = _Part(lambda smiles: _count_blocks(smiles, policy, n_jobs))
        elif part == "descriptors":
            parts[part] = _Part(lambda smiles: _descriptor_blocks(smiles, policy, n_jobs))
        else:
            raise ConfigError(f"the features {part!r} need a callable from SMILES to an array, got none; pass learned={{{part!r}: ...}}")
    return {name: FeatureBuilder(name, {part: parts[part] for part in names_of_parts}) for name, names_of_parts in wanted.items()}


def parse_feature_name(name: str, *, extra: Mapping[str, object] | Sequence[str] = ()) -> tuple[str, ...]:
    """Return the parts of a name such as ``"counts+embedding"``.

    Raises
    ------
    ConfigError
        If a part is unknown (the closest is suggested), repeated or empty. ``extra`` adds valid parts.
    """
    parts = tuple(part.strip() for part in name.split("+"))
    valid = {*COMPUTED, *LEARNED, *extra}
    for part in parts:
        if part not in valid:
            raise ConfigError(f"unknown features {part!r} in {name!r}{suggestion(part, valid)}")
        if parts.count(part) > 1:
            raise ConfigError(f"the features {part!r} occur more than once in {name!r}; name each part once")
    return parts


_Blocks = tuple[dict[str, Block], np.ndarray]


class _Part:
    """Computes one part per unique SMILES, and remembers the last list it was asked for."""

    def __init__(self, compute: Callable[[list[str]], _Blocks]) -> None:
        self._compute = compute
        self._last: tuple[list[str], _Blocks] | None = None

    def __call__(self, smiles: Sequence[str]) -> _Blocks:
        values = list(smiles)
        if self._last is None or self._last[0] != values:
            # A missing value is an empty text here: the parser refuses it with a reason, as it does any other.
            codes, unique = pd.factorize(np.array(["" if pd.isna(value) else str(value) for value in values], dtype=object))
            blocks, valid = self._compute(list(unique))
            self._last = values, ({name: block[codes] for name, block in blocks.items()}, valid[codes])
        return self._last[1]


def _count_blocks(smiles: list[str], policy: ParsePolicy, n_jobs: int) -> _Blocks:
    from molbt.modalities.fingerprint import Fingerprint

    blocks: dict[str, Block] = {}
    valid = np.ones(len(smiles), dtype=bool)
    for kind in COUNT_KINDS:
        matrices, kind_valid = _prepared(Fingerprint(kinds=(kind,), width=COUNT_WIDTH, counts=True), smiles, policy, n_jobs)
        blocks[kind] = sparse.csr_array(sparse.vstack(matrices, format="csr"), dtype=np.float32)
        valid &= kind_valid
    return blocks, valid


def _descriptor_blocks(smiles: list[str], policy: ParsePolicy, n_jobs: int) -> _Blocks:
    from molbt.modalities.descriptors import Descriptors

    matrices, valid = _prepared(Descriptors(), smiles, policy, n_jobs)
    return {"descriptors": np.vstack(matrices).astype(np.float32)}, valid


def _prepared(modality: "Modality", smiles: list[str], policy: ParsePolicy, n_jobs: int) -> tuple[list[Any], np.ndarray]:
    """The matrices of consecutive chunks, one per process, and which rows are valid."""
    size = max(-(-len(smiles) // max(n_jobs, 1)), 1)
    chunks = [smiles[start : start + size] for start in range(0, len(smiles), size)] or [[]]
    matrices, valid = zip(*Parallel(n_jobs=n_jobs)(delayed(_prepared_chunk)(modality, chunk, policy) for chunk in chunks), strict=True)
    return list(matrices), np.concatenate(valid)


def _prepared_chunk(modality: "Modality", smiles: list[str], policy: ParsePolicy) -> tuple[Any, np.ndarray]:
    prepared = modality.prepare(smiles, policy)
    return modality.dense(prepared.columns, np.arange(len(smiles))), prepared.valid


def _embedding_blocks(name: str, embed: Embed) -> Callable[[list[str]], _Blocks]:
    def compute(smiles: list[str]) -> _Blocks:
        values = np.asarray(embed(smiles), dtype=np.float32)
        if values.ndim != 2 or len(values) != len(smiles):
            raise ShapeError(f"the features {name!r} must have shape ({len(smiles)}, width), one row per SMILES, got {values.shape}")
        return {name: values}, ~np.asarray(np.isnan(values).all(axis=1))

    return compute
