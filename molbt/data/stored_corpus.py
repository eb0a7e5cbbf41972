"""A prepared input: every unique value turned into columns once, and one entry number per row.

Directory layout::

    manifest.json              what was read: source, hash, counts, policy, versions
    rows/                      unique values, entry numbers and labels (molbt.data.rows)
    identities/<column>.npy    (values, 2) uint64: which molecule and which scaffold a value is (molbt.data.identity)
    excluded/<column>.npy      (values,) bool: also in a file that the user excluded
    prepared/<key>/            columns of one modality and preparation; the key is the hash of all that decides them
    quarantine.csv             row, byte offset, column, reason and value of everything refused
    corpus.lock                one process prepares at a time

Content-addressed: preparing the same values in the same way again reuses what is there. Shards that are done survive a kill.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from molbt import __version__
from molbt.config import RunConfig, ViewConfig, differences
from molbt.data.columns import Column, read_column
from molbt.data.corpus_files import read_frame, read_manifest, read_numbers, require_length
from molbt.data.json_files import read_json
from molbt.data.quarantine import covers
from molbt.data.rows import file_name
from molbt.data.samples import Samples, select_samples
from molbt.data.stored_texts import StoredTexts
from molbt.errors import DataError

FORMAT = "molbt.corpus"
FORMAT_VERSION = 1

_REMEDY = "prepare the table with this configuration: molbt prepare FILE -o DIR --config FILE"


@dataclass(frozen=True)
class Corpus:
    """A prepared input on disk; the columns are memory-mapped."""

    directory: Path

    @classmethod
    def open(cls, directory: str | Path) -> "Corpus":
        """Open a corpus that ``prepare`` wrote.

        Raises
        ------
        DataError
            If the directory holds no corpus, or one of another format.
        """
        corpus = cls(Path(directory))
        if not is_corpus(directory):
            raise DataError(
                f"expected a prepared corpus at {directory}, found no manifest.json; make one with: molbt prepare FILE -o {directory}"
            )
        _ = corpus.manifest  # what is no manifest is refused here
        return corpus

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return read_manifest(self.directory / "manifest.json", FORMAT, FORMAT_VERSION)

    @property
    def n_rows(self) -> int:
        return self.manifest["rows"]

    def values(self, column: str) -> list[str]:
        """Return the unique values of a table column, in order of first appearance."""
        return list(self.texts(column))

    def texts(self, column: str) -> StoredTexts:
        """Return the same values where they are stored: to read them takes no memory for all."""
        return StoredTexts(self._rows(file_name("values", column, "parquet")), "value", self.manifest["unique"][column])

    def row_values(self, column: str) -> np.ndarray:
        """Return, for each row, the number of its unique value: ``(rows,)`` int64, −1 where the reader refused the row."""
        path = self._rows(file_name("number", column, "npy"))
        return read_numbers(path, "i", (self.n_rows,), least=-1, below=self.manifest["unique"][column])

    def row_labels(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return, for each row, the label's value (float32, NaN where there is none) and the number of its task (int32, −1)."""
        label, task = (self._rows(file_name(kind, name, "npy")) for kind in ("label", "task"))
        tasks = read_numbers(task, "i", (self.n_rows,), least=-1, below=len(self.tasks(name)))
        return read_numbers(label, "f", (self.n_rows,)), tasks

    def tasks(self, name: str) -> list[str]:
        """Return the tasks of a label set in the order of their numbers."""
        return self.manifest["tasks"][name]

    def byte_offsets(self) -> np.ndarray:
        """Return where each row starts in the decompressed text: ``(rows,)`` int64, −1 for tables without text."""
        return read_numbers(self._rows("byte_offsets.npy"), "i", (self.n_rows,))

    def refused_by_reader(self) -> dict[int, str]:
        """Return the rows that the reader refused, with their reasons."""
        refused = read_frame(self._rows("refused.parquet"), {"row": "int64", "reason": "string"})
        if len(refused) and not 0 <= refused["row"].min() <= refused["row"].max() < self.n_rows:
            raise DataError(f"{self._rows('refused.parquet')} names rows beyond the {self.n_rows} there are; prepare the corpus again")
        return dict(zip(refused["row"].tolist(), refused["reason"].tolist(), strict=True))

    def columns(self, view: ViewConfig) -> dict[str, Column]:
        """Return the prepared columns of a view's modality, memory-mapped."""
        directory = self._prepared(view)
        columns = {path.name: read_column(path) for path in sorted(directory.iterdir()) if path.is_dir()}
        for name, column in columns.items():
            require_length(column, self.manifest["unique"][view.column], directory / name)
        try:
            view.build_modality().check_columns(columns)
        except DataError as error:
            raise DataError(f"the columns in {directory} are not those of this modality: {error}; {_REMEDY}") from error
        return columns

    def reasons(self, view: ViewConfig) -> dict[int, str]:
        """Return the numbers of the unique values that were refused for a view, and why."""
        return StoredTexts(self._prepared(view) / "reasons.parquet", "reason", self.manifest["unique"][view.column]).filled()

    def excluded(self, column: str) -> np.ndarray:
        """Return which unique values also occur in an excluded file: ``(values,)`` bool."""
        path = self.directory / "excluded" / file_name("values", column, "npy")
        return read_numbers(path, "b", (self.manifest["unique"][column],))

    def identities_path(self, column: str) -> Path:
        """Return where the hashes of a molecular column's unique values are kept."""
        return self.directory / "identities" / file_name("values", column, "npy")

    def identities(self, column: str) -> np.ndarray | None:
        """Return ``molecule_and_scaffold_hashes`` of the unique values: ``(values, 2)`` uint64.

        None for a column that is not molecular, and for a corpus that was prepared before these were kept.
        """
        path = self.identities_path(column)
        return read_numbers(path, "u", (self.manifest["unique"][column], 2)) if path.is_file() else None

    def fatal_path(self, column: str) -> Path:
        """Return where the values are kept that killed their worker in the pass that hashed them."""
        return self.directory / "identities" / file_name("fatal", column, "json")

    def fatal(self, column: str) -> dict[str, str]:
        """Return the values that killed their worker in the pass that hashed them, with the reason: no view uses them."""
        path = self.fatal_path(column)
        fatal = read_json(path, remedy="prepare the corpus again", error=DataError) if path.is_file() else {}
        known = {value for value in self.texts(column) if value in fatal} if fatal else set()
        if not all(isinstance(reason, str) for reason in fatal.values()) or fatal.keys() != known:
            raise DataError(f"expected values of column {column!r} with reasons in {path}, found something else; prepare the corpus again")
        return fatal

    def samples(self, config: RunConfig) -> Samples:
        """Return the samples of a run: rows whose values are usable in every view and not excluded.

        Raises
        ------
        DataError
            If the corpus was prepared for other columns, labels or reading of molecules, if fewer than two samples are left, or if a
            label set has no number in them.
        """
        self._check(config)
        return select_samples(self, config)

    def preparation_key(self, view: ViewConfig) -> str:
        """Return the content address of a view's columns."""
        parts = {
            "modality": view.modality,
            "preparation": view.build_modality().preparation(),
            "values": self.manifest["values_sha256"][view.column],
            "policy": self.manifest["policy"],
            "rdkit": self.manifest["rdkit"],
            "molbt": __version__,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def is_prepared_for(self, config: RunConfig) -> bool:
        """Return whether nothing is left to prepare for a configuration."""
        columns = {view.column for view in config.views.values()}
        return (
            columns <= set(self.manifest["columns"])
            and all((self.directory / "excluded" / file_name("values", column, "npy")).is_file() for column in columns)
            and all(self.identities_path(view.column).is_file() for view in config.views.values() if view.build_modality().is_molecular)
            and all((self.directory / "prepared" / self.preparation_key(view)).is_dir() for view in config.views.values())
            and covers(self, config)
        )

    def _rows(self, name: str) -> Path:
        path = self.directory / "rows" / name
        if not path.is_file():
            raise DataError(f"expected {path}, found no file; prepare the corpus again")
        return path

    def _prepared(self, view: ViewConfig) -> Path:
        self._check_column(view)
        directory = self.directory / "prepared" / self.preparation_key(view)
        if not directory.is_dir():
            other = self.manifest["molbt"]
            made_by = f" (it was made by molbt {other}, this is {__version__})" if other != __version__ else ""
            raise DataError(
                f"{self.directory} has no columns for modality {view.modality!r} of column {view.column!r} with these parameters "
                f"{made_by}; {_REMEDY}"
            )
        return directory

    def _check_column(self, view: ViewConfig) -> None:
        if view.column not in self.manifest["columns"]:
            known = ", ".join(self.manifest["columns"])
            raise DataError(f"{self.directory} was prepared from the columns {known}, a view reads {view.column!r}; {_REMEDY}")

    def _check(self, config: RunConfig) -> None:
        """Refuse a configuration that reads other columns, or molecules or labels in another way than the corpus did."""
        for view in config.views.values():
            self._check_column(view)
        own = {"molecules": self.manifest["policy"], "labels": self.manifest["labels"]}
        wanted = {"molecules": config.molecules.policy().as_dict(), "labels": labels_of(config)}
        if not config.labels:  # labels that nobody reads do no harm
            own["labels"] = {}
        changed = differences(own, wanted)
        if changed:
            raise DataError(
                f"{self.directory} was prepared in another way than the configuration says ({'; '.join(changed)}); prepare it again"
            )


def is_corpus(path: Any) -> bool:
    """Return whether a path is a prepared corpus."""
    return isinstance(path, str | Path) and (Path(path) / "manifest.json").is_file()


def labels_of(config: RunConfig) -> dict[str, Any]:
    """Return the label sets of a configuration as JSON values."""
    return {name: label.model_dump() for name, label in config.labels.items()}
