"""A run's directory: its lock, its configuration, its metrics and its checkpoints.

Layout::

    config.yaml   run.json   metrics.csv   spectra.jsonl
    checkpoints/step-000000120.safetensors, .json      LATEST (name and SHA-256 of the .json)
    model/        what the run is for: config.json, model.safetensors, README.md

A checkpoint is written to a temporary name, synced and renamed; ``LATEST`` follows the same way; only then are older ones removed.
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
from safetensors.torch import save as dump_tensors
from torch import Tensor

from molbt.data.files import atomic_write
from molbt.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)


class RunDirectory:
    """Access to the files of a run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; a second writer is refused. The lock dies with the process that holds it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(f"{self.path} is in use by another process; wait for it, or choose another output directory") from error
            yield

    @property
    def has_run(self) -> bool:
        return (self.path / "run.json").is_file()

    def refuse_foreign_content(self) -> None:
        """Raise ConfigError when the directory holds files that no run wrote."""
        entries = [entry.name for entry in self.path.iterdir() if entry.name != ".lock"] if self.path.is_dir() else []
        if entries:
            raise ConfigError(
                f"expected a new or empty output directory, found {len(entries)} entries in {self.path} "
                f"(for example {sorted(entries)[0]}); choose another, or pass --resume to continue the run there"
            )

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        with atomic_write(self.path / name) as file:
            file.write(json.dumps(content, indent=1).encode())

    def write_text(self, name: str, content: str) -> None:
        with atomic_write(self.path / name) as file:
            file.write(content.encode())

    def read_json(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise CheckpointError(f"cannot read {self.path / name}: {error}; start the run again in a new directory") from error

    def save_checkpoint(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, keep: int) -> None:
        """Write a checkpoint and make it the latest; keep that many."""
        self.checkpoints.mkdir(exist_ok=True)
        name = f"step-{step:09d}"
        content = dump_tensors({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
        with atomic_write(self.checkpoints / f"{name}.safetensors") as file:
            file.write(content)
        description = json.dumps({**state, "step": step, "sha256": hashlib.sha256(content).hexdigest()}).encode()
        with atomic_write(self.checkpoints / f"{name}.json") as file:
            file.write(description)
        with atomic_write(self.checkpoints / "LATEST") as file:
            file.write(f"{name} {hashlib.sha256(description).hexdigest()}\n".encode())
        for old in self._names()[:-keep]:
            (self.checkpoints / f"{old}.json").unlink(missing_ok=True)
            (self.checkpoints / f"{old}.safetensors").unlink(missing_ok=True)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the tensors and state of the newest whole checkpoint, or None when the run has none yet.

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
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                logger.warning("checkpoint %s in %s is damaged (%s); trying the one before it", name, self.checkpoints, error)
        if names:
            raise CheckpointError(f"all {len(names)} checkpoints in {self.checkpoints} are damaged; start the run again in a new directory")
        return None

    def _names(self) -> list[str]:
        return sorted(path.stem for path in self.checkpoints.glob("step-*.json"))

    def _read(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        description = (self.checkpoints / f"{name}.json").read_bytes()
        latest = (self.checkpoints / "LATEST").read_text().split() if (self.checkpoints / "LATEST").exists() else []
        if latest[:1] == [name] and hashlib.sha256(description).hexdigest() != latest[1]:
            raise ValueError("its description does not match its checksum")
        state = json.loads(description)
        content = (self.checkpoints / f"{name}.safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != state["sha256"]:
            raise ValueError("its tensors do not match their checksum")
        return load_tensors(content), state


class MetricsLog:
    """``metrics.csv``: one row per epoch. The file is rewritten in one step at each row, so it is whole at any time."""

    def __init__(self, path: Path, *, up_to_step: int) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            with open(path, newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= up_to_step]

    def append(self, row: Mapping[str, Any]) -> None:
        self.rows.append({key: f"{value:.8g}" if isinstance(value, float) else str(value) for key, value in row.items()})
        columns = list(dict.fromkeys(key for known in self.rows for key in known))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        with atomic_write(self.path) as file:
            file.write(text.getvalue().encode())


class SpectrumLog:
    """``spectra.jsonl``: per epoch, the singular values of embeddings and projections of the probe batch."""

    def __init__(self, path: Path, *, up_to_step: int) -> None:
        self.path = path
        self.lines: list[str] = []
        if path.is_file():
            self.lines = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= up_to_step]

    def append(self, step: int, spectra: Mapping[str, list[float]]) -> None:
        rounded = {name: [float(f"{value:.5g}") for value in values] for name, values in spectra.items()}
        self.lines.append(json.dumps({"step": step, **rounded}))
        with atomic_write(self.path) as file:
            file.write(("\n".join(self.lines) + "\n").encode())
