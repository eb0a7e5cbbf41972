import errno
import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from small_run import in_child

from molbt.data.files import atomic_write, exclusive_lock, new_directory, sha256_of, write_array, writing
from molbt.errors import DataError, TrainingError


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


def test_failed_write_names_the_file_whatever_failed(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def cut(file, array, **options):
        raise OSError("16800 requested and 6080 written")  # what NumPy says of a full disk

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left") as caught, atomic_write(tmp_path / "x"):
        patch.setattr(os, "fsync", full)
    assert (caught.value.filename, caught.value.errno) == (str(tmp_path / "x"), errno.ENOSPC)
    with pytest.raises(OSError, match="No space left") as caught, new_directory(tmp_path / "x"):
        full()
    assert (caught.value.filename, caught.value.errno) == (str(tmp_path / "x"), errno.ENOSPC)
    monkeypatch.setattr(np, "save", cut)
    with pytest.raises(OSError, match="16800 requested and 6080 written, as on a full disk") as caught:
        write_array(tmp_path / "x", np.zeros(3))
    assert caught.value.filename == str(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_writing_says_where_why_and_what_to_do(tmp_path):
    said = r"^cannot write .*/missing/x: No such file or directory; make it$"
    for kind in (DataError, TrainingError):
        with pytest.raises(kind, match=said), writing(tmp_path, remedy="make it", error=kind), atomic_write(tmp_path / "missing" / "x"):
            pass
    with pytest.raises(ZeroDivisionError), writing(tmp_path, remedy=""):
        _ = 1 / 0


def test_lock_makes_others_wait_and_dies_with_its_process(tmp_path):
    lock, order = tmp_path / "lock", tmp_path / "order"

    def hold() -> None:
        with exclusive_lock(lock):
            order.write_text("held ")
            time.sleep(0.5)
            order.write_text(order.read_text() + "left ")
            os.kill(os.getpid(), signal.SIGKILL)

    def wait() -> None:
        while not order.exists():
            time.sleep(0.01)
        with exclusive_lock(lock):
            order.write_text(order.read_text() + "taken")

    waiter = os.fork()
    if waiter == 0:
        try:
            wait()
        finally:
            os._exit(0)
    assert in_child(hold) == -signal.SIGKILL
    os.waitpid(waiter, 0)
    assert order.read_text() == "held left taken"
