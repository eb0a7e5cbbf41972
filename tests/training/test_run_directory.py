"""A run's directory: its lock, its checkpoints, and what happens to damaged or unwritable ones."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import assert_same_tensors, in_child, model_hash, small_config, stop_after
from torch import Tensor

from molbt.errors import CheckpointError, ConfigError, Interrupted, TrainingError
from molbt.training.run_dir import MetricsLog, RunDirectory, SpectrumLog
from molbt.training.trainer import pretrain


def state_of(step: int) -> dict[str, Tensor]:
    return {"weights": torch.arange(100.0) + step, "step": torch.tensor(step), "flag": torch.tensor(True)}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    return run


def names(run: RunDirectory) -> list[str]:
    return sorted(path.name for path in run.checkpoints.iterdir())


def test_checkpoint_comes_back_bit_for_bit(run):
    state = {**state_of(3), "half": torch.randn(4, 4).bfloat16(), "strided": torch.randn(4, 6).T, "scalar": torch.tensor(2.5).double()}
    run.save_checkpoint(3, state, keep=2)
    assert_same_tensors(run.load_checkpoint(), state)


def test_tied_weights_are_saved(run):
    weight = torch.randn(3, 3)
    run.save_checkpoint(1, {"first": weight, "tied": weight, "part": weight[0]}, keep=1)
    assert_same_tensors(run.load_checkpoint(), {"first": weight, "tied": weight, "part": weight[0]})


def test_run_without_checkpoints_has_none(run):
    assert run.load_checkpoint() is None


def test_newest_checkpoints_are_kept(run):
    for step in (4, 8, 1000000000, 1000000004):
        run.save_checkpoint(step, state_of(step), keep=2)
    assert names(run) == [f"step-{step}.{kind}" for step in (1000000000, 1000000004) for kind in ("safetensors", "sha256")]
    assert int(run.load_checkpoint()["step"]) == 1000000004


def test_checksums_are_those_of_sha256sum(run):
    run.save_checkpoint(4, state_of(4), keep=2)
    checked = subprocess.run(["sha256sum", "-c", "step-000000004.sha256"], cwd=run.checkpoints, capture_output=True, text=True, check=False)
    assert checked.stdout == "step-000000004.safetensors: OK\n"


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = bytearray()
    elif how == "missing":
        path.unlink()
        return
    else:
        content[int(how) % len(content)] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["safetensors", "sha256"])
@pytest.mark.parametrize("how", ["cut", "empty", "missing", "0", "40", "-1"])
def test_damaged_checkpoint_is_passed_over_for_the_one_before_it(run, caplog, how, kind):
    for step in (4, 8):
        run.save_checkpoint(step, state_of(step), keep=2)
    damage(run.checkpoints / f"step-000000008.{kind}", how)
    assert_same_tensors(run.load_checkpoint(), state_of(4))
    if (kind, how) != ("sha256", "missing"):  # without its checksum it was never there
        assert "checkpoint step-000000008" in caplog.text
        assert "is damaged" in caplog.text


def test_every_flipped_byte_of_a_checkpoint_is_noticed(run):
    run.save_checkpoint(4, {"weights": torch.arange(8.0)}, keep=1)
    path = run.checkpoints / "step-000000004.safetensors"
    whole = path.read_bytes()
    for place in range(len(whole)):
        damage(path, str(place))
        with pytest.raises(CheckpointError):
            run.load_checkpoint()
        path.write_bytes(whole)
    assert run.load_checkpoint() is not None


def test_damaged_checkpoint_ahead_of_the_run_does_not_outlive_the_next_one(run):
    # Kept by its name, it would push the whole ones out.
    for step in (4, 8):
        run.save_checkpoint(step, state_of(step), keep=2)
    damage(run.checkpoints / "step-000000008.safetensors", "cut")
    run.save_checkpoint(6, state_of(6), keep=1)
    assert names(run) == ["step-000000006.safetensors", "step-000000006.sha256"]


def test_run_resumes_from_the_checkpoint_before_a_damaged_one(corpus, tmp_path, caplog):
    pretrain(corpus, tmp_path / "whole", config=small_config())
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "run", config=small_config(), progress=stop_after(9))
    checkpoints = tmp_path / "run" / "checkpoints"
    damage(checkpoints / "step-000000010.safetensors", "1000")
    pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)
    assert "step-000000010" in caplog.text
    assert model_hash(tmp_path / "run") == model_hash(tmp_path / "whole")


def test_run_with_damaged_checkpoints_alone_is_refused(corpus, tmp_path):
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "run", config=small_config(), progress=stop_after(9))
    for path in (tmp_path / "run" / "checkpoints").glob("*.safetensors"):
        damage(path, "1000")
    with pytest.raises(CheckpointError, match=r"all 2 checkpoints in .* are damaged"):
        pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)


def test_checkpoint_of_other_networks_is_refused(corpus, tmp_path):
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "run", config=small_config(), progress=stop_after(3))
    run = RunDirectory(tmp_path / "run")
    tensors = run.load_checkpoint()
    run.save_checkpoint(5, {name: tensor for name, tensor in tensors.items() if "projectors" not in name}, keep=1)
    with pytest.raises(CheckpointError, match=r"does not fit the configuration.*projectors"):
        pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_full_disk_is_told_and_the_run_goes_on_when_there_is_space(corpus, tmp_path, monkeypatch, failing):
    pretrain(corpus, tmp_path / "whole", config=small_config())
    fsync, n_checkpoints = os.fsync, 0

    def full(handle: int) -> None:
        nonlocal n_checkpoints
        n_checkpoints += "step-" in os.readlink(f"/proc/self/fd/{handle}")
        if n_checkpoints == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"cannot write .*step-.*No space left.*--resume"):
        pretrain(corpus, tmp_path / "run", config=small_config())
    monkeypatch.undo()
    pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)
    assert model_hash(tmp_path / "run") == model_hash(tmp_path / "whole")


def test_second_writer_is_refused_and_the_lock_of_a_killed_process_is_free(tmp_path):
    run, held = RunDirectory(tmp_path / "run"), tmp_path / "held"

    def hold() -> None:
        with run.claimed(resume=True):
            held.touch()
            time.sleep(60)

    def try_while_held() -> None:
        while not held.exists():
            time.sleep(0.01)
        with pytest.raises(ConfigError, match="in use by another process"), run.claimed(resume=True):
            pass
        held.with_suffix(".refused").touch()

    holder = os.fork()
    if holder == 0:
        try:
            hold()
        finally:
            os._exit(1)
    try:
        assert in_child(try_while_held) == 0
        assert held.with_suffix(".refused").exists()
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    with run.claimed(resume=True):
        pass


def test_two_writers_in_one_process_are_refused_too(run):
    with run.claimed(resume=False), pytest.raises(ConfigError, match="in use"), RunDirectory(run.path).claimed(resume=False):
        pass


def test_directory_with_other_content_is_refused_and_left_alone(run):
    (run.path / "thesis.tmp.docx").write_text("years of work")
    for resume in (False, True):
        message = r"new or empty output directory, found 1 entries .*thesis\.tmp\.docx\); choose another$"
        with pytest.raises(ConfigError, match=message), run.claimed(resume=resume):
            pass
    assert [path.name for path in run.path.iterdir()] == ["thesis.tmp.docx"]


def test_directory_with_a_run_is_refused_without_resume(corpus, tmp_path):
    pretrain(corpus, tmp_path / "run", config=small_config(trainer={"epochs": 1}))
    with pytest.raises(ConfigError, match="pass --resume to continue"):
        pretrain(corpus, tmp_path / "run", config=small_config(trainer={"epochs": 1}))


def test_leftovers_of_a_killed_writer_are_removed(run):
    run.write_json("run.json", {})
    run.checkpoints.mkdir()
    for left_behind in (run.path / "metrics.csv.tmp.123", run.checkpoints / "step-000000004.safetensors.tmp.99"):
        left_behind.touch()
    with run.claimed(resume=True):
        assert not list(run.path.rglob("*.tmp.*"))


def test_run_description_of_another_version_is_refused(corpus, tmp_path):
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "run", config=small_config(), progress=stop_after(1))
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(CheckpointError, match=r"molbt\.run 99"):
        pretrain(corpus, tmp_path / "run", resume=True)
    path.write_text(path.read_text()[:100])
    with pytest.raises(CheckpointError, match=r"cannot read .*run\.json"):
        pretrain(corpus, tmp_path / "run", resume=True)


def test_logs_forget_what_came_after_the_checkpoint(tmp_path):
    metrics, spectra = MetricsLog(tmp_path / "m.csv", up_to_step=0), SpectrumLog(tmp_path / "s.jsonl", up_to_step=0)
    for step in (4, 8, 12):
        metrics.append({"step": step, "loss": 1 / step, **({"late": 1.0} if step > 4 else {})})
        spectra.append(step, {"embedding.a": [2.0, 1.0]})
    assert (tmp_path / "m.csv").read_text() == "step,loss,late\n4,0.25,\n8,0.125,1\n12,0.083333333,1\n"
    MetricsLog(tmp_path / "m.csv", up_to_step=8).append({"step": 10, "loss": 0.1})
    SpectrumLog(tmp_path / "s.jsonl", up_to_step=8).append(10, {"embedding.a": [2.0]})
    assert (tmp_path / "m.csv").read_text() == "step,loss,late\n4,0.25,\n8,0.125,1\n10,0.1,\n"
    assert [json.loads(line)["step"] for line in (tmp_path / "s.jsonl").read_text().splitlines()] == [4, 8, 10]


def test_nothing_a_run_writes_can_be_executed(corpus, tmp_path):
    pretrain(corpus, tmp_path / "run", config=small_config(trainer={"epochs": 1}))
    for path in (path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.name != ".lock"):
        assert path.suffix in (".yaml", ".json", ".jsonl", ".csv", ".safetensors", ".sha256", ".md", ".npy")
        if path.suffix == ".npy":
            assert np.load(path, allow_pickle=False).dtype == np.uint64
        content = path.read_bytes()
        assert not content.startswith((b"\x80", b"PK\x03\x04"))
        if path.suffix == ".safetensors":
            json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    sums = (tmp_path / "run" / "checkpoints" / "step-000000004.sha256").read_text().split()
    assert sums[0] == hashlib.sha256((tmp_path / "run" / "checkpoints" / sums[1]).read_bytes()).hexdigest()
