import hashlib
import os
import subprocess
import sys

import pytest

from molbt.data.files import atomic_write, sha256_of


def test_atomic_write_replaces_the_file_at_the_end(tmp_path):
    path = tmp_path / "state.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        assert (tmp_path / f"state.bin.tmp.{os.getpid()}").read_bytes() == b"new"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["state.bin"]


def test_atomic_write_leaves_the_old_file_when_the_block_raises(tmp_path):
    path = tmp_path / "state.bin"
    path.write_bytes(b"old")

    def write_half() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state.bin"]


def test_atomic_write_syncs_file_then_renames_then_syncs_the_directory(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        "os.fsync", lambda handle: (steps.append("directory" if os.path.isdir(f"/proc/self/fd/{handle}") else "file"), fsync(handle))
    )
    monkeypatch.setattr("os.replace", lambda *names: (steps.append("replace"), replace(*names)))
    with atomic_write(tmp_path / "state.bin") as file:
        file.write(b"x")
    assert steps == ["file", "replace", "directory"]


def test_atomic_write_survives_a_kill(tmp_path):
    path = tmp_path / "state.bin"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys\nfrom molbt.data.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n    file.write(b'half')\n    file.flush()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert path.read_bytes() == b"old"


def test_sha256_of_is_that_of_the_bytes(tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()
