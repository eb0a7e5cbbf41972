"""Memory kept between steps: counted in page faults, not in time, in a process whose heap has no holes of other tests."""

import ctypes
import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library here is not glibc")

PROGRAM = """
import contextlib, json, resource
import torch
from molbt.training.allocation import kept_memory

PAGE = resource.getpagesize()

def faults(megabytes):
    "Smallest share of its pages that a block faults in, of a few like it: the first ones may still find the heap cut up."
    shares = []
    for _ in range(12):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(megabytes << 18)
        shares.append((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / ((megabytes << 20) // PAGE))
    return min(shares)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE

found = {"before": faults(64)}
with kept_memory():
    found["inside"] = faults(64)
    torch.ones(64 << 20)  # 256 MiB
    found["kept"] = resident()
found["given_back"] = found["kept"] - resident()
# Larger than any hole that is left in the heap, so that the setting decides.
found["after"] = faults(512)
with contextlib.suppress(KeyError), kept_memory():
    raise KeyError
found["after_an_error"] = faults(512)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, float]:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True)
    return json.loads(result.stdout)


def test_a_freed_block_is_taken_again_without_page_faults(found):
    assert found["inside"] < 0.1
    assert found["before"] > 0.5  # mapped anew each time: without this the line above would show nothing


def test_the_settings_are_put_back(found):
    assert found["after"] > 0.5
    assert found["after_an_error"] > 0.5


def test_what_was_kept_is_given_back(found):
    assert found["given_back"] > 200 << 20
