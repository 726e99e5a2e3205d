"""Freed memory is kept where nothing limits it, and given back where something does."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

import ardtool.cli.relevance
from ardtool.cli.allocator import USERS_OWN, give_freed_memory_back, keep_freed_memory

MIB = 2**20
HELD = f"""
import ctypes, os, sys
from ardtool.cli.allocator import give_freed_memory_back, keep_freed_memory
for way in sys.argv[1:]:
    assert {{"keep": keep_freed_memory, "give back": give_freed_memory_back}}[way]()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
held = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = held()
blocks = [libc.malloc({24 * MIB}) for _ in range(4)]
for block in blocks:
    libc.memset(ctypes.c_void_p(block), 1, {24 * MIB})
for block in blocks:
    libc.free(ctypes.c_void_p(block))
print(held() - before)
"""


def held_after_freeing(*ways: str) -> int:
    """Bytes that a fresh process still holds of 96 MiB that it has freed."""
    own = {name: value for name, value in os.environ.items() if name not in USERS_OWN}
    return int(subprocess.run([sys.executable, "-c", HELD, *ways], env=own, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not the GNU C library")
def test_freed_memory_is_kept_until_it_is_to_be_given_back():
    assert held_after_freeing() < 10 * MIB, "the law says nothing where memory is kept anyway"
    assert held_after_freeing("keep") > 90 * MIB
    assert held_after_freeing("keep", "give back") < 10 * MIB


def test_a_limit_on_memory_has_it_given_back(monkeypatch):
    class Told(Exception):
        pass

    def told() -> bool:
        raise Told

    monkeypatch.setattr(ardtool.cli.relevance, "give_freed_memory_back", told)
    with pytest.raises(Told):
        ardtool.cli.relevance.relevance(max_memory="2GiB")


def test_what_the_user_has_tuned_stays(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert not keep_freed_memory() and not give_freed_memory_back()


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch):
    for name in USERS_OWN:
        monkeypatch.delenv(name, raising=False)
    asked = []
    monkeypatch.setattr("ctypes.CDLL", lambda name: asked.append(name) or object())
    assert not keep_freed_memory()
    assert asked or sys.platform != "linux"
