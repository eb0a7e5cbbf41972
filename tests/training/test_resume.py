"""A run that is stopped or killed anywhere and resumed ends with the same bits."""

import builtins
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from small_run import (
    assert_same_tensors,
    comparable_metrics,
    in_child,
    last_checkpoint,
    model_hash,
    nci_smiles,
    registered,
    small_config,
    small_corpus,
    stop_after,
)

from molbt.data.corpus import Corpus
from molbt.errors import ConfigError, Interrupted
from molbt.objectives.barlow_twins import BarlowTwins
from molbt.training.hardware import Hardware
from molbt.training.trainer import pretrain

N_STEPS = 12  # three epochs of four


@pytest.fixture(scope="module")
def whole(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    path = tmp_path_factory.mktemp("whole") / "run"
    pretrain(corpus, path, config=small_config())
    return path


def assert_same_run(run: Path, whole: Path) -> None:
    assert model_hash(run) == model_hash(whole)
    assert_same_tensors(last_checkpoint(run), last_checkpoint(whole))
    assert comparable_metrics(run).equals(comparable_metrics(whole))
    assert (run / "spectra.jsonl").read_bytes() == (whole / "spectra.jsonl").read_bytes()
    assert not list(run.rglob("*.tmp.*"))


@pytest.mark.parametrize(
    ("step", "number"), [(1, signal.SIGINT), (3, signal.SIGTERM), (4, signal.SIGTERM), (6, signal.SIGINT), (8, signal.SIGINT)]
)
def test_stopped_run_saves_its_state_and_resumes_bit_identically(corpus, whole, tmp_path, step, number):
    with pytest.raises(Interrupted, match=rf"stopped at step {step + 1} of 12.*--resume"):
        # The signal comes after the look at it: the step that follows is the last one.
        pretrain(corpus, tmp_path / "run", config=small_config(), progress=stop_after(step, number))
    assert int(last_checkpoint(tmp_path / "run")["step"]) == step + 1
    assert not (tmp_path / "run" / "model").exists()
    pretrain(corpus, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole)


def test_run_stopped_again_and_again_resumes_bit_identically(corpus, whole, tmp_path):
    for step in (1, 3, 5, 7, 9):
        with pytest.raises(Interrupted):
            pretrain(corpus, tmp_path / "run", config=small_config(), resume=True, progress=stop_after(step))
    pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)
    assert_same_run(tmp_path / "run", whole)


def test_resumed_run_that_was_finished_is_left_as_it_is(corpus, whole, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    result = pretrain(corpus, whole, resume=True)
    assert result.metrics["step"].tolist() == [4, 8, 12]
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()} == before


