"""The memory allocator while a model trains."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_MIB = 2**20


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Let the C library keep what is freed inside, and return it to the system at the end.

    An update allocates and frees the same hundreds of megabytes. By default glibc returns them each time, and
    the kernel clears every page anew: 20,000 page faults and a third of the time of an update in bfloat16.
    Elsewhere than on glibc this does nothing. The thresholds are the process's, not the thread's; glibc
    cannot adjust them by itself any more after they were set, so that they end at the largest that it would
    choose.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    if not libc.mallopt(_MMAP_THRESHOLD, 1024 * _MIB):  # refused by glibc before 2.35
        libc.mallopt(_MMAP_THRESHOLD, 32 * _MIB)
    libc.mallopt(_TRIM_THRESHOLD, 2047 * _MIB)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, 32 * _MIB)
        libc.mallopt(_TRIM_THRESHOLD, 64 * _MIB)
        libc.malloc_trim(0)
