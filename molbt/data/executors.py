"""Where shards of work run: in this process, or on the workers of a Dask cluster. The results are the same.

A shard is a name and the values to work on. The function is sent to wherever it runs, its results come back by value, and only this process
writes files: workers need molbt and whatever the function names (such as a model at the same path), but no file system in common for the
data.

Dask's messages are executed by who receives them: use schedulers that you trust, over TLS where others reach the network.
"""

import importlib.metadata
import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from molbt.errors import ConfigError, ExecutionError, require

LOCAL = "local"
CONNECT_SECONDS = 20.0
"""How long a scheduler may take to answer, and then its first worker to be there."""

WORKERLESS_SECONDS = 300.0
"""How long shards may wait without a single worker: a cluster that restarts its machines comes back, one that was shut down does not."""

_LOOK_EVERY = 5.0
_SCHEMES = {"dask": "tcp", "dask+tls": "tls"}
_PACKAGES = ("molbt", "rdkit")  # what decides the numbers, beside the model

logger = logging.getLogger(__name__)

Values = TypeVar("Values")
Result = TypeVar("Result")


class _ThisProcess(Executor):
    """Does the work when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@dataclass(frozen=True)
class ShardExecutor:
    """Where shards run; made by `open_executor`.

    Attributes
    ----------
    name : str
        As the user gave it.
    in_flight : int
        Shards that are submitted at a time: the memory for their values and results is taken here.
    lost : exception types
        What a future raises when its worker died at every attempt.
    count_workers : callable
        Returns how many workers there are at this moment.
    """

    name: str = LOCAL
    pool: Executor = field(default_factory=_ThisProcess)
    in_flight: int = 1
    lost: tuple[type[BaseException], ...] = ()
    count_workers: Callable[[], int] = lambda: 1

    @property
    def is_local(self) -> bool:
        return self.name == LOCAL

    def map(self, function: Callable[[Values], Result], shards: Iterable[tuple[str, Values]]) -> Iterator[tuple[str, Result]]:
        """Yield the name and result of each shard as it is done; at most ``in_flight`` shards are taken at a time.

        A shard whose worker dies is done by another one, as often as Dask allows (``distributed.scheduler.allowed-failures``). Those that
        are given up then are put off to the end, where each runs alone: a neighbour may have been to blame.

        Raises
        ------
        ExecutionError
            If the scheduler is lost, no worker is there for five minutes, a worker has another version of molbt or RDKit, or shards kill
            every worker that does them: these are named, after all others are done.
        """
        suspects: dict[str, Values] = {}
        deaths: dict[str, BaseException] = {}
        yield from self._map(function, shards, self.in_flight, suspects, deaths)
        if len(suspects) > 1:
            deaths.clear()
            yield from self._map(function, list(suspects.items()), 1, {}, deaths)
        if deaths:
            raise ExecutionError(
                f"{len(deaths)} shards killed every worker that did them: {', '.join(deaths)}; the others are done. The first: "
                f"{next(iter(deaths.values()))}. Look into the workers' logs (often they ran out of memory: take fewer rows to a shard), "
                "then run the same command again"
            )

    def _map(
        self,
        function: Callable[[Values], Result],
        shards: Iterable[tuple[str, Values]],
        in_flight: int,
        suspects: dict[str, Values],
        deaths: dict[str, BaseException],
    ) -> Iterator[tuple[str, Result]]:
        """Yield what is done; shards whose workers died are added to ``suspects`` and ``deaths``."""
        running: dict[Future, tuple[str, Values]] = {}
        remaining = iter(shards)
        try:
            while True:
                while len(running) < in_flight and (shard := next(remaining, None)) is not None:
                    running[self._submit(function, shard[1])] = shard
                if not running:
                    return
                for future in self._wait(running):
                    name, values = running.pop(future)
                    try:
                        result = future.result()
                    except self.lost as error:
                        logger.warning("shard %s: the worker died at every attempt; going on with the others", name)
                        suspects[name], deaths[name] = values, error
                    except CancelledError as error:
                        raise ExecutionError(
                            f"the scheduler of {self.name} was lost while shard {name} was under way; what is done is kept: "
                            "start the scheduler and its workers, then run the same command again"
                        ) from error
                    else:
                        yield name, result
        finally:
            for future in running:
                future.cancel()

    def _wait(self, running: Iterable[Future]) -> set[Future]:
        """Return what is done, as soon as something is; without any worker, not for ever."""
        waited_since = None
        while True:
            done, _ = wait(running, timeout=_LOOK_EVERY, return_when=FIRST_COMPLETED)
            if done:
                return done
            if self.count_workers():
                waited_since = None
                continue
            waited_since = waited_since or time.monotonic()
            if time.monotonic() - waited_since >= WORKERLESS_SECONDS:
                raise ExecutionError(
                    f"{self.name} has had no worker for {WORKERLESS_SECONDS:.0f} s; what is done is kept: start workers, then run the same "
                    "command again"
                )

    def _submit(self, function: Callable[[Values], Result], values: Values) -> Future:
        if self.is_local:
            return self.pool.submit(function, values)
        return self.pool.submit(_checked, _versions(), function, values)


@contextmanager
def open_executor(name: str = LOCAL) -> Iterator[ShardExecutor]:
    """Open the executor of a name.

    Parameters
    ----------
    name : str
        ``local``: one shard after the other in this process, which starts processes of its own for molecules (``n_jobs``).
        ``dask://HOST:PORT``: the Dask scheduler there. ``dask+tls://HOST:PORT``: the same over TLS, with the certificates that Dask's own
        configuration names (``distributed.comm.tls``).

    Raises
    ------
    ConfigError
        If the name is none of these.
    MissingDependencyError
        If ``distributed`` is not installed.
    ExecutionError
        If the scheduler does not answer, or has no worker.
    """
    if name == LOCAL:
        yield ShardExecutor()
        return
    scheme, _, address = name.partition("://")
    host, _, port = address.rpartition(":")
    if scheme not in _SCHEMES or not host or not port.isdecimal():
        raise ConfigError(f"expected an executor such as local, dask://HOST:8786 or dask+tls://HOST:8786, received {name!r}")
    distributed = require("distributed", extra="dask", purpose=f"the executor {name}")
    client = _connect(distributed, name, f"{_SCHEMES[scheme]}://{address}")
    try:
        workers = _workers(client, name, f"{_SCHEMES[scheme]}://{address}")
        logger.info("%s: %d workers with %d threads", name, len(workers), sum(workers.values()))
        pool = client.get_executor(pure=False)
        try:
            # One shard more than there are threads, so that none waits for this process.
            in_flight, lost = sum(workers.values()) + 1, (distributed.scheduler.KilledWorker,)
            yield ShardExecutor(name, pool, in_flight, lost, lambda: len(client.nthreads()))
        finally:
            pool.shutdown(wait=False)
    finally:
        client.close()


def _connect(distributed: Any, name: str, address: str) -> Any:
    """Connect to a scheduler. What can be wrong is looked at first: a client that fails while it is made leaves threads behind."""
    scheme, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    unreachable = (
        f"no Dask scheduler answers at {name} within {CONNECT_SECONDS:.0f} s ({{}}); check the address and the port, and whether it wants "
        "TLS (dask+tls://), or start one: dask scheduler"
    )
    if scheme == "tls" and distributed.Security().get_connection_args("client")["ssl_context"] is None:
        raise ExecutionError(
            f"{name} needs certificates, Dask's configuration names none; set distributed.comm.tls (ca-file, client.cert, client.key), or "
            "use dask:// for a scheduler without TLS"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
        return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, OverflowError) as error:
        raise ExecutionError(unreachable.format(error)) from error


def _workers(client: Any, name: str, address: str) -> dict[str, int]:
    """Return the number of threads of each worker, as soon as there is one, if they are installed as this process."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError as error:
        raise ExecutionError(
            f"the scheduler of {name} has no worker after {CONNECT_SECONDS:.0f} s; start some: dask worker {address}"
        ) from error
    for package, own in _versions().items():
        # A function of the standard library: it can be called where molbt is missing, where a shard would wait for ever.
        for worker, found in client.run(importlib.metadata.version, package, on_error="return").items():
            if found != own:
                raise ExecutionError(f"the worker {worker} has {package} {found}, this command {own}; {_same_installation()}")
    return client.nthreads()


def _checked(versions: dict[str, str], function: Callable[[Values], Result], values: Values) -> Result:
    """Do a shard's work on a worker, which may have joined after the others were looked at."""
    if versions != _versions():
        raise ExecutionError(f"a worker has {_versions()}, this command {versions}: shards would not fit together; {_same_installation()}")
    return function(values)


def _versions() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in _PACKAGES}


def _same_installation() -> str:
    return "install the same versions on every worker (pip install -c constraints.txt)"
