"""What kills or hangs a process costs its own row: who is blamed, what is kept, and that nobody is left behind."""

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import poison
import pytest
from poison import CRASH, EXIT, HANG, KILLED, NO_MEMORY, POISON, RAISED, SLOW
from poison_modality import Dying
from small_run import registered

from molbt.config import RunConfig
from molbt.data import isolation
from molbt.data.corpus import Corpus, prepare, read_quarantine
from molbt.data.exclusions import hash_values
from molbt.data.identity import molecule_and_scaffold_hashes
from molbt.data.isolation import map_blocks, map_rows
from molbt.data.molecules import ParsePolicy, Refusal, parse_molecule, refusal_reasons
from molbt.data.preparing import prepare_blocks
from molbt.data.worker_processes import stop_idle_workers, workers
from molbt.errors import ExecutionError

POLICY = ParsePolicy(max_seconds=1.0)
TESTS = Path(poison.__file__).parent

FUNCTIONS = [poison.lengths_one_by_one, poison.lengths_in_chunks, poison.lengths_after_all, poison.lengths_behind_the_watch]
REASONS = {
    CRASH: "RDKit crashed on it (signal 11)",
    HANG: "took longer than 1 s",
    EXIT: "RDKit ended the process on it (exit code 3)",
    KILLED: "its process was killed, as for want of memory (signal 9)",
    NO_MEMORY: "RDKit ran out of memory on it",
}


@pytest.fixture
def always(monkeypatch):
    """Isolate however few values there are."""
    monkeypatch.setattr(isolation, "ISOLATED_FROM", -1)


def values_with(poisons, n=300):
    """Distinct harmless values with others spread among them."""
    values = ["C" * length for length in range(1, n + 1)]
    for number, value in enumerate(poisons):
        values.insert((number * 97 + 41) % n, value)
    return values


