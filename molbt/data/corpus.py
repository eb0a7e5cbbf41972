"""A prepared input: every unique value turned into columns once, and one entry number per row.

Directory layout::

    manifest.json              what was read: source, hash, counts, policy, versions
    rows/<column>.npy          (rows,) int64: number of the row's unique value, -1 where the row was refused
    rows/label.<set>.npy       (rows,) float32 and rows/label.<set>.task.npy (rows,) int32; tasks in the manifest
    values/<column>.parquet    the unique values, in order of first appearance
    excluded/<column>.npy      (values,) bool: also in a file that the user excluded
    prepared/<key>/            columns of one modality and preparation; the key is the hash of all that decides them
    quarantine.csv             row, byte offset, column, reason and value of everything refused

Content-addressed: preparing the same values in the same way again reuses what is there. Shards that are done survive a kill.
"""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rdkit
import torch
from joblib import Parallel, delayed
from torch import Tensor

from molbt import __version__
from molbt.config import LabelConfig, RunConfig, ViewConfig
from molbt.data.columns import Column, RaggedColumn, merge_columns, read_column, write_column
from molbt.data.files import atomic_write, sha256_of
from molbt.data.identity import identity_hashes
from molbt.data.molecules import ParsePolicy
from molbt.data.tables import iter_frame, iter_table, require_column
from molbt.errors import DataError

FORMAT = "molbt.corpus"
FORMAT_VERSION = 1
SHARD_SIZE = 8_192

Progress = Callable[[str, int, int], None]
Source = str | Path | pd.DataFrame | Sequence[str]


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
        For each label set, the fields ``task`` (int32) and ``value`` (float32) of each sample.
    n_tasks : dict of int
    """

    entries: dict[str, Tensor]
    rows: np.ndarray
    labels: dict[str, RaggedColumn]
    n_tasks: dict[str, int]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Corpus:
    """A prepared input on disk, memory-mapped."""

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
        if (corpus.manifest.get("format"), corpus.manifest.get("format_version")) != (FORMAT, FORMAT_VERSION):
            raise DataError(f"{directory} holds something else than a corpus of format {FORMAT} {FORMAT_VERSION}; prepare it again")
        return corpus

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.directory / "manifest.json").read_text(encoding="utf-8"))

    @property
    def n_rows(self) -> int:
        return self.manifest["rows"]

    def values(self, column: str) -> list[str]:
        """Return the unique values of a table column."""
        return pd.read_parquet(self.directory / "values" / f"{column}.parquet")["value"].tolist()

    def row_values(self, column: str) -> np.ndarray:
        """Return, for each row, the number of its unique value: ``(rows,)`` int64, −1 where the row was refused."""
        return np.load(self.directory / "rows" / f"{column}.npy", allow_pickle=False)

    def columns(self, view: ViewConfig) -> dict[str, Column]:
        """Return the prepared columns of a view's modality, memory-mapped."""
        directory = self._prepared(view)
        return {path.name: read_column(path) for path in sorted(directory.iterdir()) if path.is_dir()}

    def reasons(self, view: ViewConfig) -> list[str]:
        """Return why each unique value was refused for a view; ``""`` where it was not."""
        return pd.read_parquet(self._prepared(view) / "reasons.parquet")["reason"].tolist()

    def excluded(self, column: str) -> np.ndarray:
        """Return which unique values also occur in an excluded file: ``(values,)`` bool."""
        return np.load(self.directory / "excluded" / f"{column}.npy", allow_pickle=False)

    def _prepared(self, view: ViewConfig) -> Path:
        directory = self.directory / "prepared" / _preparation_key(view, self.manifest)
        if not (directory / "reasons.parquet").is_file():
            raise DataError(
                f"{self.directory} has no columns for modality {view.modality!r} of column {view.column!r} with these parameters; "
                "prepare it with the same configuration: molbt prepare FILE -o DIR --config FILE"
            )
        return directory

    def samples(self, config: RunConfig) -> Samples:
        """Return the samples of a run: rows whose values are usable in every view and not excluded.

        Raises
        ------
        DataError
            If fewer than two samples are left.
        """
        usable = np.ones(self.n_rows, dtype=bool)
        for view in config.views.values():
            values = self.row_values(view.column)
            good = ~self.excluded(view.column) & np.array([not reason for reason in self.reasons(view)], dtype=bool)
            usable &= (values >= 0) & np.append(good, False)[values]
        rows = np.flatnonzero(usable)
        table_columns = sorted({view.column for view in config.views.values()})
        keys = np.stack([self.row_values(column)[rows] for column in table_columns], axis=1)
        _, first, sample_of_row = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        if len(order) < 2:
            raise DataError(
                f"{self.directory} leaves {len(order)} usable distinct samples of {self.n_rows} rows; two or more are needed. "
                f"The refused rows and their reasons are in {self.directory / 'quarantine.csv'}"
            )
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        sample_of_row = rank[sample_of_row.reshape(-1)]
        keys = keys[first[order]]
        entries = {name: torch.from_numpy(keys[:, table_columns.index(view.column)].copy()) for name, view in config.views.items()}
        labels, n_tasks = {}, {}
        for name in config.labels:
            labels[name], n_tasks[name] = self._labels(name, rows, sample_of_row, len(order))
        return Samples(entries, rows[first[order]], labels, n_tasks)

    def _labels(self, name: str, rows: np.ndarray, sample_of_row: np.ndarray, n_samples: int) -> tuple[RaggedColumn, int]:
        """Group the labels of the usable rows by sample."""
        value = np.load(self.directory / "rows" / f"label.{name}.npy", allow_pickle=False)[rows]
        task = np.load(self.directory / "rows" / f"label.{name}.task.npy", allow_pickle=False)[rows]
        known = np.isfinite(value) & (task >= 0)
        if not known.any():
            raise DataError(f"label set {name!r} has no number in any usable row of {self.manifest['source']}; check the column's name")
        sample, task, value = sample_of_row[known], task[known], value[known]
        order = np.argsort(sample, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(sample, minlength=n_samples))])
        column = RaggedColumn.from_numpy({"task": task[order], "value": value[order]}, offsets)
        return column, len(self.manifest["labels"][name]["tasks"])


