"""The nearest training molecule of each predicted one, and how unusual that distance is among the training molecules themselves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from scipy import sparse

from molbt.config_text import describe_problems
from molbt.data.files import atomic_write, sha256_of, write_array
from molbt.data.json_files import parse_json
from molbt.errors import CheckpointError, ConfigError, DataError, ShapeError
from molbt.predict.features import FeatureSet
from molbt.predict.saved_heads import Sha256
from molbt.predict.tanimoto import mean_tanimoto_kernel
from molbt.predict.verified_files import VerifiedFiles, read_block, write_block

N_COMPARED = 2_000
"""Training molecules whose own nearest neighbour is looked for: steps of 0.05 % are finer than a percentile is used for."""

COLUMNS = ("nearest_training_row", "nearest_training_smiles", "nearest_similarity", "distance_percentile")

# Rows on either side of the similarities that are held at once: 64 MB as float64, a few times that while they are computed.
_TILE = 2_896


@dataclass(frozen=True, eq=False)
class Applicability:
    """The training molecules of a head, as count fingerprints; make it with ``Applicability.fit``.

    Similarity is the mean over the blocks of counts of their count Tanimoto, as in the head ``tanimoto_svm``; distance is 1 − similarity.

    Parameters
    ----------
    blocks : dict of str to CSR (n, width) float32
        Counts of the training molecules.
    smiles : list of n str
    rows : ndarray of shape (n,), int64
        Their rows in the training table.
    distances : ndarray of shape (min(n, 2,000),), float64, rising
        From training molecules, evenly spread over the table, to the nearest other one; 0 where the table holds a molecule twice. Empty
        when there is only one.
    """

    blocks: dict[str, sparse.csr_array]
    smiles: list[str]
    rows: np.ndarray
    distances: np.ndarray

    @classmethod
    def fit(cls, features: FeatureSet, smiles: Sequence[str], chosen: np.ndarray | None = None) -> Self:
        """Keep the chosen rows that are valid, and compare at most 2,000 of them with all others: about 8 s for 10,000 rows.

        Parameters
        ----------
        features : FeatureSet of n rows
            Of the training table. Only blocks of counts are used.
        smiles : sequence of n str
        chosen : ndarray of shape (n,), bool, optional
            Rows that have a label; by default all.

        Raises
        ------
        ConfigError
            If there is no block of counts.
        DataError
            If no row is valid.
        ShapeError
            If there are more or fewer SMILES than rows.
        """
        if len(smiles) != features.n_rows:
            raise ShapeError(f"expected one SMILES for each of {features.n_rows} rows, received {len(smiles)}")
        if not features.sparse_blocks:
            raise ConfigError(
                f"similarity is measured on counts, received the features {features.name!r} with the dense blocks "
                f"{', '.join(features.blocks)}; build the features 'counts' of the same molecules for it"
            )
        rows = np.flatnonzero(features.valid if chosen is None else features.valid & chosen)
        if not len(rows):
            raise DataError(f"expected training molecules to compare with, received {features.n_rows} rows, none usable; give valid ones")
        blocks = features.rows(rows).sparse_blocks
        compared = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), N_COMPARED)).astype(np.int64))
        _, similarity = _nearest({name: block[compared] for name, block in blocks.items()}, blocks, own=compared)
        distances = np.sort(1 - similarity) if len(rows) > 1 else np.empty(0)
        return cls(blocks, [str(smiles[int(row)]) for row in rows], rows, distances)

    def describe(self, features: FeatureSet) -> pd.DataFrame:
        """Return, for each row, its nearest training molecule: one row out per row in, missing where the row was refused.

        Parameters
        ----------
        features : FeatureSet of n rows
            With the same blocks of counts as in ``fit``, and possibly others.

        Returns
        -------
        DataFrame of n rows
            ``nearest_training_row`` (Int64, in the training table; the first of several equally near), ``nearest_training_smiles``,
            ``nearest_similarity`` (0 to 1) and ``distance_percentile``: the percentage of training molecules that are nearer to their
            nearest neighbour in training than this row is. 0 is among the training molecules, 100 farther out than all of
            them; NaN when there was a single training molecule.

        Raises
        ------
        ShapeError
            If the blocks of counts or their widths differ.
        """
        widths = {name: block.shape[1] for name, block in features.sparse_blocks.items()}
        expected = {name: block.shape[1] for name, block in self.blocks.items()}
        if widths != expected:
            raise ShapeError(f"the training molecules have the blocks of counts {expected}, received {widths}; build the same features")
        index, similarity = _nearest(features.rows(features.valid).sparse_blocks, self.blocks)
        rank = np.searchsorted(self.distances, 1 - similarity, side="left")
        percentile = 100 * rank / len(self.distances) if len(self.distances) else np.full(len(index), np.nan)
        found = pd.DataFrame(
            {
                "nearest_training_row": pd.array(self.rows[index], dtype="Int64"),
                "nearest_training_smiles": pd.Series([self.smiles[i] for i in index], dtype=object),
                "nearest_similarity": similarity,
                "distance_percentile": percentile,
            },
            columns=list(COLUMNS),
        )
        found.index = pd.Index(np.flatnonzero(features.valid))
        return found.reindex(range(features.n_rows))

    def save(self, directory: Path) -> dict[str, Any]:
        """Write files named ``applicability.*`` into a directory that exists, and return the JSON values that ``load`` needs."""
        for name, block in self.blocks.items():
            write_block(block, directory, f"applicability.block.{name}")
        write_array(directory / "applicability.rows.npy", self.rows)
        write_array(directory / "applicability.distances.npy", self.distances)
        with atomic_write(directory / "applicability.smiles.json") as file:
            file.write(json.dumps(self.smiles).encode())
        return {
            "widths": {name: block.shape[1] for name, block in self.blocks.items()},
            "sha256": {path.name: sha256_of(path) for path in sorted(directory.glob("applicability.*"))},
        }

    @classmethod
    def load(cls, description: Mapping[str, Any], directory: Path) -> Self:
        """Return what ``save`` wrote.

        Raises
        ------
        CheckpointError
            If the description is not one, or a file is missing, changed, too large or does not fit the others.
        """
        try:
            known = ApplicabilityDescription.model_validate(description)
        except ValidationError as error:
            raise CheckpointError(describe_problems(error, where=f"the description of the training molecules in {directory}")) from error
        files = VerifiedFiles(directory, known.sha256)
        try:
            blocks = {name: read_block(files, f"applicability.block.{name}", width) for name, width in known.widths.items()}
            smiles = parse_json(files.read("applicability.smiles.json"), "applicability.smiles.json", remedy="copy the predictor again")
            rows, distances = files.array("applicability.rows.npy"), files.array("applicability.distances.npy")
        except (ValueError, TypeError, EOFError) as error:
            raise CheckpointError(f"the training molecules in {directory} cannot be read: {error}; copy the predictor again") from error
        n = len(rows)
        fits = (
            all(isinstance(block, sparse.csr_array) and block.shape[0] == n for block in blocks.values())
            and isinstance(smiles, list)
            and all(isinstance(entry, str) for entry in smiles)
            and (len(smiles), rows.shape, rows.dtype.kind, distances.dtype.kind) == (n, (n,), "i", "f")
            and distances.shape == (min(n, N_COMPARED) if n > 1 else 0,)
        )
        if not fits:
            raise CheckpointError(f"the files of the training molecules in {directory} do not fit each other; fit the predictor anew")
        return cls({name: sparse.csr_array(block) for name, block in blocks.items()}, smiles, rows, distances)


class ApplicabilityDescription(BaseModel):
    """What ``Applicability.save`` returns; anything else is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    widths: Annotated[dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], PositiveInt], Field(min_length=1)]
    sha256: dict[Annotated[str, Field(pattern=r"^applicability\.[A-Za-z0-9_.]+$")], Sha256]


