"""A checkpoint that was cut or flipped at any place is noticed, said, and passed over for the one before it."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import assert_same_run, assert_same_tensors, last_checkpoint, small_config, stop_after
from torch import Tensor

from molbt.errors import Interrupted
from molbt.training.run_dir import RunDirectory
from molbt.training.trainer import pretrain


@pytest.fixture
def stopped(corpus, tmp_path) -> Path:
    """A run with checkpoints of steps 8 and 10."""
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "run", config=small_config(), progress=stop_after(9))
    return tmp_path / "run"


def flip(content: bytes, place: int) -> bytes:
    """Change one bit."""
    changed = bytearray(content)
    changed[place // 8] ^= 1 << (place % 8)
    return bytes(changed)


def cut(content: bytes, place: int) -> bytes:
    return content[: place // 8]


def damage_many(run: Path, damage: Callable[[bytes, int], bytes], n: int, caplog: pytest.LogCaptureFixture) -> None:
    """Damage the newest checkpoint's files, each in turn at random places."""
    directory = RunDirectory(run)
    before = load_without(directory, "step-000000010")
    draw = random.Random(n)
    for kind, share in (("safetensors", 0.9), ("sha256", 0.1)):
        path = run / "checkpoints" / f"step-000000010.{kind}"
        whole = path.read_bytes()
        for place in draw.sample(range(8 * len(whole)), round(share * n)):
            path.write_bytes(damage(whole, place))
            caplog.clear()
            assert_same_tensors(directory.load_checkpoint(), before)
            assert "checkpoint step-000000010 in" in caplog.text, place
            assert "is damaged" in caplog.text
        path.write_bytes(whole)
    assert int(directory.load_checkpoint()["step"]) == 10


def load_without(run: RunDirectory, name: str) -> dict[str, Tensor]:
    checksum = run.checkpoints / f"{name}.sha256"
    content = checksum.read_bytes()
    checksum.unlink()
    try:
        return run.load_checkpoint()
    finally:
        checksum.write_bytes(content)


@pytest.mark.parametrize("damage", [flip, cut])
def test_damage_at_some_places_is_noticed_and_said(stopped, caplog, damage):
    damage_many(stopped, damage, 20, caplog)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, cut])
def test_damage_at_two_thousand_places_is_noticed_and_said(stopped, caplog, damage):
    damage_many(stopped, damage, 2_000, caplog)


@pytest.mark.parametrize("damage", [flip, cut])
def test_run_goes_on_from_the_checkpoint_before_and_ends_bit_identically(corpus, stopped, whole, caplog, damage):
    path = stopped / "checkpoints" / "step-000000010.safetensors"
    path.write_bytes(damage(path.read_bytes(), 123_457))
    pretrain(corpus, stopped, config=small_config(), resume=True)
    assert "checkpoint step-000000010 in" in caplog.text
    assert_same_run(stopped, whole)


def test_damage_is_noticed_only_by_the_checksum(stopped, monkeypatch):
    # The control: the format alone takes a flipped bit of a weight for a weight.
    monkeypatch.setattr("molbt.training.run_dir._checksum", lambda name, content: (stopped / "checkpoints" / f"{name}.sha256").read_bytes())
    path = stopped / "checkpoints" / "step-000000010.safetensors"
    expected = last_checkpoint(stopped)
    content = path.read_bytes()
    path.write_bytes(flip(content, 8 * (len(content) - 1)))
    found = RunDirectory(stopped).load_checkpoint()
    assert found.keys() - {"totals.seconds"} == expected.keys()
