"""Work on values that may hang or kill a process: a molecule that RDKit cannot survive costs its own row and no other.

The limits of `ParsePolicy` come first and refuse most of what would hang or crash. What passes them is worked on in other processes, which
are replaced when they die. Who is to blame is then found out, not guessed: the values that were at hand are done again one by one, and a
value is refused if its worker dies of it alone and does not die of methane. So a worker that somebody else killed costs no row.

Everything that reads many molecules goes through `map_blocks`, which isolates

- more than `ISOLATED_FROM` values (fewer take less time than starting a process does), and
- any number of them under a policy that allows longer or larger molecules than the default one, or inside `isolating`.
"""

import logging
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np
from joblib import effective_n_jobs

from molbt.data.isolated_worker import OUT_OF_MEMORY, Died, Done, Failed, Task
from molbt.data.molecules import ParsePolicy, Refusal
from molbt.data.worker_processes import workers
from molbt.errors import ExecutionError

logger = logging.getLogger(__name__)

ISOLATED_FROM = 500
"""Fewer values are worked on in this process, where the limits are the only defence."""

BLOCK_SIZE = 4_096
"""Values that a worker is given at a time."""

_R = TypeVar("_R")
_Function: TypeAlias = Callable[[Sequence[str], ParsePolicy], _R]
_Answer: TypeAlias = Done | Failed | Died


class _Settling(NamedTuple, Generic[_R]):
    """A block under way: `_settle` yields the tasks of its worker and is sent the answers."""

    number: int
    block: list[str]
    tasks: Generator[Task, _Answer, _R]


_ALWAYS: ContextVar[bool] = ContextVar("always", default=False)
# Deaths of a block's worker, or of all workers, that no value explains.
_MAX_UNEXPLAINED = 3
_METHANE = "C"


def map_blocks(
    function: _Function[_R],
    values: Sequence[str],
    policy: ParsePolicy,
    *,
    n_jobs: int = 1,
    block_size: int = BLOCK_SIZE,
    refused: dict[str, str] | None = None,
) -> Iterator[_R]:
    """Yield ``function(block, policy)`` for consecutive blocks of values, in order; at least one block, which may be empty.

    Parameters
    ----------
    function : callable
        Of a module, or a partial of one: it is called in another process. It reads molecules with `parse_molecules`, which refuses what it
        is told to refuse, and treats each value on its own. What it returns holds NumPy arrays rather than tensors. An object may have
        ``modules``, what its workers import beside its own, and ``reads_molecules``: where that is false it is called in this process.
    values : sequence of str
    policy : ParsePolicy
        ``max_seconds`` limits the time that one value may take.
    n_jobs : int
        Worker processes (-1: all cores). The results do not depend on it; memory holds two blocks for each.
    block_size : int
    refused : dict of str to str, optional
        Values that are refused with these reasons; those that fail here are added.

    Raises
    ------
    ExecutionError
        If workers keep dying and no value explains it.
    """
    blocks = (list(values[start : start + block_size]) for start in range(0, max(len(values), 1), block_size))
    return map_each(function, blocks, policy, n_values=len(values), n_jobs=n_jobs, refused=refused)


def map_each(
    function: _Function[_R],
    blocks: Iterable[list[str]],
    policy: ParsePolicy,
    *,
    n_values: int,
    n_jobs: int = 1,
    refused: dict[str, str] | None = None,
) -> Iterator[_R]:
    """Yield ``function(block, policy)`` for blocks that come one by one, of ``n_values`` values; the rest is as for `map_blocks`."""
    refused = {} if refused is None else refused
    may_die = n_values > ISOLATED_FROM or policy.is_relaxed or _ALWAYS.get()
    if not may_die or not getattr(function, "reads_molecules", True):
        return (function(_without(refused, block), policy) for block in blocks)
    return _map_isolated(function, iter(blocks), policy, effective_n_jobs(n_jobs), refused)


@contextmanager
def isolating(always: bool = True) -> Iterator[None]:
    """Isolate any number of values inside the block: a few of them may be part of a long table."""
    token = _ALWAYS.set(always)
    try:
        yield
    finally:
        _ALWAYS.reset(token)


def map_rows(
    function: _Function[np.ndarray], values: Sequence[str], policy: ParsePolicy, *, n_jobs: int = 1, refused: dict[str, str] | None = None
) -> np.ndarray:
    """Return what a function gives for values, one row per value; parameters and errors are those of `map_blocks`."""
    return np.concatenate(list(map_blocks(function, values, policy, n_jobs=n_jobs, refused=refused)))


