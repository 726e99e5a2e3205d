"""A process that trains and is killed: by its parent at some moment, or by itself at some operation on files, within a write too."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import safetensors.torch
import torch._dynamo  # noqa: F401 (what an optimiser imports: once, before the processes part)

import ardtool
import ardtool.commands.train
from ardtool.commands import train_checkpoints

__all__ = ["Kills", "train_with_kills"]

LONGEST_WAIT = 0.4  # seconds, about as many epochs as a process has time for
MOST_OPERATIONS = 60


@dataclass
class Kills:
    """What happened: processes killed by their parent, and by themselves at which operation."""

    from_outside: int = 0
    at: dict[str, int] = field(default_factory=dict)
    runs: int = 0

    @property
    def count(self) -> int:
        return self.from_outside + sum(self.at.values())


class _Told:
    """Tells the parent when the steps begin."""

    def __init__(self, parent: Connection) -> None:
        self._parent = parent

    def started(self, run: Any, folder: Path) -> None:
        self._parent.send("started")

    def stepped(self, done: int, steps: int) -> None: ...

    def epoch_ended(self, record: Any) -> None: ...

    def noted(self, text: str) -> None: ...


class _Countdown:
    """Kills this process before or after an operation on files, when so many were made."""

    def __init__(self, operations: int, parent: Connection) -> None:
        self._left, self._parent = operations, parent

    def watch(self, module: Any, name: str) -> None:
        work: Callable[..., Any] = getattr(module, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            self._count(f"before {name}")
            if name == "save_file" and self._left == 1:
                _half(work, *arguments, **options)
                self._count("within save_file")
            result = work(*arguments, **options)
            self._count(f"after {name}")
            return result

        setattr(module, name, watched)

    def _count(self, moment: str) -> None:
        self._left -= 1
        if self._left == 0:
            self._parent.send(moment)
            os.kill(os.getpid(), signal.SIGKILL)


def _half(save: Callable[..., Any], tensors: Any, path: Path, **options: Any) -> None:
    """What a write has done in the middle of it."""
    save(tensors, path, **options)
    os.truncate(path, os.path.getsize(path) // 2)


def _child(settings: dict[str, Any], operations: int | None, parent: Connection) -> None:
    train_checkpoints.SECONDS, train_checkpoints.SHARE = 0.0, float("inf")  # a checkpoint after every epoch, however short
    if operations is not None:
        countdown = _Countdown(operations, parent)
        for module, name in ((safetensors.torch, "save_file"), (os, "fsync"), (os, "replace"), (tempfile, "mkstemp"), (shutil, "rmtree")):
            countdown.watch(module, name)
    ardtool.train(**settings, resume=True, checkpoint_minutes=1e-9, observer=_Told(parent))
    parent.send("finished")


def train_with_kills(settings: dict[str, Any], folders: Callable[[int], Path], kills: int, seed: int) -> Kills:
    """Train runs of the same settings, killed again and again and continued, until `kills` were made and the last run is finished.

    Arguments:
        folders: the run folder of each run by its number.
        seed: of the moments.
    """
    context = _server()
    draw, done = random.Random(seed), Kills()
    while True:
        ours, theirs = context.Pipe()
        spared = done.count >= kills
        operations = None if spared or draw.random() < 0.5 else draw.randint(1, MOST_OPERATIONS)
        child = context.Process(target=_child, args=(settings | {"out": folders(done.runs)}, operations, theirs))
        child.start()
        theirs.close()
        last = _await(ours, None if spared or operations else LONGEST_WAIT * draw.random(), child)
        if child.exitcode == 0:
            done.runs += 1
            if spared:
                return done
        elif child.exitcode != -signal.SIGKILL:
            raise AssertionError(f"the process ended by itself with {child.exitcode} after {done}")
        elif operations:
            done.at[last] = done.at.get(last, 0) + 1
        else:
            done.from_outside += 1


def _server() -> Any:
    """Makes processes that have imported this module already: a fork of one that has."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([Path(__file__).stem])
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), before)))  # its sys.path is not ours
    try:
        forkserver.ensure_running()
    finally:
        os.environ["PYTHONPATH"] = before
    return context


def _await(child_says: Connection, seconds: float | None, child: Any) -> str:
    """Wait for the child's end, or kill it so many seconds after its steps began; returns its last word."""
    last = ""
    try:
        last = child_says.recv()
        if seconds is not None and last == "started" and not child_says.poll(seconds):
            child.kill()
        while True:
            last = child_says.recv()
    except EOFError:
        child.join()
    return last