def processes_of(server: int) -> list[int]:
    """Living processes of a server's session, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields and int(fields[3]) == server and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def wait_until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


# Who is blamed


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_way_to_die_costs_its_own_value(function, always):
    values = values_with(REASONS)
    refused = {}
    lengths = map_rows(function, values, POLICY, n_jobs=2, refused=refused)
    assert refused == REASONS
    assert lengths.tolist() == [-1 if value in REASONS else len(value) for value in values]


def test_several_in_one_window_are_found_in_one_go(always):
    values = ["C", CRASH, EXIT, "CC", KILLED, "CCC"]
    refused = {}
    assert map_rows(poison.lengths_one_by_one, values, POLICY, refused=refused).tolist() == [1, -1, -1, 2, -1, 3]
    assert refused == {value: REASONS[value] for value in (CRASH, EXIT, KILLED)}


def test_a_worker_that_was_killed_from_outside_costs_no_value(always):
    values = ["C" * n for n in range(1, 200)] + [SLOW] * 4 + ["O" * n for n in range(1, 100)]
    [[worker, _]] = map_blocks(poison.process, ["C"], POLICY)
    timer = threading.Timer(0.3, os.kill, (worker, signal.SIGKILL))
    timer.start()
    refused = {}
    lengths = map_rows(poison.lengths_one_by_one, values, POLICY, refused=refused)
    timer.join()
    assert (lengths.tolist(), refused) == ([len(value) for value in values], {})
    [[other, _]] = map_blocks(poison.process, ["C"], POLICY)
    assert other != worker, "the worker was not killed: the test shows nothing"


def test_values_that_are_slow_together_are_not_refused(always):
    values = [SLOW] * 6  # 1.5 s in one window, each less than the second that one may take
    refused = {}
    assert map_rows(poison.lengths_one_by_one, values, POLICY, refused=refused).tolist() == [len(SLOW)] * 6
    assert refused == {}


def test_a_worker_that_dies_of_anything_is_an_error_and_costs_no_values(always):
    refused = {}
    with pytest.raises(ExecutionError, match=r"dies of any molecule, even methane \(RDKit crashed on it \(signal 11\)\)"):
        map_rows(poison.dying, ["CC", "CCC"], POLICY, refused=refused)
    assert refused == {}


def test_a_worker_that_dies_of_many_values_and_of_none_alone_is_an_error(always):
    with pytest.raises(ExecutionError, match=r"died 3 times over 2 molecules .* but of none of them alone"):
        map_rows(poison.dying_of_many, ["CC", "CCC"], POLICY)


def test_a_function_that_does_not_heed_refusals_is_an_error(always):
    with pytest.raises(ExecutionError, match="died 3 times over 2 molecules"):
        map_rows(poison.not_heeding, ["CC", CRASH], POLICY)


def test_workers_that_are_ended_from_outside_are_started_again(always):
    [[_, server]] = map_blocks(poison.process, ["C"], POLICY)
    timer = threading.Timer(0.3, os.killpg, (server, signal.SIGKILL))
    timer.start()
    values = [SLOW, "C", SLOW, "CC", SLOW, "CCC"]
    lengths = map_rows(poison.lengths_one_by_one, values, ParsePolicy(max_seconds=5))
    timer.join()
    assert lengths.tolist() == [len(value) for value in values]
    [[_, other]] = map_blocks(poison.process, ["C"], POLICY)
    assert other != server


def test_an_error_is_raised_as_it_was_with_where_it_came_from(always):
    with pytest.raises(OSError, match="No space left") as caught:
        map_rows(poison.raising, ["C", "CC"], POLICY)
    assert (caught.value.errno, caught.value.filename) == (28, "some file")
    assert "in raising" in caught.value.__notes__[0]


# What is kept


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_blocks_come_in_order_however_many_processes(n_jobs, always):
    values = poison.molecules(400)
    blocks = list(map_blocks(molecule_and_scaffold_hashes, values, POLICY, n_jobs=n_jobs, block_size=37))
    assert [len(block) for block in blocks] == [37] * 10 + [30]
    np.testing.assert_array_equal(np.concatenate(blocks), molecule_and_scaffold_hashes(values, POLICY))


def test_no_values_are_one_empty_block(always):
    assert [part.tolist() for part in map_blocks(poison.lengths_one_by_one, [], POLICY)] == [[]]


def test_blocks_are_not_taken_far_ahead(always):
    class Counted(list):
        taken = 0

        def __getitem__(self, key):
            Counted.taken = max(Counted.taken, key.stop)
            return super().__getitem__(key)

    blocks = map_blocks(poison.lengths_one_by_one, Counted("C" * n for n in range(1, 1_001)), POLICY, n_jobs=2, block_size=10)
    for number, _ in zip(range(1, 30), blocks, strict=False):
        assert Counted.taken <= (number + 4) * 10
    blocks.close()


def test_a_known_refusal_is_not_read_again(always):
    [[reason]] = map_blocks(refusal_reasons, ["C1CCC"], POLICY, refused={"C1CCC": "because"})
    assert reason == "because"


def test_a_refusal_is_its_own_reason():
    assert parse_molecule(Refusal("took longer than 20 s"), POLICY) == (None, "took longer than 20 s")
    assert parse_molecule("CC", POLICY)[1] == ""


# When it applies


def test_few_values_stay_in_this_process_and_many_or_large_ones_do_not():
    few, many = ["C"] * isolation.ISOLATED_FROM, ["C"] * (isolation.ISOLATED_FROM + 1)
    for values, policy, isolated in [
        (few, ParsePolicy(), False),
        (many, ParsePolicy(), True),
        (few, ParsePolicy(max_length=10_000), True),
        (few, ParsePolicy(max_heavy_atoms=2_000), True),
        (few, ParsePolicy(max_length=100, max_heavy_atoms=10), False),
    ]:
        [[worker, _], *_] = map_blocks(poison.process, values, policy, n_jobs=2)
        assert (worker != os.getpid()) == isolated


def test_the_time_limit_is_part_of_an_address_only_where_it_was_set():
    assert "max_seconds" not in ParsePolicy().as_dict()
    assert ParsePolicy(max_seconds=5.0).as_dict()["max_seconds"] == 5.0
    assert config_of(molecules={"max_seconds": 5.0}).molecules.policy() == ParsePolicy(max_seconds=5.0)


def test_what_reads_no_molecules_stays_in_this_process(always):
    class Texts(Dying):
        is_molecular = False

        def prepare(self, values, policy):
            seen.append(os.getpid())
            return super().prepare(values, policy)

    seen = []
    list(prepare_blocks([Texts()], ["C"], POLICY))
    assert seen == [os.getpid()]


# Nobody is left behind, and no value of the caller's is needed


def test_workers_are_used_again_and_go_when_told(always):
    [first], [second] = (list(map_blocks(poison.process, ["C"], POLICY)) for _ in range(2))
    assert first == second
    assert len(processes_of(first[1])) >= 2
    stop_idle_workers()
    wait_until(lambda: not processes_of(first[1]))


def test_cpu_time_of_workers_that_were_told_to_go_is_counted(always):
    def seconds(who):
        used = resource.getrusage(who)
        return used.ru_utime + used.ru_stime

    stop_idle_workers()
    before = seconds(resource.RUSAGE_CHILDREN)
    [spent] = map_blocks(poison.burn, ["C"], POLICY)
    stop_idle_workers()
    assert spent >= 0.3
    assert seconds(resource.RUSAGE_CHILDREN) - before >= spent


def test_workers_that_do_not_go_are_killed(always, monkeypatch):
    monkeypatch.setattr("molbt.data.worker_processes._FAREWELL_SECONDS", 0.2)
    [[worker, server]] = map_blocks(poison.process, ["C"], POLICY)
    os.kill(worker, signal.SIGSTOP)
    stop_idle_workers()
    wait_until(lambda: not processes_of(server))


def test_workers_go_by_themselves_when_nobody_asks(always, monkeypatch):
    monkeypatch.setattr("molbt.data.worker_processes.IDLE_SECONDS", 0.2)
    [[_, server]] = map_blocks(poison.process, ["C"], POLICY)
    wait_until(lambda: not processes_of(server))


def test_leaving_early_kills_what_is_under_way(always):
    stop_idle_workers()
    blocks = map_blocks(poison.process, ["C", "C"], POLICY, block_size=1)
    [_, server] = next(blocks)
    blocks.close()
    wait_until(lambda: not processes_of(server))


def test_a_fork_of_this_process_leaves_the_workers_alone(always):
    [[_, server]] = map_blocks(poison.process, ["C"], POLICY)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            stop_idle_workers()
            [[_, own]] = map_blocks(poison.process, ["C"], POLICY)
            stop_idle_workers()
            status = 0 if own != server else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    [[_, still]] = map_blocks(poison.process, ["C"], POLICY)
    assert still == server


SCRIPT = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background it is ignored
signal.signal(signal.SIGALRM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGALRM}})
sys.path.insert(0, {str(TESTS)!r})
import poison
from molbt.data import isolation
from molbt.data.molecules import ParsePolicy
isolation.ISOLATED_FROM = -1
[[_, server]] = isolation.map_blocks(poison.process, ["C"], ParsePolicy())
print(server, flush=True)
isolation.map_rows(poison.lengths_one_by_one, [poison.HANG], ParsePolicy(max_seconds=2.0), refused=(refused := {{}}))
print(refused, flush=True)
"""