def _nearest(
    blocks_a: Mapping[str, sparse.csr_array], blocks_b: Mapping[str, sparse.csr_array], *, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """For each row of a, the first of the most similar rows of b, and the similarity; the size of the tiles changes neither.

    ``own`` says where each row of a stands in b itself, which does not count.
    """
    names = list(blocks_b)
    n_a, n_b = blocks_a[names[0]].shape[0], blocks_b[names[0]].shape[0]
    index, similarity = np.zeros(n_a, dtype=np.int64), np.full(n_a, -1.0)
    for start_a in range(0, n_a, _TILE):
        stop_a = min(start_a + _TILE, n_a)
        tile_a = [blocks_a[name][start_a:stop_a] for name in names]
        for start_b in range(0, n_b, _TILE):
            stop_b = min(start_b + _TILE, n_b)
            kernel = mean_tanimoto_kernel(tile_a, [blocks_b[name][start_b:stop_b] for name in names])
            if own is not None:
                inside = (own[start_a:stop_a] >= start_b) & (own[start_a:stop_a] < stop_b)
                kernel[inside, own[start_a:stop_a][inside] - start_b] = -1.0
            best = kernel.argmax(axis=1)
            value = kernel[np.arange(len(best)), best]
            nearer = np.flatnonzero(value > similarity[start_a:stop_a])
            index[start_a + nearer], similarity[start_a + nearer] = start_b + best[nearer], value[nearer]
    return index, similarity
