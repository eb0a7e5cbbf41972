"""The processes that `molbt.data.isolation` works in: a server that has imported everything, and a fork of it for each connection.

A worker writes which values it is about to touch into memory that it shares with the server, and sets a timer that kills it. Neither needs
its cooperation afterwards: when it crashes or hangs inside a library, the server reads the place, reports it and forks the next worker.
Nobody is left behind when the caller is killed: an idle worker sees the end of its connection, one that hangs is killed by its timer, and
the server ends with the last of them.
"""

import importlib
import mmap
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple, SupportsIndex

OUT_OF_MEMORY = 12
"""Exit code of a worker that asked for memory in vain."""

# Values taken at once: as many as the functions that read molecules hold.
_WINDOW = 64


class Task(NamedTuple):
    """Call ``function(values, policy)``, or, ``singly``, once for each value and without a result."""

    function: Callable[[Sequence[str], Any], Any]
    values: list[str]
    policy: Any
    seconds: float
    singly: bool = False


class Done(NamedTuple):
    """The answer to a task that was done."""

    result: Any


class Failed(NamedTuple):
    """The answer to a task that raised."""

    error: Exception


class Died(NamedTuple):
    """The answer to a task whose worker died: how (an exit code, or minus the signal), and the range of values it was at."""

    exit_code: int
    first: int
    last: int


def main() -> None:
    """Serve the connections whose file descriptors are named on the command line, after importing the modules named behind them."""
    descriptors, *modules = sys.argv[1:]
    for module in modules:
        importlib.import_module(module)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whoever started this process may have ignored it or held it back
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _serve([Connection(int(descriptor)) for descriptor in descriptors.split(",")])
    os._exit(0)  # the caller waits: taking apart what was imported would cost it a fifth of a second


def _serve(connections: list[Connection]) -> None:
    watches = [_Watch() for _ in connections]
    workers = {_fork_worker(connections, number, watches[number]): number for number in range(len(connections))}
    while workers:
        process, status = os.wait()
        number = workers.pop(process)
        exit_code, watch = os.waitstatus_to_exitcode(status), watches[number]
        if exit_code == 0:
            continue  # its connection was closed
        if watch.is_sending:
            connections[number].close()  # what follows half a message would be read as its other half
            continue
        try:
            connections[number].send(Died(exit_code, *watch.place))
        except OSError:
            continue  # the caller is gone
        workers[_fork_worker(connections, number, watch)] = number


def _fork_worker(connections: list[Connection], number: int, watch: "_Watch") -> int:
    process = os.fork()
    if process:
        return process
    exit_code = 1
    try:
        for other in connections:
            if other is not connections[number] and not other.closed:
                other.close()
        _work(connections[number], watch)
        exit_code = 0
    finally:
        os._exit(exit_code)


def _work(connection: Connection, watch: "_Watch") -> None:
    while True:
        try:
            task = connection.recv_bytes()
        except (EOFError, ConnectionError):
            return
        watch.clear()
        try:
            message = ForkingPickler.dumps(Done(_do(ForkingPickler.loads(task), watch)))
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except Exception as error:
            error.add_note(f"in a worker process:\n{''.join(traceback.format_tb(error.__traceback__))}")
            message = ForkingPickler.dumps(Failed(error))
        watch.clear(is_sending=True)
        connection.send_bytes(message)
        watch.clear()


def _do(task: Task, watch: "_Watch") -> Any:
    watch.seconds = task.seconds
    if not task.singly:
        return task.function(_Watched(task.values, watch), task.policy)
    for place, value in enumerate(task.values):
        watch.take(place, place + 1)
        task.function([value], task.policy)
    return None


class _Watch:
    """Where a worker is, in memory that outlives it, and the timer that ends it there."""

    def __init__(self) -> None:
        self._shared = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")
        self.seconds = 0.0

    @property
    def place(self) -> tuple[int, int]:
        return self._shared[0], self._shared[1]

    @property
    def is_sending(self) -> bool:
        return bool(self._shared[2])

    def take(self, first: int, last: int) -> None:
        self._shared[0], self._shared[1] = first, last
        signal.setitimer(signal.ITIMER_REAL, self.seconds)  # the default action of SIGALRM needs no Python: it also ends a hang in C++

    def clear(self, *, is_sending: bool = False) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._shared[0] = self._shared[1] = 0
        self._shared[2] = is_sending


class _Watched(list[str]):
    """Values that tell the watch when they are taken, a window at a time."""

    def __init__(self, values: Sequence[str], watch: _Watch) -> None:
        super().__init__(values)
        self._watch = watch

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _WINDOW):
            yield from self[first : first + _WINDOW]

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        first, last = (key.indices(len(self))[:2]) if isinstance(key, slice) else (int(key), int(key) + 1)
        self._watch.take(first, last)
        return super().__getitem__(key)
