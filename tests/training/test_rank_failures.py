"""A rank that raises, dies or hangs ends the others with a clear error within a limit, and the run resumes bit-identically."""

import errno
import os
import signal
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from small_run import assert_same_run, registered, small_config

from molbt.data.corpus import Corpus
from molbt.errors import MolbtError
from molbt.nn.collectives import rank as own_rank
from molbt.objectives.barlow_twins import BarlowTwins
from molbt.objectives.base import ObjectiveOutput
from molbt.training.ranks import joined_ranks
from molbt.training.run_dir import RunDirectory
from molbt.training.trainer import pretrain

LIMIT = 60.0  # seconds until which all ranks must have ended
LOST = "TrainingError: expected 2 ranks in an exchange, rank {} found that another one has ended or does not answer"


class Ranks:
    """Forks of this process that find in their environment what ``torchrun`` puts there, but nobody who stops them."""

    def __init__(self, directory: Path, function: Callable[[], Any], world_size: int = 2) -> None:
        self.files = [directory / f"rank-{rank}.txt" for rank in range(world_size)]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.processes = [self._fork(function, rank, world_size, port) for rank in range(world_size)]

    def _fork(self, function: Callable[[], Any], rank: int, world_size: int, port: int) -> int:
        process = os.fork()
        if process:
            return process
        try:
            numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "MASTER_PORT": port}
            os.environ.update(
                {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"} | {key: str(value) for key, value in numbers.items()}
            )
            said = "done"
            try:
                function()
            except (MolbtError, ArithmeticError) as error:
                said = f"{type(error).__name__}: {error}"
            self.files[rank].write_text(said)
        finally:
            os._exit(0)

    def said(self, *, without: int | None = None) -> list[str]:
        """Wait for all ranks, but for one that cannot end, and return how each ended: its error, ``"done"``, or nothing."""
        deadline = time.monotonic() + LIMIT
        waiting = [process for number, process in enumerate(self.processes) if number != without]
        while waiting and time.monotonic() < deadline:
            waiting = [process for process in waiting if os.waitpid(process, os.WNOHANG)[0] == 0]
            time.sleep(0.02)
        for process in [*waiting, *(self.processes[without : without + 1] if without is not None else [])]:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        assert not waiting, f"{len(waiting)} ranks did not end within {LIMIT:.0f} s"
        return [file.read_text() if file.exists() else "" for file in self.files]


class Failing(BarlowTwins):
    """Something happens on one rank in the seventh of twelve steps."""

    on_rank: int = 1
    act: Callable[[], Any]

    def step(self, *arguments: Any) -> ObjectiveOutput:
        if own_rank() == self.on_rank and arguments[2].progress == 6 / 12:
            type(self).act()
        return super().step(*arguments)


def fail_with(act: Callable[[], Any], on_rank: int) -> Any:
    return registered("objectives", barlow_twins=type("FailingOnce", (Failing,), {"on_rank": on_rank, "act": staticmethod(act)}))


@pytest.fixture(scope="module")
def pair(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks that nothing disturbed; their dropout differs."""
    directory = tmp_path_factory.mktemp("pair")
    assert Ranks(directory, lambda: pretrain(corpus, directory / "run", config=small_config())).said() == ["done", "done"]
    return directory / "run"


@pytest.fixture
def check(corpus: Corpus, pair: Path, tmp_path: Path) -> Callable[[], None]:
    def resume() -> None:
        (tmp_path / "again").mkdir()
        again = Ranks(tmp_path / "again", lambda: pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)).said()
        assert again == ["done", "done"]
        assert_same_run(tmp_path / "run", pair)

    return resume


@pytest.mark.parametrize(
    ("how", "on_rank"),
    [("dies", 1), *(pytest.param(how, on_rank, marks=pytest.mark.slow) for how, on_rank in (("dies", 0), ("raises", 0), ("raises", 1)))],
)
def test_other_rank_ends_when_one_raises_or_dies(corpus, tmp_path, check, how, on_rank):
    act = (lambda: 1 / 0) if how == "raises" else (lambda: os.kill(os.getpid(), signal.SIGKILL))
    with fail_with(act, on_rank):
        said = Ranks(tmp_path, lambda: pretrain(corpus, tmp_path / "run", config=small_config())).said()
    assert said[1 - on_rank].startswith(LOST.format(1 - on_rank))
    assert said[1 - on_rank].endswith("see its own message, then start all of them again with --resume")
    assert said[on_rank] == ("ZeroDivisionError: division by zero" if how == "raises" else "")
    check()


def test_other_rank_ends_when_one_does_not_answer(corpus, tmp_path, check, monkeypatch):
    monkeypatch.setattr("molbt.training.ranks._TIMEOUT", timedelta(seconds=3))
    with fail_with(lambda: os.kill(os.getpid(), signal.SIGSTOP), 1):
        said = Ranks(tmp_path, lambda: pretrain(corpus, tmp_path / "run", config=small_config())).said(without=1)
    assert said[0].startswith(LOST.format(0))
    monkeypatch.undo()
    check()


@pytest.mark.slow
def test_other_rank_ends_when_the_disk_of_the_first_is_full(corpus, tmp_path, check, monkeypatch):
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("molbt.training.run_dir.atomic_write", full)
        said = Ranks(tmp_path, lambda: pretrain(corpus, tmp_path / "run", config=small_config())).said()
    assert said[0].startswith("TrainingError: cannot write ")
    assert said[1] == "TrainingError: rank 0 could not begin the run; its own message says why"
    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "save_checkpoint", full)
        said = Ranks(tmp_path, lambda: pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)).said()
    assert said[1].startswith(LOST.format(1))
    check()


def test_other_rank_ends_when_the_first_dies_before_the_first_step(corpus, tmp_path, check, monkeypatch):
    def die(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr("molbt.training.trainer.summarise_use", die)
        said = Ranks(tmp_path, lambda: pretrain(corpus, tmp_path / "run", config=small_config())).said()
    assert said[0] == ""
    assert said[1].startswith(LOST.format(1))
    check()


@pytest.mark.slow
def test_run_of_two_ranks_is_not_continued_by_one(corpus, tmp_path):
    with fail_with(lambda: 1 / 0, 1):
        Ranks(tmp_path, lambda: pretrain(corpus, tmp_path / "run", config=small_config())).said()
    with pytest.raises(MolbtError, match="ranks: 2 -> 1"):
        pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)


def test_every_process_group_has_a_time_limit(tmp_path):
    limits = []

    def join() -> None:
        with pytest.MonkeyPatch.context() as patch:
            import torch.distributed as dist

            start = dist.init_process_group
            patch.setattr(dist, "init_process_group", lambda *backend, timeout: (limits.append(timeout), start(*backend, timeout=timeout)))
            with joined_ranks():
                raise ArithmeticError(f"limit {limits[0].total_seconds():.0f} s")

    assert Ranks(tmp_path, join).said() == ["ArithmeticError: limit 1800 s"] * 2