def _map_isolated(
    function: _Function[_R], blocks: Iterator[list[str]], policy: ParsePolicy, n_workers: int, refused: dict[str, str]
) -> Iterator[_R]:
    waiting = enumerate(blocks)
    again: list[tuple[int, list[str]]] = []  # what the workers were at when all of them were lost
    at_work: dict[Connection, _Settling[_R]] = {}
    done: dict[int, _R] = {}
    following, losses = 0, 0
    with workers(n_workers, _modules_of(function)) as processes:
        idle = processes.connections[:n_workers]
        while True:
            try:
                while idle and len(at_work) + len(done) < 2 * n_workers and (one := again.pop() if again else next(waiting, None)):
                    connection = idle.pop()
                    at_work[connection] = _Settling(*one, _settle(function, one[1], policy, refused))
                    connection.send(next(at_work[connection].tasks))
                if following in done:
                    yield done.pop(following)
                    following += 1
                    continue
                if not at_work:
                    return
                ready = wait(list(at_work))
                for connection in [connection for connection in at_work if connection in ready]:
                    answer = _receive(connection)
                    try:
                        connection.send(at_work[connection].tasks.send(answer))
                    except StopIteration as end:
                        done[at_work.pop(connection).number] = end.value
                        idle.append(connection)
            except (EOFError, ConnectionError) as error:
                losses += 1
                if losses == _MAX_UNEXPLAINED:
                    raise ExecutionError(
                        f"the worker processes were ended from outside {losses} times; is there enough memory? Use fewer of them (--jobs)"
                    ) from error
                processes.restart()
                again = [(settling.number, settling.block) for settling in at_work.values()]
                at_work, idle = {}, processes.connections[:n_workers]


def _modules_of(function: _Function[Any]) -> set[str]:
    defined = function.func if isinstance(function, partial) else function
    return {defined.__module__, *getattr(function, "modules", ())} - {"__main__"}


def _receive(connection: Connection) -> _Answer:
    try:
        return connection.recv()
    except OSError as error:  # in the middle of a message
        raise EOFError from error


def _settle(function: _Function[_R], block: list[str], policy: ParsePolicy, refused: dict[str, str]) -> Generator[Task, _Answer, _R]:
    """Say what a worker is to do next, given its last answer, until a block is done; what fails alone is added to ``refused``."""
    seconds, unexplained = policy.max_seconds, 0
    while True:
        values = _without(refused, block)
        answer = yield Task(function, values, policy, seconds)
        if isinstance(answer, Done):
            return answer.result
        if isinstance(answer, Failed):
            raise answer.error
        found = yield from _what_fails_alone(function, values, policy, answer)
        for value, reason in found.items():
            logger.warning("refused %.60r: %s", value, reason)
        refused |= found
        if found:
            continue
        unexplained += 1
        if unexplained == _MAX_UNEXPLAINED:
            raise ExecutionError(
                f"a worker process died {unexplained} times over {len(block)} molecules ({_cause(answer, seconds)}), but of none of them "
                "alone; is there enough memory? Use fewer processes (--jobs)"
            )
        seconds = policy.max_seconds * len(block)  # many values that each take almost as long as one may


def _what_fails_alone(
    function: _Function[Any], values: list[str], policy: ParsePolicy, died: Died
) -> Generator[Task, _Answer, dict[str, str]]:
    """Do values one by one, first those that were at hand, then all; return those that a worker dies of, with the reason."""
    answer = yield Task(function, [_METHANE], policy, 10 * policy.max_seconds, singly=True)
    if isinstance(answer, Died):
        raise ExecutionError(
            f"a worker process dies of any molecule, even methane ({_cause(answer, policy.max_seconds)}); check the installation of RDKit, "
            "and the memory that this job may use"
        )
    found: dict[str, str] = {}
    for place, end in ((died.first, died.last), (0, len(values))):
        while place < end:
            answer = yield Task(function, values[place:end], policy, policy.max_seconds, singly=True)
            if isinstance(answer, Failed):
                raise answer.error
            if isinstance(answer, Done):
                break
            place += answer.first
            if not isinstance(values[place], Refusal):  # what was refused should not have been touched; it explains nothing
                found[values[place]] = _cause(answer, policy.max_seconds)
            place += 1
        if found:
            break
    return found


def _cause(died: Died, seconds: float) -> str:
    if died.exit_code == -signal.SIGALRM:
        return f"took longer than {seconds:g} s"
    if died.exit_code == OUT_OF_MEMORY:
        return "RDKit ran out of memory on it"
    if died.exit_code == -signal.SIGKILL:
        return "its process was killed, as for want of memory (signal 9)"
    if died.exit_code < 0:
        return f"RDKit crashed on it (signal {-died.exit_code})"
    return f"RDKit ended the process on it (exit code {died.exit_code})"


def _without(refused: dict[str, str], values: list[str]) -> list[str]:
    return [Refusal(refused[value]) if value in refused else value for value in values] if refused else values
