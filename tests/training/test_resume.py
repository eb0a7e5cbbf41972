"""A run that is stopped or killed anywhere and resumed ends with the same bits."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_run import (
    assert_same_run,
    in_child,
    last_checkpoint,
    model_hash,
    registered,
    small_config,
    stop_after,
)
from torch import Tensor

from molbt.errors import Interrupted
from molbt.objectives.barlow_twins import BarlowTwins
from molbt.training.hardware import Hardware
from molbt.training.state import TrainingState
from molbt.training.trainer import pretrain

N_STEPS = 12  # three epochs of four


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


def test_resuming_is_bit_identical_only_because_each_step_is_seeded(corpus, tmp_path, monkeypatch):
    # The control: dropout drawn from a generator that runs on, as in an ordinary loop, gives other weights after a stop.
    seed = Hardware.seed
    monkeypatch.setattr(Hardware, "seed", lambda self, *words: None if "step" in words else seed(self, *words))
    pretrain(corpus, tmp_path / "whole", config=small_config())
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "run", config=small_config(), progress=stop_after(5))
    pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)
    assert model_hash(tmp_path / "run") != model_hash(tmp_path / "whole")


@pytest.mark.parametrize("forgotten", ["optimiser.", "twin.encoders.a.", "totals.", "step", None])
def test_resuming_is_bit_identical_only_because_the_state_is_restored(corpus, whole, tmp_path, monkeypatch, forgotten):
    # The control: what a checkpoint leaves out is seen in the end, in the weights or in the metrics.
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "run", config=small_config(), progress=stop_after(5))
    take = TrainingState.load

    def load_part(state: TrainingState, tensors: dict[str, Tensor]) -> None:
        new = state.to_tensors()  # those that a run begins with; the optimiser has none
        others = {name: tensor for name, tensor in tensors.items() if forgotten is None or not name.startswith(forgotten)}
        names = {name: tensor.clone() for name, tensor in new.items() if forgotten is not None and name.startswith(forgotten)}
        take(state, others | names)

    monkeypatch.setattr(TrainingState, "load", load_part)
    pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)
    if forgotten is None:
        assert_same_run(tmp_path / "run", whole)
    else:
        with pytest.raises(AssertionError):
            assert_same_run(tmp_path / "run", whole)


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


def test_signal_in_the_first_step_of_all_is_heard(corpus, whole, tmp_path):
    class Signalling(BarlowTwins):
        def step(self, *args: Any) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            return super().step(*args)

    with registered("objectives", barlow_twins=Signalling), pytest.raises(Interrupted, match="stopped at step 1 of 12"):
        pretrain(corpus, tmp_path / "run", config=small_config())
    pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)
    assert_same_run(tmp_path / "run", whole)
