"""Runs a script on a small file system of its own, which is there for as long as the script runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

__all__ = ["can_mount", "run_on_small_disk"]

MOUNT = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'


@cache
def can_mount() -> bool:
    """Whether this system lets its users mount file systems in a name space of their own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"], capture_output=True).returncode == 0


def run_on_small_disk(folder: Path, size: str, script: str, *arguments: str) -> str:
    """What a Python script prints that sees an empty file system of `size` in `folder`; its errors are shown where it fails."""
    command = ["unshare", "-rm", "sh", "-c", MOUNT, "sh", size, str(folder), sys.executable, "-c", script, str(folder), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder.parent)
    assert result.returncode == 0, result.stderr
    return result.stdout
