"""ToxCast without labels of the evaluated assays, and without their molecules: zero-shot on new assays and new scaffolds at once."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from molbt.data.described_assays import DescribedAssays
from molbt.data.fs_mol import FSMolTask
from molbt.errors import ConfigError, DataError
from molbt.evaluation.benchmarks.base import Benchmark, Task

TRAINING_FOLDS = range(2, 10)
TEST_FOLDS = range(2)
_READOUT = re.compile(r"(_(up|dn|down|ch1|ch2|ratio|viability))+$", re.IGNORECASE)
FEWEST = 10
"""Actives, and inactives, that an assay has on the test folds."""


class ToxCast(Benchmark):
    """One task per held-out ToxCast assay; the training assays share its molecules, so these are divided by scaffold too.

    A molecule's hit rate over the training assays ranks it well in any other assay (mean ROC AUC 0.78 where molecules are shared): trained
    on scaffold folds 2 to 9 and evaluated on folds 0 and 1, a method knows neither the assay nor the molecule.

    Parameters
    ----------
    data_dir : path
        Folder that holds ``zero-shot/``.
    limit : int, optional
        Only the first so many assays.

    Raises
    ------
    DataError
        If the data are not there.
    ConfigError
        If the limit is below 1.

    References
    ----------
    Richard et al., "ToxCast Chemical Landscape: Paving the Road to 21st Century Toxicology", Chem. Res. Toxicol. 2016, 29, 1225.
    """

    name: ClassVar[str] = "toxcast"
    support: ClassVar[tuple[int, ...]] = (0,)
    draws: ClassVar[int] = 1

    def __init__(self, data_dir: str | Path, *, limit: int | None = None) -> None:
        if limit is not None and limit < 1:
            raise ConfigError(f"limit must be at least 1, got {limit}")
        self.data = DescribedAssays(Path(data_dir) / "zero-shot")
        rows = self.data.rows("toxcast", "valid", TEST_FOLDS)
        actives = rows.groupby("task", sort=True)["label"].agg(["sum", "size"])
        evaluable = actives[(actives["sum"] >= FEWEST) & (actives["size"] - actives["sum"] >= FEWEST)].index
        self.assays = tuple(name for name in evaluable if name in self.data.texts)[:limit]
        if not self.assays:
            raise DataError(f"expected held-out ToxCast assays in {self.data.directory}, found none; get the data again")
        self._rows = {str(name): own for name, own in rows.groupby("task", sort=False)}

    def training_rows(self) -> pd.DataFrame:
        """Return ``smiles``, ``task``, ``label`` and ``text`` of the training assays on the training folds: also what to pretrain on."""
        rows = self.data.rows("toxcast", "train", TRAINING_FOLDS)
        return rows.assign(text=rows["task"].map(self.data.texts))

    def read(self, assay: str) -> FSMolTask:
        """Return the test rows of one assay."""
        own = self._rows[assay][["smiles", "label"]].reset_index(drop=True)
        return FSMolTask(assay, own.assign(value=np.nan, repaired=False, reason=""))

    def tasks(self) -> Iterator[Task]:
        for assay in self.assays:
            read = self.read(assay)
            parts = {"train": np.empty(0, dtype=np.int64), "test": np.arange(len(read.frame))}
            yield Task(assay, read.frame[["smiles"]], read.y, parts, "classification", "assays_and_scaffolds")

    def component(self, assay: str) -> str:
        """Return the assay component whose direction, channel or ratio an assay is."""
        return _READOUT.sub("", assay)

    def table_name(self, size: int) -> str:
        """Return what results with a support set of this size are called; there is only size 0."""
        return f"{self.name}_{size}"

    def notes(self) -> list[str]:
        rows = sum(len(self.read(assay).frame) for assay in self.assays)
        return [
            f"ToxCast: {len(self.assays)} held-out assays with {FEWEST} or more actives and inactives on scaffold folds 0 and 1, {rows:,} "
            "rows; learned from the training assays on folds 2 to 9. Readouts of one assay component are averaged first."
        ]

    def settings(self) -> dict[str, Any]:
        return {"folds": [list(TRAINING_FOLDS), list(TEST_FOLDS)]}