def test_run_with_rare_checkpoints_resumes_bit_identically(corpus, tmp_path):
    config = small_config(trainer={"epochs": 5, "checkpoint_every": 2, "keep_checkpoints": 1})
    pretrain(corpus, tmp_path / "whole", config=config)
    assert [path.name for path in sorted((tmp_path / "whole" / "checkpoints").iterdir())] == [
        "step-000000020.safetensors",
        "step-000000020.sha256",
    ]
    for output, resume in (("run", False), ("run", True)):  # the second resumes after the third epoch, from the checkpoint of the second
        status = in_child(lambda: pretrain(corpus, tmp_path / output, config=config, resume=resume, progress=kill_after(14)))  # noqa: B023
        assert status == -signal.SIGKILL
        assert int(last_checkpoint(tmp_path / "run")["step"]) == 8
    pretrain(corpus, tmp_path / "run", config=config, resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def kill_after(step: int) -> Callable[[str, int, int], None]:
    return stop_after(step, signal.SIGKILL)


class KillPoints:
    """Counts the calls that change files, and kills the process before or after one of them, or amid a write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, kill_at: int = 0) -> None:
        self.count = 0
        self.kill_at = kill_at
        for owner, name in ((os, "replace"), (os, "fsync"), (Path, "unlink"), (Path, "mkdir")):
            monkeypatch.setattr(owner, name, self.counted(getattr(owner, name)))
        self.open = builtins.open
        monkeypatch.setattr("molbt.data.files.open", self.open_counted, raising=False)

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.point()
            result = function(*args, **kwargs)
            self.point()
            return result

        return call

    def open_counted(self, path: Path, mode: str) -> Any:
        file = self.open(path, mode, buffering=0)
        write = file.write

        def write_halves(content: bytes) -> int:
            half = len(content) // 2
            write(content[:half])
            self.point()
            return half + write(content[half:])

        return mock.MagicMock(
            __enter__=lambda double: double,
            __exit__=lambda double, *reason: file.close(),
            write=write_halves,
            flush=file.flush,
            fileno=file.fileno,
        )

    def point(self) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def kill_points(corpus: Corpus, tmp_path: Path) -> list[int]:
    """Every place where a run with this configuration can be killed while it changes files."""
    with pytest.MonkeyPatch.context() as patch:
        points = KillPoints(patch)
        pretrain(corpus, tmp_path / "counted", config=small_config())
    # Seventeen files (two of the run, four per epoch, three of the model), each with a write, two syncs and a rename.
    assert points.count >= 17 * 7
    return list(range(1, points.count + 1))


def check_kill_points(corpus: Corpus, whole: Path, directory: Path, points: list[int]) -> None:
    for point in points:
        run = directory / f"killed-{point}"

        def until_killed(point: int = point, run: Path = run) -> None:
            with pytest.MonkeyPatch.context() as patch:
                KillPoints(patch, kill_at=point)
                pretrain(corpus, run, config=small_config())

        assert in_child(until_killed) == -signal.SIGKILL, point
        pretrain(corpus, run, config=small_config(), resume=True)
        assert_same_run(run, whole)


def test_run_killed_while_it_writes_resumes_bit_identically(corpus, whole, tmp_path, kill_points):
    chosen = random.Random(20240611).sample(kill_points, 6)
    check_kill_points(corpus, whole, tmp_path, [1, *chosen, kill_points[-1]])


@pytest.mark.slow
def test_run_killed_at_any_write_resumes_bit_identically(corpus, whole, tmp_path, kill_points):
    check_kill_points(corpus, whole, tmp_path, kill_points)


def killed_at_random(corpus: Corpus, whole: Path, run: Path, seeds: Iterator[int]) -> None:
    """Kill a run and its resumptions after random times, until one comes to its end."""
    for seed in seeds:
        seconds = random.Random(seed).uniform(0.02, 0.4)
        status = in_child(lambda: pretrain(corpus, run, config=small_config(), resume=True), kill_after=seconds)
        assert status in (0, -signal.SIGKILL)
        if status == 0:
            break
    pretrain(corpus, run, config=small_config(), resume=True)
    assert_same_run(run, whole)


def test_run_killed_at_random_moments_resumes_bit_identically(corpus, whole, tmp_path):
    killed_at_random(corpus, whole, tmp_path / "run", iter(range(4)))


@pytest.mark.slow
def test_run_killed_at_many_random_moments_resumes_bit_identically(corpus, whole, tmp_path):
    for attempt in range(40):
        killed_at_random(corpus, whole, tmp_path / str(attempt), iter(range(100 * attempt, 100 * attempt + 8)))


def test_resuming_is_bit_identical_only_because_each_step_is_seeded(corpus, tmp_path, monkeypatch):
    # The control: dropout drawn from a generator that runs on, as in an ordinary loop, gives other weights after a stop.
    seed = Hardware.seed
    monkeypatch.setattr(Hardware, "seed", lambda self, *words: None if "step" in words else seed(self, *words))
    pretrain(corpus, tmp_path / "whole", config=small_config())
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "run", config=small_config(), progress=stop_after(5))
    pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)
    assert model_hash(tmp_path / "run") != model_hash(tmp_path / "whole")


def test_each_step_is_seeded_otherwise(corpus, tmp_path, monkeypatch):
    seed, seen = Hardware.seed, []
    monkeypatch.setattr(Hardware, "seed", lambda self, *words: seen.append(words) or seed(self, *words))
    pretrain(corpus, tmp_path / "run", config=small_config())
    assert [words for words in seen if "step" in words] == [(0, "step", step, 0) for step in range(N_STEPS)]


def test_another_seed_gives_other_weights(corpus, whole, tmp_path):
    pretrain(corpus, tmp_path / "run", config=small_config(trainer={"seed": 1}))
    assert model_hash(tmp_path / "run") != model_hash(whole)


def test_run_does_not_depend_on_the_generator_of_the_process_and_leaves_it_alone(corpus, whole, tmp_path):
    torch.manual_seed(12345)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    pretrain(corpus, tmp_path / "run", config=small_config())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert_same_run(tmp_path / "run", whole)


@pytest.fixture
def stopped(corpus: Corpus, tmp_path: Path) -> Path:
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "stopped", config=small_config(), progress=stop_after(6))
    return tmp_path / "stopped"


def test_resuming_with_other_settings_is_refused_with_the_difference(corpus, stopped):
    changed = small_config(trainer={"learning_rate": 0.02}, encoder={"dropout": 0.2})
    before = last_checkpoint(stopped)
    with pytest.raises(ConfigError, match=r"encoder\.dropout: 0\.1 -> 0\.2; trainer\.learning_rate: 0\.01 -> 0\.02"):
        pretrain(corpus, stopped, config=changed, resume=True)
    assert_same_tensors(last_checkpoint(stopped), before)


def test_resuming_with_another_corpus_is_refused_with_the_difference(stopped, tmp_path):
    with pytest.raises(ConfigError, match="rows: 280 -> 279; samples: "):
        pretrain(small_corpus(tmp_path / "other", n=279), stopped, config=small_config(), resume=True)


def test_resuming_with_another_number_of_ranks_is_refused(corpus, stopped, monkeypatch):
    monkeypatch.setattr("molbt.training.continuation.world_size", lambda: 2)
    with pytest.raises(ConfigError, match="ranks: 1 -> 2"):
        pretrain(corpus, stopped, resume=True)


def test_resuming_elsewhere_keeps_precision_and_threads_and_says_so(corpus, stopped, whole, monkeypatch, caplog):
    resolve = Hardware.resolve.__func__

    def elsewhere(cls: type[Hardware], trainer: Any) -> Hardware:
        return Hardware(**{**resolve(cls, trainer).as_dict(), "precision": "bf16", "num_threads": 2, "machine": "another one"})

    monkeypatch.setattr(Hardware, "resolve", classmethod(elsewhere))
    pretrain(corpus, stopped, resume=True)
    assert "machine: " in caplog.text
    assert "-> another one" in caplog.text
    assert model_hash(stopped) == model_hash(whole)


def test_resumed_run_reads_the_same_molecules_from_their_table(stopped, whole, monkeypatch, tmp_path):
    # Prepared again, from the cache or anew: the corpus is known by its content.
    monkeypatch.setenv("MOLBT_CACHE", str(tmp_path / "cache"))
    molecules = nci_smiles(280)
    with pytest.raises(Interrupted):
        pretrain(molecules, tmp_path / "run", config=small_config(), progress=stop_after(2))
    pretrain(molecules, tmp_path / "run", resume=True)
    assert model_hash(tmp_path / "run") == model_hash(whole)


def test_signal_in_the_first_step_of_all_is_heard(corpus, whole, tmp_path):
    class Signalling(BarlowTwins):
        def step(self, *args: Any) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            return super().step(*args)

    with registered("objectives", barlow_twins=Signalling), pytest.raises(Interrupted, match="stopped at step 1 of 12"):
        pretrain(corpus, tmp_path / "run", config=small_config())
    pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)
    assert_same_run(tmp_path / "run", whole)
