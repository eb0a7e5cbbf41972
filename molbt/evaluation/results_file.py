"""Results on disk, so that a stopped evaluation goes on where it was, and two at a time do not write over each other."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from molbt.data.files import atomic_write, exclusive_lock
from molbt.data.json_files import read_json
from molbt.errors import ConfigError, DataError
from molbt.evaluation.benchmarks.base import RESULT_COLUMNS

_TYPES: dict[str, Callable[[str], Any]] = {"repeat": int, "fraction": float, "value": float, "n_train": int, "n_test": int}
Cell = tuple[str, str, str, str, int, float, str, str]
"""Benchmark, data set, task, split, repeat, fraction, features, head: the first of ``RESULT_COLUMNS``."""


@dataclass
class ResultsFile:
    """A CSV of finished cells. Open it with ``with ResultsFile.open(...) as results``.

    A cell is appended in one write and counts only when all its metrics are there, so a kill at any point costs one cell at most.
    """

    path: Path
    _cells: dict[Cell, dict[str, dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def open(cls, path: Path, settings: dict[str, dict[str, Any]]) -> Iterator["ResultsFile"]:
        """Open or begin a file, and hold it: another process that asks for it waits, and then finds these cells finished.

        Parameters
        ----------
        path : Path
        settings : dict of dict
            What results depend on: ``shared`` by all cells, and per name for ``features`` and ``heads``. JSON values.

        Raises
        ------
        ConfigError
            If the file was made with other settings; the difference is shown. New features or heads are no difference.
        DataError
            If the file is no results file.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(path.with_name(f"{path.name}.lock")):
            settings_path = path.with_name(f"{path.name}.settings.json")
            settings = json.loads(json.dumps(settings))
            if settings_path.exists():
                stored = read_json(settings_path, remedy="choose another results file", error=DataError)
                if set(stored) != set(settings) or not all(isinstance(section, dict) for section in stored.values()):
                    raise DataError(f"expected the sections {', '.join(settings)} in {settings_path}; choose another results file")
                settings = _merged(stored, settings, path)
            elif path.exists():
                raise DataError(f"expected {settings_path.name} beside {path}, found none; choose another results file")
            with atomic_write(settings_path) as file:
                file.write(json.dumps(settings, indent=2, sort_keys=True).encode())
            results = cls(path)
            results._read()
            yield results

    def rows(self, cell: Cell, metrics: Sequence[str]) -> list[dict[str, Any]] | None:
        """Return a finished cell's rows, in the order of ``metrics``, or None if it is not finished."""
        found = self._cells.get(cell, {})
        return [found[metric] for metric in metrics] if set(metrics) <= set(found) else None

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add a finished cell and see it safely on disk."""
        text = io.StringIO()
        writer = csv.DictWriter(text, RESULT_COLUMNS, lineterminator="\n")
        # repr gives the shortest text that reads back as the same float64.
        writer.writerows({**row, "fraction": repr(float(row["fraction"])), "value": repr(float(row["value"]))} for row in rows)
        with open(self.path, "ab") as file:
            file.write(text.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> None:
        header = f"{','.join(RESULT_COLUMNS)}\n".encode()
        content = self.path.read_bytes() if self.path.exists() else header
        if not content.startswith(header):
            raise DataError(f"expected a results file with the columns {', '.join(RESULT_COLUMNS)} at {self.path}; choose another path")
        # A line without its end is what a kill left of the last write.
        content = content[: content.rfind(b"\n") + 1]
        rows = _parsed(content, self.path)
        with atomic_write(self.path) as file:
            file.write(content)
        for values in rows:
            self._cells.setdefault(_cell_of(values), {})[values["metric"]] = values


def _parsed(content: bytes, path: Path) -> list[dict[str, Any]]:
    try:
        return [
            {column: _TYPES.get(column, str)(row[column]) for column in RESULT_COLUMNS}
            for row in csv.DictReader(io.StringIO(content.decode()), strict=True)
        ]
    except (ValueError, TypeError, csv.Error) as error:
        raise DataError(f"cannot read {path} as results: {error}; choose another results file") from error


def _cell_of(row: dict[str, Any]) -> Cell:
    cell: Any = tuple(row[column] for column in RESULT_COLUMNS[:8])
    return cell


def _merged(stored: dict[str, dict[str, Any]], wanted: dict[str, dict[str, Any]], path: Path) -> dict[str, dict[str, Any]]:
    """The stored settings with what is new, if nothing that both name differs."""
    differences = [
        f"{section}.{name} was {stored[section].get(name)!r}, now {value!r}"
        for section, values in wanted.items()
        for name, value in values.items()
        if (name in stored[section] or section == "shared") and stored[section].get(name) != value
    ]
    if differences:
        raise ConfigError(f"{path} holds results of other settings: {'; '.join(differences)}; choose another results file or delete it")
    return {section: {**stored[section], **values} for section, values in wanted.items()}
