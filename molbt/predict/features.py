"""Feature sets: named blocks of numbers per row, sparse or dense, and the builders that make them from SMILES.

A name says what is inside: ``counts`` (ECFP4 and atom pairs), ``ecfp`` (ECFP4 alone), ``descriptors``, ``counts+embedding``. These are
computed here; the others (``embedding``, ``untrained``, ``pca``, or any name a caller brings) are callables from SMILES to an array.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse

from molbt.data.molecules import ParsePolicy
from molbt.data.preparing import prepare_blocks
from molbt.errors import ConfigError, ShapeError, suggestion
from molbt.predict.stored_block import StoredBlock

if TYPE_CHECKING:
    from molbt.modalities.base import Modality

Block: TypeAlias = sparse.csr_array | np.ndarray
Embed = Callable[[Sequence[str]], np.ndarray]
"""From SMILES to ``(rows, width)`` float32; a row that cannot be used is NaN throughout."""

COUNT_KINDS = ("ecfp4", "atom_pair")
# The widest that 16-bit ids of the column store hold. Measured on 1,500 molecules of MoleculeACE, folding merges 3 % of the distinct ECFP
# features, and 12 % of the distinct atom pairs (1.5 % of the stored counts); at 2²⁰ columns it still is 8 %, from RDKit's hash itself.
COUNT_WIDTH = 65_536
# Molecules that a worker process is given at a time: few enough that a table of thousands occupies several.
_BLOCK = 1_024
COMPUTED = ("counts", "ecfp", "descriptors")
LEARNED = ("embedding", "untrained", "pca")


@dataclass(frozen=True)
class FeatureSet:
    """Features of some rows.

    Parameters
    ----------
    name : str
        Names of the parts joined with ``+``.
    blocks : dict of str to CSR (n_rows, width) float32, ndarray (n_rows, width) float32, or StoredBlock
        Sparse blocks hold counts. Dense blocks may hold NaN for a single missing number; stored ones are dense, and in a file.
    valid : ndarray of shape (n_rows,), bool
        Rows that can be used. A refused row keeps its place (empty in a sparse block, NaN in a dense one).
    molecules : ndarray of shape (n_rows,), int64, optional
        Which molecule a row is (``molbt.predict.replicates.molecule_numbers``): heads keep the rows of one on the same side of their inner
        folds. Without it every row is a molecule of its own.

    Raises
    ------
    ShapeError
        If there is no block, or a block or ``molecules`` has another number of rows than ``valid``.
    """

    name: str
    blocks: dict[str, Block]
    valid: np.ndarray
    molecules: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ShapeError(f"the feature set {self.name!r} needs at least one block, got none")
        for name, block in self.blocks.items():
            if block.ndim != 2 or block.shape[0] != len(self.valid):
                raise ShapeError(
                    f"block {name!r} of the feature set {self.name!r} must have shape ({len(self.valid)}, width), got {block.shape}"
                )
        if self.molecules is not None and self.molecules.shape != self.valid.shape:
            raise ShapeError(f"expected a molecule for each of {len(self.valid)} rows, received an array of shape {self.molecules.shape}")

    @property
    def n_rows(self) -> int:
        return len(self.valid)

    @property
    def sparse_blocks(self) -> dict[str, sparse.csr_array]:
        return {name: block for name, block in self.blocks.items() if not isinstance(block, np.ndarray | StoredBlock)}

    @property
    def dense_blocks(self) -> dict[str, np.ndarray]:
        return {name: block for name, block in self.blocks.items() if isinstance(block, np.ndarray)}

    @property
    def is_stored(self) -> bool:
        """Whether a block is in a file; few heads can use it."""
        return any(isinstance(block, StoredBlock) for block in self.blocks.values())

    @property
    def widths(self) -> dict[str, int]:
        """Number of columns of each block: what training and prediction must have in common."""
        return {name: block.shape[1] for name, block in self.blocks.items()}

    def rows(self, index: np.ndarray) -> "FeatureSet":
        """Return the rows at ``index`` (integers, or a mask of length ``n_rows``), in that order."""
        molecules = None if self.molecules is None else self.molecules[index]
        return FeatureSet(self.name, {name: block[index] for name, block in self.blocks.items()}, self.valid[index], molecules)

    def matrix(self) -> Block:
        """Return all blocks side by side: dense if all are dense, otherwise CSR; float32. Stored ones are read into memory."""
        blocks = [np.asarray(block) if isinstance(block, StoredBlock) else block for block in self.blocks.values()]
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
            parts[part] = _Part(lambda smiles: _count_blocks(COUNT_KINDS, smiles, policy, n_jobs))
        elif part == "ecfp":
            parts[part] = _Part(lambda smiles: _count_blocks(COUNT_KINDS[:1], smiles, policy, n_jobs))
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


def input_matrices(
    modalities: "Sequence[Modality]", smiles: list[str], policy: ParsePolicy, n_jobs: int = 1
) -> tuple[list[list[Any]], np.ndarray]:
    """Return, for each modality, the inputs of its encoder as matrices of consecutive rows, and which rows are valid in all of them."""
    matrices: list[list[Any]] = [[] for _ in modalities]
    valid = []
    for block in prepare_blocks(modalities, smiles, policy, n_jobs=n_jobs, block_size=_BLOCK):
        valid.append(np.all([entries.valid for entries in block], axis=0))
        for parts, modality, entries in zip(matrices, modalities, block, strict=True):
            parts.append(modality.dense(entries.columns, np.arange(len(entries.reasons))))
    return matrices, np.concatenate(valid)


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


def _count_blocks(kinds: Sequence[str], smiles: list[str], policy: ParsePolicy, n_jobs: int) -> _Blocks:
    from molbt.modalities.fingerprint import Fingerprint

    fingerprints = [Fingerprint(kinds=(kind,), width=COUNT_WIDTH, counts=True) for kind in kinds]
    matrices, valid = input_matrices(fingerprints, smiles, policy, n_jobs)
    stacked = [sparse.csr_array(sparse.vstack(parts, format="csr"), dtype=np.float32) for parts in matrices]
    return dict(zip(kinds, stacked, strict=True)), valid


def _descriptor_blocks(smiles: list[str], policy: ParsePolicy, n_jobs: int) -> _Blocks:
    from molbt.modalities.descriptors import Descriptors

    [matrices], valid = input_matrices([Descriptors()], smiles, policy, n_jobs)
    return {"descriptors": np.vstack(matrices).astype(np.float32)}, valid


def _embedding_blocks(name: str, embed: Embed) -> Callable[[list[str]], _Blocks]:
    def compute(smiles: list[str]) -> _Blocks:
        values = np.asarray(embed(smiles), dtype=np.float32)
        if values.ndim != 2 or len(values) != len(smiles):
            raise ShapeError(f"the features {name!r} must have shape ({len(smiles)}, width), one row per SMILES, got {values.shape}")
        return {name: values}, ~np.asarray(np.isnan(values).all(axis=1))

    return compute
