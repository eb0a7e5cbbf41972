"""Memory kept between steps: counted in page faults, not in time."""

import ctypes
import resource

import pytest
import torch

from molbt.training.allocation import kept_memory

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library here is not glibc")

N_PAGES = (64 << 20) // resource.getpagesize()


def page_faults_of_a_block() -> int:
    """Page faults of making 64 MiB of ones and freeing them, once that was done a few times."""
    for _ in range(4):
        torch.ones(16 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_a_freed_block_is_taken_again_without_page_faults():
    with kept_memory():
        assert page_faults_of_a_block() < N_PAGES // 10
    # Outside the block each allocation of this size is mapped anew: without this the test above would show nothing.
    assert page_faults_of_a_block() > N_PAGES // 2


def test_the_settings_are_put_back_after_an_error():
    with pytest.raises(KeyError), kept_memory():
        raise KeyError
    assert page_faults_of_a_block() > N_PAGES // 2


def test_what_was_kept_is_given_back():
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    with kept_memory():
        torch.ones(64 << 20)  # 256 MiB
        kept = resident()
    assert resident() < kept - (200 << 20)
