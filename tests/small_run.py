"""Training runs small enough to take a fraction of a second, on real molecules: what tests of training and of the contracts share."""

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import torch
from rdkit import RDConfig
from safetensors.torch import load_file
from torch import Tensor

from molbt import registry
from molbt.config import RunConfig
from molbt.data.corpus import Corpus, prepare

FINGERPRINTS = {"a": {"modality": "fingerprint", "width": 256, "drop": 0.15}, "b": {"like": "a"}}
DESCRIPTORS = {"modality": "descriptors", "names": ["MolWt", "MolLogP", "TPSA", "NumHDonors", "RingCount", "FractionCSP3"], "mask": 0.1}
BARLOW_TWINS = {"name": "barlow_twins", "redundancy_weight": 8.0}
CHILD_TIMEOUT = 180.0  # seconds


def nci_smiles(n: int) -> list[str]:
    """The first molecules of a table that arrives inside RDKit's wheel."""
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    return [line.split()[0] for line in lines[:n]]


def small_config(**changes: Any) -> RunConfig:
    """Two augmented fingerprints; ``trainer`` and ``encoder`` are merged into the usual settings, other sections replace them."""
    trainer = {"epochs": 3, "batch_size": 64, "learning_rate": 0.01, "precision": "fp32", "num_threads": 1, "probe_size": 128}
    settings: dict[str, Any] = {
        "views": FINGERPRINTS,
        "pairs": [["a", "b"]],
        "encoder": {"embedding_dim": 16, "hidden": [32], "dropout": 0.1} | changes.pop("encoder", {}),
        "projector": {"widths": [32, 24]},
        "objectives": [BARLOW_TWINS],
        "trainer": trainer | changes.pop("trainer", {}),
    }
    return RunConfig.from_dict(settings | changes)


def small_corpus(directory: Path, *, n: int = 280, **changes: Any) -> Corpus:
    """Prepared for fingerprints and descriptors: a run may use any of the views."""
    views = {**FINGERPRINTS, "descriptors": DESCRIPTORS}
    return prepare(nci_smiles(n), small_config(views=views, **changes), directory=directory)


def model_hash(run: Path) -> str:
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


def model_tensors(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model" / "model.safetensors")


def last_checkpoint(run: Path) -> dict[str, Tensor]:
    """The whole state after the last saved step; seconds are left out, as they differ between equal runs."""
    tensors = load_file(max((run / "checkpoints").glob("step-*.safetensors")))
    return {name: tensor for name, tensor in tensors.items() if name != "totals.seconds"}


def comparable_metrics(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "metrics.csv").drop(columns=["seconds", "samples_per_second"])


def assert_same_tensors(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Bit for bit."""
    assert actual.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(actual[name], expected[name])]
    assert not different


def assert_same_run(run: Path, whole: Path) -> None:
    """Model, state, metrics and spectra, bit for bit; and nothing left behind."""
    assert model_hash(run) == model_hash(whole)
    assert_same_tensors(last_checkpoint(run), last_checkpoint(whole))
    assert comparable_metrics(run).equals(comparable_metrics(whole))
    assert (run / "spectra.jsonl").read_bytes() == (whole / "spectra.jsonl").read_bytes()
    assert not list(run.rglob("*.tmp.*"))


def stop_after(step: int, number: int = signal.SIGTERM) -> Callable[[str, int, int], None]:
    """A progress callback that sends this process a signal after a step, as a person or a scheduler would."""

    def progress(label: str, done: int, total: int) -> None:
        if done == step:
            os.kill(os.getpid(), number)

    return progress


@contextlib.contextmanager
def registered(kind: str, **classes: type) -> Iterator[None]:
    """Make classes of a test known by name, as an entry point of another package would."""
    find = registry.find
    with mock.patch.object(registry, "find", lambda k, name: classes[name] if k == kind and name in classes else find(k, name)):
        yield


def in_child(function: Callable[[], Any], *, kill_after: float | None = None) -> int:
    """Run a function in a fork of this process and return how it ended: an exit status, or minus the signal that killed it.

    A fork, because starting Python with torch and RDKit takes seconds. ``kill_after`` kills it after so many seconds.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + (CHILD_TIMEOUT if kill_after is None else kill_after)
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert kill_after is not None, f"the child did not end within {CHILD_TIMEOUT:.0f} s"
    return os.waitstatus_to_exitcode(status)


def distance_of_models(run: Path, other: Path) -> float:
    """The relative distance between all numbers of two models: ‖a − b‖ / ‖b‖."""
    actual, expected = (
        torch.cat([tensor.double().flatten() for _, tensor in sorted(model_tensors(path).items())]) for path in (run, other)
    )
    return float((actual - expected).norm() / expected.norm())
