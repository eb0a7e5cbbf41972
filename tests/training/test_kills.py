"""A run that is killed at any place, also while it resumes, ends with the same bits as one that nothing disturbed."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import Places, kill_at
from small_run import assert_same_run, in_child, small_config

from molbt.data.corpus import Corpus
from molbt.training.trainer import pretrain

# What must be among the places: before, amid and after each write, sync, rename and removal, and each step of the optimiser.
KINDS = {
    *("before open", "amid write", "before fsync", "after fsync", "before replace", "after replace", "before unlink", "after unlink"),
    *("before mkdir", "after mkdir", "before step", "amid step", "after step", "before to_tensors", "after to_tensors"),
}


@pytest.fixture(scope="module")
def places(corpus: Corpus, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The name of every place where a run with this configuration can be killed."""
    run = tmp_path_factory.mktemp("counted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        passed = Places(patch)
        pretrain(corpus, run, config=small_config())
    assert_same_run(run, whole)  # numbering changes nothing
    assert set(passed.names) == KINDS
    assert passed.names.count("amid step") == 12
    return passed.names


def run_and_kill(corpus: Corpus, run: Path, place: int) -> int:
    """Run, or resume, until the place; return how the process ended."""

    def until_killed() -> None:
        with pytest.MonkeyPatch.context() as patch:
            Places(patch, kill_at(place))
            pretrain(corpus, run, config=small_config(), resume=True)

    return in_child(until_killed)


def check(corpus: Corpus, whole: Path, run: Path, place: int, *, again: int | None = None) -> None:
    assert run_and_kill(corpus, run, place) == -signal.SIGKILL, place
    if again is not None:  # a resumed run has fewer places: it may come to its end
        assert run_and_kill(corpus, run, again) in (0, -signal.SIGKILL)
    pretrain(corpus, run, config=small_config(), resume=True)
    assert_same_run(run, whole)


def test_run_killed_at_one_place_of_each_kind_resumes_bit_identically(corpus, whole, tmp_path, places):
    draw = random.Random(20240611)
    chosen = [draw.choice([number for number, name in enumerate(places, 1) if name == kind]) for kind in sorted(KINDS)]
    # The fourth file is run.json, which nothing later makes anew.
    description = [number for number, name in enumerate(places, 1) if name == "amid write"][3]
    for number in [1, description, *chosen, len(places)]:
        check(corpus, whole, tmp_path / str(number), number)


def test_run_killed_again_while_it_resumes_ends_bit_identically(corpus, whole, tmp_path, places):
    draw = random.Random(7)
    for attempt in range(4):
        check(corpus, whole, tmp_path / str(attempt), draw.randint(1, len(places)), again=draw.randint(1, len(places) // 2))


@pytest.mark.slow
def test_run_killed_at_any_place_resumes_bit_identically(corpus, whole, tmp_path, places):
    draw = random.Random(1)
    for number in range(1, len(places) + 1):
        again = draw.randint(1, len(places) // 2) if number % 3 == 0 else None
        check(corpus, whole, tmp_path / str(number), number, again=again)


def killed_at_random(corpus: Corpus, whole: Path, run: Path, seeds: Iterator[int]) -> int:
    """Kill a run and its resumptions after random times, until one comes to its end; return the number of kills."""
    kills = 0
    for seed in seeds:
        seconds = random.Random(seed).uniform(0.02, 0.4)
        status = in_child(lambda: pretrain(corpus, run, config=small_config(), resume=True), kill_after=seconds)
        assert status in (0, -signal.SIGKILL)
        if status == 0:
            break
        kills += 1
    pretrain(corpus, run, config=small_config(), resume=True)
    assert_same_run(run, whole)
    return kills


def test_run_killed_at_random_moments_resumes_bit_identically(corpus, whole, tmp_path):
    killed_at_random(corpus, whole, tmp_path / "run", iter(range(4)))


@pytest.mark.slow
def test_run_killed_at_many_random_moments_resumes_bit_identically(corpus, whole, tmp_path):
    kills = [killed_at_random(corpus, whole, tmp_path / str(run), iter(range(100 * run, 100 * run + 8))) for run in range(40)]
    assert sum(kills) >= 40
