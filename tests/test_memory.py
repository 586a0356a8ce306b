"""The allocator in training: measured in page faults, which no other process can disturb."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from qdt_rl.memory import keep_freed_memory

def faults(n=20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        arrays = [torch.ones(3 * 2**22) for _ in range(2)]  # 48 MB each: above what malloc keeps by itself
        del arrays
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / n

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

faults()
outside = faults()
before = resident()
with keep_freed_memory():
    faults()
    inside = faults()
held = resident() - before
print(outside, inside, faults(), held)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it asks glibc")
def test_memory_that_is_freed_in_training_is_kept_and_given_back_at_the_end():
    run = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    outside, inside, after, held = map(float, run.stdout.split())
    assert inside < 100 < outside
    assert after > 100
    assert held < 20e6, "the arrays are still there"


def test_it_does_nothing_where_the_c_library_is_another(monkeypatch):
    from qdt_rl.memory import keep_freed_memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", None)
    with keep_freed_memory():
        pass