def is_corpus(path: Any) -> bool:
    """Return whether a path is a prepared corpus."""
    return isinstance(path, str | Path) and (Path(path) / "manifest.json").is_file()


def cache_directory() -> Path:
    """Return where corpora are kept that nobody named a directory for: ``$MOLBT_CACHE``, or ``~/.cache/molbt``."""
    return Path(os.environ.get("MOLBT_CACHE") or Path.home() / ".cache" / "molbt")


def prepare(
    source: Source,
    config: RunConfig,
    *,
    directory: str | Path | None = None,
    format: str | None = None,
    exclude: Sequence[str | Path] = (),
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> Corpus:
    """Read a table, turn every unique value into columns, and return the corpus.

    Parameters
    ----------
    source : path, "-", DataFrame or sequence of SMILES
        ``-`` reads standard input. A sequence is a table with the one column that the configuration names.
    config : RunConfig
        Its views and labels name the columns to read; its modalities decide what is prepared.
    directory : path, optional
        Where the corpus is kept; by default below ``cache_directory()``, named by content.
    format : str, optional
        The table's format where the name does not tell it.
    exclude : sequence of paths
        Tables with a ``smiles`` column. Molecules that occur there too (same connectivity after removing salts, charges and
        stereochemistry) keep their row but are not trained on.
    n_jobs : int
        Worker processes (-1: all cores). The result does not depend on it.
    progress : callable, optional
        Called as ``progress(label, done, total)``.

    Raises
    ------
    DataError
        If a column is missing, the source cannot be read, or the directory holds the corpus of another source.
    """
    report = progress or (lambda label, done, total: None)
    columns = sorted({view.column for view in config.views.values()})
    if str(source) == "-" and format is None:
        format = "smi"  # the copy of standard input has no ending that tells
    source, label, source_hash = _identify(source, columns, directory)
    exclusions = [sha256_of(Path(path)) for path in exclude]
    identity = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "source_sha256": source_hash,
        "columns": columns,
        "labels": {name: labels.model_dump() for name, labels in config.labels.items()},
        "policy": config.molecules.policy().as_dict(),
        "exclude_sha256": exclusions,
        "rdkit": rdkit.__version__,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    directory = Path(directory) if directory is not None else cache_directory() / "corpora" / digest[:20]
    if is_corpus(directory):
        found = Corpus.open(directory).manifest
        if found.get("identity") != digest:
            raise DataError(
                f"{directory} holds the corpus of {found.get('source')} with other columns, labels, policy or exclusions than {label} now has; "
                "choose another directory or remove this one"
            )
    else:
        if directory.exists() and any(entry.name != "rows.tmp" for entry in directory.iterdir()):
            raise DataError(f"{directory} is not empty and holds no corpus; choose a new directory")
        _write_rows(source, config, columns, directory, label=label, format=format, identity=identity, digest=digest, report=report)
    corpus = Corpus.open(directory)
    for column in columns:
        _write_exclusions(corpus, column, exclude, config.molecules.policy(), n_jobs, report)
    for view in config.views.values():
        _prepare_view(corpus, view, config.molecules.policy(), n_jobs, report)
    _write_quarantine(corpus, config)
    return corpus


def _identify(source: Source, columns: Sequence[str], directory: str | Path | None) -> tuple[Any, str, str]:
    """Return the source to read, its name for messages, and the hash of its content."""
    if isinstance(source, pd.DataFrame):
        content = pd.util.hash_pandas_object(source, index=False).to_numpy()
        return source, "the given DataFrame", hashlib.sha256(content.tobytes() + repr(list(source.columns)).encode()).hexdigest()
    if isinstance(source, str | Path):
        if str(source) == "-":
            source = _spool_standard_input(Path(directory) if directory is not None else cache_directory())
            return source, "standard input", sha256_of(source)
        if not Path(source).is_file():
            raise DataError(
                f"expected a table at {source}, found no file; pass a csv, tsv, smi, sdf or parquet file, or - for standard input"
            )
        return Path(source), str(source), sha256_of(Path(source))
    if len(columns) != 1:
        raise DataError(f"a sequence of values fits a configuration with one column, this one has {', '.join(columns)}; pass a DataFrame")
    return _identify(pd.DataFrame({columns[0]: list(source)}), columns, directory)


def _spool_standard_input(beside: Path) -> Path:
    """Copy standard input to a file: it is hashed and read, and can be read only once."""
    import sys

    beside = beside.parent if beside.name else beside
    beside.mkdir(parents=True, exist_ok=True)
    path = beside / f"stdin.{os.getpid()}"
    with atomic_write(path) as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path


def _write_rows(
    source: Any,
    config: RunConfig,
    columns: Sequence[str],
    directory: Path,
    *,
    label: str,
    format: str | None,
    identity: Mapping[str, Any],
    digest: str,
    report: Progress,
) -> None:
    """Read the table once and write unique values, entry numbers and labels; the manifest comes last."""
    numbers: dict[str, dict[str, int]] = {column: {} for column in columns}
    rows: dict[str, list[np.ndarray]] = {column: [] for column in columns}
    tasks: dict[str, dict[str, int]] = {name: {} for name in config.labels}
    label_rows: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in config.labels}
    offsets, problems, n_rows = [], {}, 0
    chunks = iter_frame(source) if isinstance(source, pd.DataFrame) else iter_table(source, format=format)
    for chunk in chunks:
        frame = chunk.frame
        bad = np.zeros(len(frame), dtype=bool)
        for row, reason in chunk.problems.items():
            problems[row] = reason
            bad[row - chunk.first_row] = True
        for column in columns:
            require_column(frame.columns, column, label, "--smiles-column" if column == "smiles" else f"column in views of {column}")
            rows[column].append(_number_values(frame[column], numbers[column], bad))
        for name, labels in config.labels.items():
            label_rows[name].append(_read_labels(frame, labels, tasks[name], label))
        offsets.append(chunk.byte_offsets if chunk.byte_offsets is not None else np.full(len(frame), -1, dtype=np.int64))
        n_rows += len(frame)
        report("reading", n_rows, 0)
    # Everything below is written beside the final place and renamed: a kill leaves no half corpus.
    temporary = directory / "rows.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "rows").mkdir(parents=True)
    (temporary / "values").mkdir()
    for column in columns:
        _save_array(temporary / "rows" / f"{column}.npy", np.concatenate(rows[column]))
        pd.DataFrame({"value": list(numbers[column])}, dtype="str").to_parquet(temporary / "values" / f"{column}.parquet")
    for name, parts in label_rows.items():
        _save_array(temporary / "rows" / f"label.{name}.npy", np.concatenate([value for value, _ in parts]))
        _save_array(temporary / "rows" / f"label.{name}.task.npy", np.concatenate([task for _, task in parts]))
    _save_array(temporary / "rows" / "byte_offsets.npy", np.concatenate(offsets))
    problem_frame = pd.DataFrame({"row": list(problems), "reason": list(problems.values())}).astype({"row": "int64", "reason": "str"})
    problem_frame.to_parquet(temporary / "rows" / "problems.parquet")
    for part in ("rows", "values"):
        shutil.rmtree(directory / part, ignore_errors=True)
        os.replace(temporary / part, directory / part)
    temporary.rmdir()
    manifest = {
        **identity,
        "identity": digest,
        "source": label,
        "rows": n_rows,
        "refused_by_reader": len(problems),
        "unique": {column: len(numbers[column]) for column in columns},
        "labels": {
            name: {**labels.model_dump(), "tasks": list(tasks[name]) if labels.task else [name]} for name, labels in config.labels.items()
        },
        "values_sha256": {column: sha256_of(directory / "values" / f"{column}.parquet") for column in columns},
        "molbt": __version__,
    }
    with atomic_write(directory / "manifest.json") as file:
        file.write(json.dumps(manifest, indent=1).encode())


