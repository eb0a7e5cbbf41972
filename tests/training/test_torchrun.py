"""``torchrun -m molbt pretrain`` as a person calls it: the model of one process, and the same bits after a kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from small_run import assert_same_run, distance_of_models, nci_smiles, small_config

from molbt.training.trainer import pretrain

LIMIT = 240.0  # seconds for a whole run on a busy machine


@pytest.fixture
def torchrun(tmp_path: Path) -> Iterator[list[str]]:
    """The command that trains on a table with two processes, but for its output; both find a corpus of their own in the cache."""
    table, config = tmp_path / "molecules.csv", tmp_path / "run.yaml"
    pd.DataFrame({"smiles": nci_smiles(280)}).to_csv(table, index=False)
    config.write_text(small_config(encoder={"dropout": 0.0}).to_yaml())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOLBT_CACHE", str(tmp_path / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        yield [*launcher, "-m", "molbt", "pretrain", str(table), "--config", str(config)]


def train(command: list[str], output: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run([*command, "-o", str(output), *options], capture_output=True, text=True, timeout=LIMIT, check=False)


def test_torchrun_trains_the_model_of_one_process(torchrun, tmp_path):
    result = train(torchrun, tmp_path / "pair")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("3 epochs, 768 molecules seen") == 1  # one of them tells
    config = small_config(encoder={"dropout": 0.0})
    pretrain(nci_smiles(280), tmp_path / "alone", config=config)
    assert distance_of_models(tmp_path / "pair", tmp_path / "alone") < 1e-5


def children(process: int) -> list[int]:
    """The processes that another one started, of whatever depth."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            if parent == process:
                found += [int(entry.name), *children(int(entry.name))]
    return found


def train_and_kill(command: list[str], output: Path, *, all_of_them: bool) -> int:
    """Kill the run after its second checkpoint, one process or the launcher and all, and return how the launcher ended."""
    with subprocess.Popen([*command, "-o", str(output)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as launcher:
        deadline = time.monotonic() + LIMIT
        while not (output / "checkpoints" / "step-000000008.sha256").exists():
            assert launcher.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        ranks = [process for process in children(launcher.pid) if b"molbt" in Path(f"/proc/{process}/cmdline").read_bytes()]
        for process in [launcher.pid, *ranks] if all_of_them else ranks[-1:]:
            os.kill(process, signal.SIGKILL)
        return launcher.wait(LIMIT)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find the processes that torchrun started")
def test_torchrun_that_was_killed_resumes_bit_identically(torchrun, tmp_path):
    # More epochs, so that a kill at the second checkpoint finds the run at work.
    long = [*torchrun, "--set", "trainer.epochs=60"]
    assert train(long, tmp_path / "whole").returncode == 0
    for name, all_of_them in (("one", False), ("all", True)):
        assert train_and_kill(long, tmp_path / name, all_of_them=all_of_them) != 0
        assert not (tmp_path / name / "model").exists()
        result = train(long, tmp_path / name, "--resume")
        assert result.returncode == 0, result.stderr
        assert_same_run(tmp_path / name, tmp_path / "whole")


@pytest.mark.slow
def test_torchrun_refuses_what_cannot_be_shared_in_one_sentence(torchrun, tmp_path):
    result = train(torchrun, tmp_path / "run", "--set", "trainer.batch_size=63")
    assert result.returncode != 0
    assert "molbt: expected a trainer.batch_size that 2 ranks can share, received 63; take a multiple of 2" in result.stderr
