"""Freed memory is kept: what is freed and asked for again costs no page faults."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ardtool.cli.allocator import USERS_OWN, keep_freed_memory

BLOCK, BLOCKS = 24 * 2**20, 4
AGAIN = f"""
import ctypes, resource, sys
from ardtool.cli.allocator import keep_freed_memory
kept = sys.argv[1] == "kept" and keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc({BLOCK}) for _ in range({BLOCKS})]
    for block in blocks:
        libc.memset(ctypes.c_void_p(block), 1, {BLOCK})
    for block in blocks:
        libc.free(ctypes.c_void_p(block))
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(int(kept), faults)
"""


def kept_and_faults(way: str, **environment: str) -> tuple[bool, int]:
    """Whether memory was kept, and the page faults of asking for the same blocks a third time."""
    own = {name: value for name, value in os.environ.items() if name not in USERS_OWN}
    done = subprocess.run([sys.executable, "-c", AGAIN, way], env=own | environment, capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    return kept == "1", int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has the GNU C library")
def test_memory_that_was_freed_costs_nothing_when_it_is_asked_for_again():
    kept, faults = kept_and_faults("kept")
    assert kept and faults < 100
    kept, faults = kept_and_faults("freed")
    assert not kept and faults > 1000, "the law says nothing where memory is kept anyway"


def test_what_the_user_has_tuned_stays(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert not keep_freed_memory()


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert not keep_freed_memory()