def started(text: str) -> tuple[subprocess.Popen, int]:
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline())


def test_a_script_without_a_main_guard_may_call_it_and_leaves_nobody():
    process, server = started(SCRIPT)
    assert "took longer than 2 s" in process.communicate(timeout=60)[0]
    assert process.returncode == 0
    wait_until(lambda: not processes_of(server))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_caller_that_is_stopped_or_killed_leaves_nobody(number):
    process, server = started(SCRIPT)
    time.sleep(0.5)  # into the hang
    assert processes_of(server)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    wait_until(lambda: not processes_of(server))


def test_it_works_inside_a_daemonic_process_and_in_threads():
    script = """
        import multiprocessing, sys, threading
        sys.path.insert(0, {tests!r})
        import poison
        from molbt.data import isolation
        from molbt.data.molecules import ParsePolicy
        isolation.ISOLATED_FROM = -1

        def work(found):
            values = ["C", poison.CRASH, "CC"]
            found.append(isolation.map_rows(poison.lengths_one_by_one, values, ParsePolicy()).tolist())

        def daemonic():
            found = []
            threads = [threading.Thread(target=work, args=(found,)) for _ in range(2)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            sys.exit(0 if found == [[1, -1, 2]] * 2 else 5)

        process = multiprocessing.get_context("fork").Process(target=daemonic, daemon=True)
        process.start()
        process.join(60)
        sys.exit(process.exitcode)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script).format(tests=str(TESTS))], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()


def test_a_pool_is_lent_to_one_caller_at_a_time():
    stop_idle_workers()
    with workers(1) as first, workers(1) as second:
        assert first is not second
    stop_idle_workers()


# Through the package


def config_of(**sections):
    views = {"a": {"modality": "fingerprint", "kinds": ["ecfp4", "atom_pair"], "width": 256}, "b": {"like": "a", "drop": 0.1}}
    return RunConfig.from_dict({"views": views, "pairs": [["a", "b"]], "objectives": [{"name": "barlow_twins"}], **sections})


@pytest.fixture(scope="module")
def poisoned() -> list[str]:
    values = poison.molecules(130)
    for place, value in zip((3, 40, 66, 90, 129), POISON.values(), strict=True):
        values.insert(place, value)
    return values


@pytest.mark.parametrize("name", POISON)
def test_the_default_limits_refuse_each_poison(name):
    reason = parse_molecule(POISON[name], ParsePolicy())[1]
    assert reason.startswith(("longer than 5000 characters", "more than 1000 heavy atoms"))


def test_with_limits_raised_each_poison_costs_its_own_row_of_a_corpus(poisoned, tmp_path):
    corpus = prepare(poisoned, config_of(molecules=RAISED), directory=tmp_path / "poisoned", n_jobs=2)
    clean = prepare([text for text in poisoned if text not in POISON.values()], config_of(), directory=tmp_path / "clean")
    refused = read_quarantine(corpus)
    assert refused["row"].tolist() == [row for row, text in enumerate(poisoned) if text in POISON.values()]
    assert refused["reason"].str.contains("RDKit crashed on it|took longer than 1 s|memory|Can't kekulize").all(), refused[
        "reason"
    ].tolist()
    kept = [row for row, text in enumerate(poisoned) if text not in POISON.values()]
    view = config_of().views["a"]
    found, expected = (one.columns(view)["features"] for one in (corpus, clean))
    whole = found.gather(torch_index(kept))
    plain = expected.gather(torch_index(range(len(kept))))
    for field in whole.fields:
        np.testing.assert_array_equal(whole.fields[field].numpy(), plain.fields[field].numpy())
    np.testing.assert_array_equal(corpus.identities("smiles")[kept], clean.identities("smiles"))


def torch_index(rows):
    import torch

    return torch.tensor(list(rows))


def test_what_dies_in_a_pass_is_not_trained_on_and_a_resume_knows_it(tmp_path, always, monkeypatch):
    values = [*poison.molecules(40), CRASH]
    sections = {"pairs": [["a", "b"]], "objectives": [{"name": "barlow_twins"}]}
    with registered("modalities", dying=Dying):
        both = RunConfig.from_dict({"views": {"a": {"modality": "dying"}, "b": {"modality": "fingerprint", "width": 64}}, **sections})
        with monkeypatch.context() as patch:
            patch.setattr("molbt.data.shards._Columns.merge", interrupted)
            with pytest.raises(KeyboardInterrupt):
                prepare(values, both, directory=tmp_path / "c")
        with monkeypatch.context() as patch:
            patch.setattr("molbt.data.shards.prepare_numbered_blocks", interrupted)  # all shards are there
            corpus = prepare(values, both, directory=tmp_path / "c")
    died = [[40, "RDKit crashed on it (signal 11)"]]
    assert read_quarantine(corpus)[["row", "reason"]].values.tolist() == died
    assert json.loads(corpus.fatal_path("smiles").read_text()) == {CRASH: "RDKit crashed on it (signal 11)"}
    assert corpus.identities("smiles")[40].tolist() == [0, 0]
    # RDKit itself reads it: a view that is prepared later refuses it because it is known.
    prepare(values, config_of(), directory=tmp_path / "c")
    assert read_quarantine(corpus)[["row", "reason"]].values.tolist() == died
    assert len(Corpus.open(tmp_path / "c").samples(config_of())) == 40


def interrupted(*args, **kwargs):
    raise KeyboardInterrupt


def test_a_death_in_a_late_stage_is_laid_to_the_right_row(tmp_path, always, monkeypatch):
    monkeypatch.setattr("molbt.data.shards.SHARD_SIZE", 50)
    values = poison.molecules(120)
    values[7:7], values[77:77] = [CRASH], [HANG, EXIT]
    with registered("modalities", dying=Dying):
        config = RunConfig.from_dict(
            {
                "views": {"a": {"modality": "dying"}, "b": {"modality": "fingerprint", "width": 64}},
                "pairs": [["a", "b"]],
                "objectives": [{"name": "barlow_twins"}],
                "molecules": {"max_seconds": 1.0},
            }
        )
        corpus = prepare(values, config, directory=tmp_path / "c", n_jobs=2)
        refused = read_quarantine(corpus)
        atoms = corpus.columns(config.views["a"])["values"].values[:, 0].numpy()
    assert dict(zip(refused["row"], refused["reason"], strict=True)) == {7: REASONS[CRASH], 77: REASONS[HANG], 78: REASONS[EXIT]}
    assert np.flatnonzero(np.isnan(atoms)).tolist() == [7, 77, 78]
    assert not list((tmp_path / "c" / "prepared").glob("*.shards"))


def test_hashes_are_those_of_one_process(always):
    values = [*poison.molecules(100), "no SMILES"]
    np.testing.assert_array_equal(hash_values(values, POLICY, n_jobs=2), molecule_and_scaffold_hashes(values, POLICY))
