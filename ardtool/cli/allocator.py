"""Memory that was freed is kept for what comes next.

The GNU C library hands large blocks back to the system as soon as they are free, and the system clears them again, page by page, when the
next step asks for them: up to a quarter of a training step on a CPU (docs/performance.md). A process that keeps them may hold somewhat more
than it needs at any time, so a command with a limit on its memory gives them back.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

__all__ = ["give_freed_memory_back", "keep_freed_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
FROM_THE_HEAP = 2**30, 2**25  # larger blocks are not kept; older versions of the library refuse the first limit
KEPT = 2**31 - 1
USUAL = 2**17  # both thresholds of the library itself
USERS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory, for the whole process; returns whether it did.

    Nothing happens where the user has tuned the allocator by environment variables, and where there is no `mallopt`.
    """
    mallopt = _mallopt()
    return mallopt is not None and any(mallopt(MMAP_THRESHOLD, size) for size in FROM_THE_HEAP) and bool(mallopt(TRIM_THRESHOLD, KEPT))


def give_freed_memory_back() -> bool:
    """The opposite, from now on; returns whether the C library was told."""
    mallopt = _mallopt()
    return mallopt is not None and bool(mallopt(MMAP_THRESHOLD, USUAL)) and bool(mallopt(TRIM_THRESHOLD, USUAL))


def _mallopt() -> Any:
    """The function, or None where it is not to be called."""
    if sys.platform != "linux" or any(name in os.environ for name in USERS_OWN):
        return None
    try:
        return ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return None