def _number_values(values: pd.Series, numbers: dict[str, int], bad: np.ndarray) -> np.ndarray:
    """Return the number of each value, giving new values the next number; rows that the reader refused get −1."""
    codes, uniques = pd.factorize(values.astype("object"), use_na_sentinel=False)
    known = np.empty(len(uniques), dtype=np.int64)
    used = np.bincount(codes[~bad], minlength=len(uniques)) > 0
    for position, value in enumerate(uniques):
        text = value if isinstance(value, str) else ("" if value is None or value != value else str(value))
        known[position] = numbers.setdefault(text, len(numbers)) if used[position] else -1
    return np.where(bad, -1, known[codes])


def _read_labels(frame: pd.DataFrame, labels: LabelConfig, tasks: dict[str, int], source: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the values (NaN where there is no number) and task numbers of a chunk's rows."""
    require_column(frame.columns, labels.value, source, "labels.….value in the configuration")
    value = pd.to_numeric(frame[labels.value], errors="coerce").to_numpy(np.float32)
    if labels.task is None:
        return value, np.zeros(len(frame), dtype=np.int32)
    require_column(frame.columns, labels.task, source, "labels.….task in the configuration")
    codes, uniques = pd.factorize(frame[labels.task].astype("object"))
    known = np.array([tasks.setdefault(str(name), len(tasks)) for name in uniques], dtype=np.int32)
    return value, np.append(known, np.int32(-1))[codes]


def _preparation_key(view: ViewConfig, manifest: Mapping[str, Any]) -> str:
    """The content address of a view's columns."""
    parts = {
        "modality": view.modality,
        "preparation": view.build_modality().preparation(),
        "values": manifest["values_sha256"][view.column],
        "policy": manifest["policy"],
        "rdkit": manifest["rdkit"],
        "molbt": __version__,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _prepare_view(corpus: Corpus, view: ViewConfig, policy: ParsePolicy, n_jobs: int, report: Progress) -> None:
    """Prepare a view's columns shard by shard, then merge them; shards already there are kept."""
    final = corpus.directory / "prepared" / _preparation_key(view, corpus.manifest)
    if final.exists():
        return
    values = corpus.values(view.column)
    shards = final.with_suffix(".shards")
    shards.mkdir(parents=True, exist_ok=True)
    starts = range(0, max(len(values), 1), SHARD_SIZE)
    places = [shards / f"{start:012d}" for start in starts]
    todo = [(start, place) for start, place in zip(starts, places, strict=True) if not place.exists()]
    done = len(values) - sum(min(SHARD_SIZE, len(values) - start) for start, _ in todo)
    jobs = (delayed(_prepare_shard)(view, policy, values[start : start + SHARD_SIZE], place) for start, place in todo)
    report(f"preparing {view.modality}", done, len(values))
    for count in Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs):
        done += count
        report(f"preparing {view.modality}", done, len(values))
    merged = final.with_suffix(".tmp")
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir()
    for name in sorted(path.name for path in places[0].iterdir() if path.is_dir()):
        merge_columns([place / name for place in places], merged / name)
    reasons = pd.concat([pd.read_parquet(place / "reasons.parquet") for place in places], ignore_index=True)
    reasons.to_parquet(merged / "reasons.parquet")
    os.replace(merged, final)
    shutil.rmtree(shards)


def _prepare_shard(view: ViewConfig, policy: ParsePolicy, values: Sequence[str], place: Path) -> int:
    """Prepare some values into a directory of their own; only the count crosses the process border."""
    prepared = view.build_modality().prepare(values, policy)
    temporary = place.with_name(f"{place.name}.tmp{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for name, column in prepared.columns.items():
        write_column(column, temporary / name)
    pd.DataFrame({"reason": prepared.reasons}, dtype="str").to_parquet(temporary / "reasons.parquet")
    os.replace(temporary, place)
    return len(values)


def _write_exclusions(
    corpus: Corpus, column: str, exclude: Sequence[str | Path], policy: ParsePolicy, n_jobs: int, report: Progress
) -> None:
    """Mark the values whose molecule also occurs in an excluded table."""
    path = corpus.directory / "excluded" / f"{column}.npy"
    if path.exists():
        return
    values = corpus.values(column)
    excluded = np.zeros(len(values), dtype=bool)
    if exclude:
        foreign: list[str] = []
        for table in exclude:
            for chunk in iter_table(table):
                require_column(chunk.frame.columns, "smiles", str(table), "--exclude FILE with a column smiles")
                foreign += chunk.frame["smiles"].astype("str").tolist()
        known = _hash_in_parallel(sorted(set(foreign)), policy, n_jobs, "hashing excluded molecules", report)
        own = _hash_in_parallel(values, policy, n_jobs, "hashing molecules", report)
        excluded = (own != 0) & np.isin(own, known)
    path.parent.mkdir(exist_ok=True)
    _save_array(path, excluded)


def _hash_in_parallel(values: Sequence[str], policy: ParsePolicy, n_jobs: int, label: str, report: Progress) -> np.ndarray:
    parts, done = [], 0
    jobs = (delayed(identity_hashes)(values[start : start + SHARD_SIZE], policy) for start in range(0, len(values), SHARD_SIZE))
    for part in Parallel(n_jobs=n_jobs, return_as="generator")(jobs):
        parts.append(part)
        done += len(part)
        report(label, done, len(values))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64)


def _write_quarantine(corpus: Corpus, config: RunConfig) -> None:
    """Write every refused or excluded row with its place and reason; the manifest's counts are those of this file."""
    directory = corpus.directory
    byte_offsets = np.load(directory / "rows" / "byte_offsets.npy", allow_pickle=False)
    problems = pd.read_parquet(directory / "rows" / "problems.parquet")
    refused: dict[tuple[int, str], tuple[str, str]] = {
        (row, ""): (reason, "") for row, reason in zip(problems["row"].tolist(), problems["reason"].tolist(), strict=True)
    }
    for view in config.views.values():
        numbers, values = corpus.row_values(view.column), corpus.values(view.column)
        reasons = list(corpus.reasons(view))
        for number in np.flatnonzero(corpus.excluded(view.column)).tolist():
            reasons[number] = reasons[number] or "excluded: the molecule occurs in an excluded file"
        bad = np.array([bool(reason) for reason in reasons], dtype=bool)
        for row in np.flatnonzero((numbers >= 0) & np.append(bad, False)[numbers]).tolist():
            number = int(numbers[row])
            refused.setdefault((row, view.column), (reasons[number], values[number]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "byte_offset", "column", "reason", "value"])
    for (row, column), (reason, value) in sorted(refused.items()):
        offset = int(byte_offsets[row])
        writer.writerow([row, offset if offset >= 0 else "", column, reason, value[:200]])
    with atomic_write(directory / "quarantine.csv") as file:
        file.write(text.getvalue().encode("utf-8", errors="replace"))


def read_quarantine(corpus: Corpus) -> pd.DataFrame:
    """Return the refused rows: columns row, byte_offset, column, reason, value."""
    return pd.read_csv(corpus.directory / "quarantine.csv", dtype={"column": "str", "reason": "str", "value": "str"}, keep_default_na=False)


def _save_array(path: Path, array: np.ndarray) -> None:
    with atomic_write(path) as file:
        np.save(file, array, allow_pickle=False)
