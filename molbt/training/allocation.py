"""Memory that a step frees and the next one needs again."""

import contextlib
import ctypes
from collections.abc import Iterator

# Parameters of glibc's mallopt, see malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 1 << 30
# Where glibc's own adjustment ends (DEFAULT_MMAP_THRESHOLD_MAX), and twice that, as it sets the other.
_GLIBC_MMAP, _GLIBC_TRIM = 32 << 20, 64 << 20


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Let the C library keep freed blocks of up to 1 GiB for the next allocation, within the block.

    Blocks above 32 MiB, such as the gradient of the default encoder's first layer, otherwise go back to the system at each step and are
    mapped, zeroed and paged in anew at the next. What was kept is given back at the end. Results do not depend on it. Without glibc
    (macOS, musl) it does nothing.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _KEPT)
    libc.mallopt(_TRIM_THRESHOLD, 2 * _KEPT - 1)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _GLIBC_MMAP)
        libc.mallopt(_TRIM_THRESHOLD, _GLIBC_TRIM)
        libc.malloc_trim(0)
