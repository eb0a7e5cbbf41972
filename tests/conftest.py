"""What tests share."""

import inspect
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# No test is timed, and a failure on one machine is the same on another.
settings.register_profile("molbt", deadline=None, derandomize=True, database=None)
settings.load_profile("molbt")

RANK_WORKER = Path(__file__).with_name("rank_worker.py")
REPLY_TIMEOUT = 150.0  # seconds; longer than the worker's own limit on the process group, so that its message arrives


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public data sets: ``MOLBT_DATA``, or ``../shared/data`` beside the repository.

    Without it a test is skipped, or fails when ``MOLBT_REQUIRE_DATA=1``.
    """
    repository = Path(__file__).resolve().parents[1]
    directory = Path(os.environ.get("MOLBT_DATA", repository.parent / "shared" / "data"))
    if not directory.is_dir():
        reason = f"the public data sets are not in {directory}; set MOLBT_DATA to their folder"
        if os.environ.get("MOLBT_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return directory


class _RankGroup:
    """Processes of one group, kept for the calls of a whole session: starting one takes seconds."""

    def __init__(self, world_size: int, directory: Path) -> None:
        self.world_size = world_size
        self._connections: list[Connection] = []
        self._processes: list[subprocess.Popen] = []
        rendezvous = directory / "rendezvous"
        for rank in range(world_size):
            ours, theirs = Pipe()
            command = [sys.executable, str(RANK_WORKER), str(theirs.fileno()), str(rank), str(world_size), str(rendezvous)]
            self._processes.append(subprocess.Popen(command, pass_fds=[theirs.fileno()]))
            theirs.close()
            self._connections.append(ours)

    def call(self, function: Callable[..., Any], arguments: dict[str, Any]) -> list[Any]:
        """Run a function on every rank and return the results by rank; the first failure is raised with its traceback."""
        for connection in self._connections:
            connection.send((inspect.getfile(function), function.__name__, arguments))
        replies = []
        for rank, connection in enumerate(self._connections):
            if not connection.poll(REPLY_TIMEOUT):
                raise TimeoutError(f"rank {rank} of {self.world_size} did not answer {function.__name__} within {REPLY_TIMEOUT:.0f} s")
            replies.append(connection.recv())
        for rank, (error, _) in enumerate(replies):
            if error:
                raise RuntimeError(f"{function.__name__} failed on rank {rank} of {self.world_size}:\n{error}")
        return [result for _, result in replies]

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="session")
def on_ranks() -> Iterator[Callable[..., list[Any]]]:
    """Run ``function(rank, world_size, **arguments)``, a module-level function of a test, on several processes; returns the results by
    rank."""
    groups: dict[int, _RankGroup] = {}
    with tempfile.TemporaryDirectory() as directory:

        def run(function: Callable[..., Any], world_size: int, **arguments: Any) -> list[Any]:
            if world_size not in groups:
                folder = Path(directory) / str(world_size)
                folder.mkdir()
                groups[world_size] = _RankGroup(world_size, folder)
            try:
                return groups[world_size].call(function, arguments)
            except (RuntimeError, TimeoutError, EOFError):
                # Ranks that failed at different places are out of step: the next call begins with new ones.
                groups.pop(world_size).close()
                (Path(directory) / str(world_size)).rename(tempfile.mkdtemp(dir=directory))
                raise

        yield run
        for group in groups.values():
            group.close()


@pytest.fixture(scope="session")
def dask_executor() -> Iterator[str]:
    """The name of an executor with two worker processes on this machine; they are replaced when they are killed."""
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL) as cluster:
        cluster.wait_for_workers(2, timeout=120)
        yield cluster.scheduler_address.replace("tcp", "dask")


@pytest.fixture(scope="session", autouse=True)
def cache_in_a_temporary_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Point ``MOLBT_CACHE`` at a temporary directory: no test writes to the home directory."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("cache")
        patch.setenv("MOLBT_CACHE", str(directory))
        yield directory


@pytest.fixture(autouse=True)
def logger_as_it_was() -> Iterator[None]:
    """Put the package's logger back: a command run in this process configures it, and ``caplog`` would then see nothing."""
    logger = logging.getLogger("molbt")
    state = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = state[:2]
    logger.setLevel(state[2])


@pytest.fixture(scope="session")
def nci_smiles() -> list[str]:
    """The first 300 SMILES of the NCI file that comes with RDKit; all of them can be read."""
    from rdkit import RDConfig

    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    return [line.split()[0] for line in lines[:300]]


TINY = [
    "views.a.width=256",
    "encoder.embedding_dim=16",
    "encoder.hidden=[32]",
    "projector.widths=[32, 32]",
    "trainer.epochs=2",
    "trainer.batch_size=64",
    "trainer.num_threads=1",
    "trainer.probe_size=64",
]
"""Changes that make any fingerprint run small."""


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, nci_smiles: list[str]) -> Path:
    """The directory of a finished run: fingerprints of width 256, hidden layer 32, embedding 16, two epochs. Do not write into it."""
    from molbt import RunConfig, pretrain

    config = RunConfig.from_preset("default", changes=TINY)
    return pretrain(nci_smiles, tmp_path_factory.mktemp("tiny") / "run", config=config).directory


@pytest.fixture(scope="session")
def tiny_two_view_run(tmp_path_factory: pytest.TempPathFactory, nci_smiles: list[str]) -> Path:
    """The directory of a finished run with two encoders, ``fingerprint`` and ``descriptors``, each with an embedding of 16."""
    from molbt import RunConfig, pretrain

    changes = [change.replace("views.a.", "views.fingerprint.") for change in TINY]
    config = RunConfig.from_preset("fingerprint_descriptors", changes=changes)
    return pretrain(nci_smiles, tmp_path_factory.mktemp("tiny_two") / "run", config=config).directory
