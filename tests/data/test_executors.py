import collections
import importlib.metadata
import logging
import os
import signal
import sys
import time
from contextlib import ExitStack

import pytest

from molbt.data import executors
from molbt.data.executors import ShardExecutor, open_executor
from molbt.errors import ConfigError, DataError, ExecutionError, MissingDependencyError

SHARDS = [(str(number), [number] * number) for number in range(8)]
EXPECTED = {str(number): number**2 for number in range(8)}


def pause_and_sum(values):
    time.sleep(0.2)
    return sum(values)


def die_of_five(values):
    if 5 in values:
        os.kill(os.getpid(), signal.SIGKILL)
    return sum(values)


def refuse_five(values):
    if 5 in values:
        raise DataError("no fives")
    return sum(values)


def process_of(values):
    return os.getpid()


def test_the_local_executor_works_in_this_process_one_shard_at_a_time():
    taken = []

    def shards():
        for name, values in SHARDS:
            taken.append(name)
            yield name, values

    with open_executor() as executor:
        assert dict(executor.map(process_of, SHARDS)) == dict.fromkeys(EXPECTED, os.getpid())
        results = executor.map(sum, shards())
        assert next(results) == ("0", 0)
        assert taken == ["0"]


def test_an_error_of_a_shard_is_raised_as_it_is():
    done = []
    with open_executor() as executor, pytest.raises(DataError, match="no fives"):
        done.extend(executor.map(refuse_five, SHARDS))


@pytest.mark.parametrize("name", ["ray://a:1", "dask://", "dask://host", "dask://host:port", "remote"])
def test_an_unknown_executor_is_refused_with_those_there_are(name):
    with pytest.raises(ConfigError, match="local, dask://HOST:8786"), open_executor(name):
        pass


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'molbt\[dask\]'"), open_executor("dask://localhost:8786"):
        pass


@pytest.mark.parametrize(
    ("name", "message"), [("dask://localhost:1", "no Dask scheduler answers at"), ("dask+tls://localhost:1", "certificates")]
)
def test_a_scheduler_out_of_reach_is_an_error_that_says_what_to_do(name, message, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 0.5)
    with pytest.raises(ExecutionError, match=message), open_executor(name):
        pass


def test_dask_gives_the_same_results_in_other_processes(dask_executor):
    with open_executor(dask_executor) as executor:
        assert executor.in_flight == 3
        assert dict(executor.map(sum, SHARDS)) == EXPECTED
        assert os.getpid() not in dict(executor.map(process_of, SHARDS)).values()


def test_dask_raises_the_error_of_a_shard(dask_executor):
    with open_executor(dask_executor) as executor, pytest.raises(DataError, match="no fives"):
        list(executor.map(refuse_five, SHARDS))


def test_shards_of_a_worker_that_is_killed_are_done_by_another(dask_executor):
    with open_executor(dask_executor) as executor:
        [(_, victim)] = executor.map(process_of, SHARDS[:1])
        results = executor.map(pause_and_sum, SHARDS)
        found = dict([next(results)])
        os.kill(victim, signal.SIGKILL)
        found |= dict(results)
        assert found == EXPECTED


def test_a_shard_that_kills_every_worker_is_named_after_the_others_are_done(dask_executor):
    found = {}
    with open_executor(dask_executor) as executor, pytest.raises(ExecutionError, match="1 shards killed every worker that did them: 5;"):
        collections.deque((found.update([pair]) for pair in executor.map(die_of_five, SHARDS)), maxlen=0)
    assert found == {name: result for name, result in EXPECTED.items() if name != "5"}


def test_shards_do_not_wait_for_ever_for_workers_that_are_gone(monkeypatch):
    monkeypatch.setattr(executors, "WORKERLESS_SECONDS", 1.0)
    monkeypatch.setattr(executors, "_LOOK_EVERY", 0.2)
    distributed = pytest.importorskip("distributed")
    options = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": logging.CRITICAL}
    with ExitStack() as stack:
        cluster = stack.enter_context(distributed.LocalCluster(n_workers=1, **options))
        executor = stack.enter_context(open_executor(cluster.scheduler_address.replace("tcp", "dask")))
        results = executor.map(pause_and_sum, SHARDS)
        assert next(results)[0] in EXPECTED
        cluster.scale(0)
        with pytest.raises(ExecutionError, match="has had no worker for 1 s; what is done is kept"):
            list(results)


def test_a_worker_of_another_version_is_refused_before_the_work(dask_executor, monkeypatch):
    own = importlib.metadata.version
    monkeypatch.setattr(executors, "_versions", lambda: {"molbt": "0.0.1", "rdkit": own("rdkit")})
    with pytest.raises(ExecutionError, match=r"has molbt .*, this command 0\.0\.1"), open_executor(dask_executor):
        pass


def test_a_worker_that_joined_later_with_another_version_is_refused():
    with pytest.raises(ExecutionError, match="same versions"):
        executors._checked({"molbt": "0.0.1"}, sum, [1])


def test_the_executor_of_this_process_needs_no_opening():
    assert dict(ShardExecutor().map(sum, SHARDS)) == EXPECTED
