"""Starting, keeping and stopping the processes of `molbt.data.isolated_worker`.

They are started as programs of their own, not forked from this process, whose threads a fork would leave behind halfway: so they can be
used from threads, from a notebook or a script without ``if __name__ == "__main__"``, and inside daemonic processes. They stay for the next
call, because starting them costs the import of RDKit and perhaps of torch, and go when nobody asks for a while.
"""

import atexit
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection

IDLE_SECONDS = 60.0
"""How long workers without work are kept."""

_FAREWELL_SECONDS = 10.0

_PROGRAM = "from molbt.data.isolated_worker import main; main()"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class WorkerProcesses:
    """A server and its workers.

    Parameters
    ----------
    size : int
    modules : set of str
        What the server imports, so that its workers need not.

    Attributes
    ----------
    connections : list of Connection
        One to each worker.
    """

    def __init__(self, size: int, modules: Set[str]) -> None:
        self.size, self.modules = size, modules
        self.farewell: threading.Timer | None = None
        self.start()

    def start(self) -> None:
        """Start the processes."""
        pairs = [Pipe() for _ in range(self.size)]
        self.connections: list[Connection] = [ours for ours, _ in pairs]
        descriptors = [theirs.fileno() for _, theirs in pairs]
        command = [sys.executable, "-P", "-c", _PROGRAM, ",".join(map(str, descriptors)), *sorted(self.modules)]
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._server = subprocess.Popen(
            command,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process, which then stops the workers
        )
        for _, theirs in pairs:
            theirs.close()

    @property
    def is_alive(self) -> bool:
        return self._server.poll() is None

    def dismiss(self) -> None:
        """Let idle processes end by themselves: the server takes the account of their CPU time, which a kill would lose."""
        for connection in self.connections:
            connection.close()
        try:
            self._server.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            self.stop()

    def stop(self) -> None:
        """Kill the processes, whatever they are doing."""
        for connection in self.connections:
            connection.close()
        with suppress(ProcessLookupError):  # they may have ended by themselves
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()

    def restart(self) -> None:
        """Replace all of them, for example when the server itself was killed."""
        self.stop()
        self.start()


_idle: list[WorkerProcesses] = []
_lock = threading.Lock()


@contextmanager
def workers(size: int, modules: Set[str] = frozenset()) -> Iterator[WorkerProcesses]:
    """Give at least so many workers, with these modules imported, to the caller alone.

    Idle ones are used again. Those of a block that raises are killed, whatever they are doing.
    """
    processes = _take(size, modules)
    try:
        yield processes
    except BaseException:
        processes.stop()
        raise
    _keep(processes)


def stop_idle_workers() -> None:
    """Stop the workers that wait for the next call."""
    with _lock:
        waiting, _idle[:] = list(_idle), []
    for processes in waiting:
        _dismiss(processes)


def _take(size: int, modules: Set[str]) -> WorkerProcesses:
    with _lock:
        found = _idle.pop() if _idle else None
    if found is None:
        return WorkerProcesses(size, modules)
    if found.farewell is not None:
        found.farewell.cancel()
    if found.size >= size and found.modules >= modules and found.is_alive:
        return found
    found.dismiss()
    return WorkerProcesses(max(size, found.size), modules | found.modules)


def _keep(processes: WorkerProcesses) -> None:
    processes.farewell = threading.Timer(IDLE_SECONDS, _say_farewell, [processes])
    processes.farewell.daemon = True
    with _lock:
        _idle.append(processes)
    processes.farewell.start()


def _say_farewell(processes: WorkerProcesses) -> None:
    with _lock:
        if processes not in _idle:
            return
        _idle.remove(processes)
    processes.dismiss()


def _dismiss(processes: WorkerProcesses) -> None:
    if processes.farewell is not None:
        processes.farewell.cancel()
    processes.dismiss()


def _forget() -> None:
    """In a fork of this process: the workers belong to the other one; kept open, their connections would outlive it."""
    global _lock
    _lock = threading.Lock()
    for processes in _idle:
        for connection in processes.connections:
            connection.close()
    _idle.clear()


atexit.register(stop_idle_workers)
os.register_at_fork(after_in_child=_forget)
