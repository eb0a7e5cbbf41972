"""A run's directory: its lock, its configuration, its metrics and its checkpoints.

Layout::

    config.yaml   run.json   metrics.csv   spectra.jsonl
    sample.csv, quarantine.csv    some of the molecules trained on; the rows not used and why
    checkpoints/step-000000120.safetensors, .sha256
    model/        what the run is for: config.json, model.safetensors, README.md; seen_molecules.npy, seen_scaffolds.npy, seen_texts.npy

A checkpoint is written to a temporary name, synced and renamed; its checksum follows the same way; only then are older ones removed.
"""

import contextlib
import csv
import fcntl
import hashlib
import io
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from molbt.data.files import atomic_write, writing
from molbt.data.json_files import read_json
from molbt.errors import CheckpointError, ConfigError, TrainingError
from molbt.model.checkpoint import tensors_to_bytes

logger = logging.getLogger(__name__)


class RunDirectory:
    """Access to the files of a run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"

    @contextlib.contextmanager
    def claimed(self, *, resume: bool) -> Iterator[None]:
        """Hold the run for this process. The lock dies with the process that holds it.

        Raises
        ------
        ConfigError
            If another process holds it, or if the directory has other files than the run that ``resume`` asks for.
        """
        self._refuse_foreign_content(resume=resume)
        with writing_run(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            file = open(self.path / ".lock", "a+b")  # noqa: SIM115  # closed below: the lock lasts as long as it is open
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(f"{self.path} is in use by another process; wait for it, or choose another output directory") from error
            self._refuse_foreign_content(resume=resume)  # what another process has written since
            for directory in (self.path, self.checkpoints, self.model):
                for left_behind in directory.glob("*.tmp.*"):  # by a process that was killed while it wrote
                    left_behind.unlink(missing_ok=True)
            yield

    @property
    def has_run(self) -> bool:
        return (self.path / "run.json").is_file()

    @property
    def is_finished(self) -> bool:
        return (self.model / "config.json").is_file()

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        self.write_text(name, json.dumps(content, indent=1))

    def write_text(self, name: str, content: str) -> None:
        _write(self.path / name, content.encode())

    def read_json(self, name: str) -> dict[str, Any]:
        return read_json(self.path / name, remedy="start the run again in a new directory")

    def save_checkpoint(self, step: int, tensors: Mapping[str, Tensor], *, keep: int) -> None:
        """Write the checkpoint of a step; that and the ``keep - 1`` before it stay, others go.

        Raises
        ------
        TrainingError
            If it cannot be written (a full disk): the checkpoints before it stay.
        """
        name = f"step-{step:09d}"
        content = tensors_to_bytes(tensors)
        with writing_run(self.checkpoints):
            self.checkpoints.mkdir(exist_ok=True)
        _write(self.checkpoints / f"{name}.safetensors", content)
        # Without its checksum a checkpoint does not exist yet; with it, it is whole. `sha256sum -c` reads the file too.
        _write(self.checkpoints / f"{name}.sha256", _checksum(name, content))
        # Later steps than this one can only be damaged checkpoints that the run did not continue from.
        kept = [known for known in self._names() if known <= name][-keep:]
        with writing_run(self.checkpoints):
            for path in sorted(self.checkpoints.glob("step-*"), reverse=True):  # a checksum goes before what it vouches for
                if path.name.partition(".")[0] not in kept:
                    path.unlink(missing_ok=True)

    def load_checkpoint(self) -> dict[str, Tensor] | None:
        """Return the tensors of the newest whole checkpoint, or None when the run has none yet.

        A damaged one is passed over for the one before it, with a warning.

        Raises
        ------
        CheckpointError
            If there are checkpoints and every one of them is damaged.
        """
        names = self._names()
        for name in reversed(names):
            try:
                return self._read(name)
            except (OSError, ValueError, SafetensorError) as error:
                logger.warning("checkpoint %s in %s is damaged (%s); trying the one before it", name, self.checkpoints, error)
        if names:
            raise CheckpointError(f"all {len(names)} checkpoints in {self.checkpoints} are damaged; start the run again in a new directory")
        return None

    def _names(self) -> list[str]:
        return sorted(path.stem for path in self.checkpoints.glob("step-*.sha256"))

    def _read(self, name: str) -> dict[str, Tensor]:
        content = (self.checkpoints / f"{name}.safetensors").read_bytes()
        if (self.checkpoints / f"{name}.sha256").read_bytes() != _checksum(name, content):
            raise ValueError("it does not match the checksum beside it")
        return load_tensors(content)

    def _refuse_foreign_content(self, *, resume: bool) -> None:
        """Refuse a directory that is neither new nor the run to continue, stopped at any point."""
        if resume and self.has_run:
            return
        entries = sorted(entry.name for entry in self.path.iterdir()) if self.path.is_dir() else []
        # A run that was stopped before it was described has at most its configuration and its molecules' files.
        early = ("config.yaml", "sample.csv", "quarantine.csv", "run.json.tmp") if resume else ()
        entries = [name for name in entries if name != ".lock" and not (early and name.startswith(early))]
        if entries:
            raise ConfigError(
                f"expected a new or empty output directory, found {len(entries)} entries in {self.path} (for example {entries[0]}); "
                f"choose another{', or pass --resume to continue the run there' if self.has_run else ''}"
            )


class MetricsLog:
    """``metrics.csv``: one row per epoch. The file is rewritten in one step at each row, so it is whole at any time."""

    def __init__(self, path: Path, *, up_to_step: int) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            with _reading(path), open(path, newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= up_to_step]

    def append(self, row: Mapping[str, Any]) -> None:
        self.rows.append({key: f"{value:.8g}" if isinstance(value, float) else str(value) for key, value in row.items()})
        columns = list(dict.fromkeys(key for known in self.rows for key in known))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        _write(self.path, text.getvalue().encode())


class SpectrumLog:
    """``spectra.jsonl``: per epoch, the singular values of embeddings and projections of the probe batch."""

    def __init__(self, path: Path, *, up_to_step: int) -> None:
        self.path = path
        self.lines: list[str] = []
        if path.is_file():
            with _reading(path):
                self.lines = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= up_to_step]

    def append(self, step: int, spectra: Mapping[str, list[float]]) -> None:
        rounded = {name: [float(f"{value:.5g}") for value in values] for name, values in spectra.items()}
        self.lines.append(json.dumps({"step": step, **rounded}))
        _write(self.path, ("\n".join(self.lines) + "\n").encode())


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, RecursionError, csv.Error) as error:
        raise CheckpointError(f"cannot read {path}: {error!r}; take it away, or start the run again in a new directory") from error


def writing_run(path: Path) -> contextlib.AbstractContextManager[None]:
    """Turn what the file system refuses inside the block into a TrainingError; the checkpoints before it stay."""
    return writing(path, error=TrainingError, remedy="free space or correct the permissions, then continue with --resume")


def _checksum(name: str, content: bytes) -> bytes:
    """A line in the format of ``sha256sum``."""
    return f"{hashlib.sha256(content).hexdigest()}  {name}.safetensors\n".encode()


def _write(path: Path, content: bytes) -> None:
    with writing_run(path), atomic_write(path) as file:
        file.write(content)
