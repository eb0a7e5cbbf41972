"""What a run trains on: the usable rows of a corpus, each distinct combination of values once."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from molbt.config import RunConfig
from molbt.data.columns import RaggedColumn
from molbt.data.tables import read_table
from molbt.draws import mix_words
from molbt.errors import DataError

if TYPE_CHECKING:
    from molbt.data.stored_corpus import Corpus


@dataclass(frozen=True)
class Samples:
    """What a run trains on: the usable rows, each distinct combination of values once, in order of first appearance.

    Attributes
    ----------
    entries : dict of Tensor of shape (samples,), int64
        For each view, the number of the entry in its columns.
    rows : ndarray of shape (samples,), int64
        The first row that the sample stands for.
    labels : dict of RaggedColumn
        For each label set, the fields ``task`` (int32) and ``value`` (float32) of each sample: one item per labelled row.
    n_tasks : dict of int
    """

    entries: dict[str, Tensor]
    rows: np.ndarray
    labels: dict[str, RaggedColumn]
    n_tasks: dict[str, int]

    def __len__(self) -> int:
        return len(self.rows)


def select_samples(corpus: "Corpus", config: RunConfig) -> Samples:
    """Return the samples of a run: rows whose values are usable in every view and not excluded.

    Raises
    ------
    DataError
        If fewer than two samples are left, or a label set has no number in them.
    """
    numbers = {view.column: corpus.row_values(view.column) for view in config.views.values()}
    usable = np.ones(corpus.n_rows, dtype=bool)
    for view in config.views.values():
        good = ~corpus.excluded(view.column)
        good[list(corpus.reasons(view))] = False
        usable &= np.append(good, False)[numbers[view.column]]  # -1, a refused row, is the last place
    rows = np.flatnonzero(usable)
    # Distinct combinations, numbered in order of first appearance. A product of two numbers below 2³¹ fits 64 bits.
    sample_of_row = np.zeros(len(rows), dtype=np.int64)
    for of_row in numbers.values():
        sample_of_row, _ = pd.factorize(sample_of_row * (of_row.max(initial=0) + 1) + of_row[rows])
    n_samples = int(sample_of_row.max(initial=-1)) + 1
    if n_samples < 2:
        raise DataError(
            f"{corpus.directory} leaves {n_samples} usable distinct samples of {corpus.n_rows} rows; two or more are needed. "
            f"The refused rows and their reasons are in {corpus.directory / 'quarantine.csv'}"
        )
    first = np.empty(n_samples, dtype=np.int64)
    first[sample_of_row[::-1]] = rows[::-1]
    entries = {name: torch.from_numpy(numbers[view.column][first]) for name, view in config.views.items()}
    labels = {name: _group_labels(corpus, name, rows, sample_of_row, n_samples) for name in config.labels}
    return Samples(entries, first, labels, {name: len(corpus.tasks(name)) for name in config.labels})


def drawn_molecules(corpus: "Corpus", config: RunConfig, samples: Samples, *, most: int = 10_000) -> pd.DataFrame:
    """Return some of the molecules of the samples, drawn by the run's seed, in order: column ``smiles``.

    A run keeps them beside its model, so that controls that need pretraining molecules can be fitted later. Empty without a molecular view.
    """
    for name, view in config.views.items():
        if view.build_modality().is_molecular:
            numbers = np.unique(samples.entries[name].numpy())
            order = np.random.default_rng(mix_words(config.trainer.seed, "drawn molecules")).permutation(len(numbers))
            drawn = corpus.texts(view.column).take(numbers[order[:most]])
            return pd.DataFrame({"smiles": [drawn[number] for number in sorted(drawn)]}, dtype="str")
    return pd.DataFrame({"smiles": []}, dtype="str")


def read_drawn_molecules(path: Path) -> list[str]:
    """Return the SMILES that a run keeps as ``sample.csv``.

    Raises
    ------
    DataError
        If the file is something else.
    """
    table = read_table(path, format="csv")
    if "smiles" not in table.frame:
        raise DataError(f"expected a column 'smiles' in {path}, found {', '.join(table.frame.columns)}; copy it again")
    return table.frame["smiles"].tolist()


def _group_labels(corpus: "Corpus", name: str, rows: np.ndarray, sample_of_row: np.ndarray, n_samples: int) -> RaggedColumn:
    """Return the labels of the usable rows by sample; within a sample they keep the order of the rows."""
    value, task = (array[rows] for array in corpus.row_labels(name))
    known = np.isfinite(value) & (task >= 0)
    if not known.any():
        raise DataError(
            f"label set {name!r} (column {corpus.manifest['labels'][name]['value']!r}) has no number in any usable row of "
            f"{corpus.manifest['source']}; check the column's name and content"
        )
    sample = sample_of_row[known]
    order = np.argsort(sample, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(sample, minlength=n_samples))])
    return RaggedColumn.from_numpy({"task": task[known][order], "value": value[known][order]}, offsets)
