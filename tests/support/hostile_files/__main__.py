"""Hostile files: small valid ones of every kind that ardtool reads, what bit flips and forgers make of them, and what reading them did.

    python tests/support/hostile_files --each 140 --seed 1

reads that many mutants of every kind in one process and prints a table: how many were read, how many refused, seconds, memory.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if not __package__:  # run as a folder
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

from ardtool.commands.inspect import inspect
from ardtool.errors import ArdtoolError
from hostile_files.forged import crafted
from hostile_files.kinds import FOREIGN, KINDS, seeds
from hostile_files.makers import image
from hostile_files.mutants import mutants

CANARY = "canary"
NOT_INSPECTED = ("latest", "metrics", "celeba list", "image cache")


@dataclass
class Outcome:
    """What reading files of a kind did; at most in MiB `memory` of the process and `growth` while it read a file; CPU seconds."""

    read: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    memory: int = 0
    growth: int = 0
    problems: list[str] = field(default_factory=list)
    sentences: Counter[str] = field(default_factory=Counter)

    @property
    def files(self) -> int:
        return self.read + self.refused + len(self.problems)


def read_all(folder: Path, each: int, seed: int, kinds: list[str] | None = None, with_crafted: bool = True) -> dict[str, Outcome]:
    """Read `each` mutants of every kind, and what forgers make, in this process; what is wrong is listed as problems."""
    watch = _Watch()
    made = folder / "made"
    made.mkdir()
    contents = seeds(made)
    canary = folder / CANARY
    outcomes = {kind: Outcome() for kind in (kinds or KINDS)}
    draw = random.Random(seed)
    files = [(kind, f"mutant {k}", mutant) for kind in outcomes for k, mutant in enumerate(mutants(contents[kind], each, draw))]
    more = (file for file in crafted(contents, canary) if file[0] in outcomes) if with_crafted else ()
    for number, (kind, name, content) in enumerate([*((kind, "itself", contents[kind]) for kind in outcomes), *files]):
        _read_one(folder / str(number), kind, name, content, contents, outcomes[kind], watch)
    for number, (kind, name, content) in enumerate(more):
        _read_one(folder / f"c{number}", kind, name, content, contents, outcomes[kind], watch)
    if canary.exists():
        next(iter(outcomes.values())).problems.append("a payload was carried out")
    return outcomes


def _read_one(folder: Path, kind: str, name: str, content: bytes, contents: dict[str, bytes], outcome: Outcome, watch: _Watch) -> None:
    place, read = KINDS[kind]
    path = folder / place
    path.parent.mkdir(parents=True)
    _write_beside(path, kind, contents)
    path.write_bytes(content)
    reset_peak()
    before = peak_memory()
    began = time.process_time()
    try:
        for reader in (read,) if kind in NOT_INSPECTED else (read, inspect):
            with warnings.catch_warnings(), watch:
                warnings.simplefilter("ignore")
                value = reader(path)
            if reader is read and kind not in FOREIGN:
                _check_numbers(value)
        outcome.read += 1
    except ArdtoolError as error:
        outcome.refused += 1
        if name == "itself":
            outcome.problems.append(f"a whole file is refused: {error}")
        outcome.sentences[str(error).replace(str(folder), "…")[:70]] += 1
        if "\n" in str(error) or not error.message.isprintable() or len(str(error)) > 2000:
            outcome.problems.append(f"{name}: no plain line: {str(error)[:200]!r}")
            outcome.refused -= 1
    except BaseException as error:
        outcome.problems.append(f"{name}: {type(error).__name__}: {str(error)[:150]}")
        if isinstance(error, KeyboardInterrupt):
            raise
    seconds = time.process_time() - began
    peak = peak_memory()
    outcome.memory, outcome.growth = max(outcome.memory, peak), max(outcome.growth, peak - before)
    outcome.seconds += seconds
    outcome.slowest = max(outcome.slowest, seconds)
    if seconds > 5:
        outcome.problems.append(f"{name}: took {seconds:.1f} s")
    if watch.seen:
        outcome.problems.append(f"{name}: side effects: {watch.seen[:3]}")
        watch.seen.clear()
    shutil.rmtree(folder)


def _write_beside(path: Path, kind: str, contents: dict[str, bytes]) -> None:
    """What else must be there for a file of this kind to be read."""
    if kind in ("png", "jpeg"):
        (path.parent / f"1{path.suffix}").write_bytes(image(np.eye(28, dtype=np.uint8), "PNG" if kind == "png" else "JPEG"))
    if kind == "metrics":
        (path.parent / "model.safetensors").write_bytes(contents["model"])
    if kind == "celeba list":
        (path.parent / "img_align_celeba").mkdir()
        for number in range(1, 5):
            photo = image(np.full((218, 178, 3), number, np.uint8), "JPEG")
            (path.parent / "img_align_celeba" / f"00000{number}.jpg").write_bytes(photo)


def _check_numbers(value: Any) -> None:
    """What was read is finite."""
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]:
        if isinstance(each, np.ndarray) and each.dtype.kind == "f":
            assert np.isfinite(each).all(), "numbers that are not finite were read"
        if isinstance(each, torch.Tensor) and each.is_floating_point():
            assert bool(torch.isfinite(each.float()).all()), "numbers that are not finite were read"


class _Watch:
    """Notes what reading a file must not do: start programs, open connections, write files."""

    BANNED = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "socket.connect", "ctypes.dlopen", "os.remove", "os.rename")

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._on = False
        sys.addaudithook(self._hook)

    def __enter__(self) -> None:
        self._on = True

    def __exit__(self, *_: object) -> None:
        self._on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+") and not isinstance(arguments[0], int)
        if event in self.BANNED or (writes and not str(arguments[0]).endswith((".pyc", "/dev/null")) and ".pyc." not in str(arguments[0])):
            self.seen.append(f"{event} {arguments[:2]}")


def reset_peak() -> None:
    """Let `peak_memory` count from now on."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_memory() -> int:
    """The most memory that this process has held since `reset_peak`, in MiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) // 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--each", type=int, default=140)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS))
    parser.add_argument("--sentences", action="store_true")
    options = parser.parse_args()
    os.environ["ARDTOOL_CACHE"] = "off"
    with tempfile.TemporaryDirectory() as folder:
        outcomes = read_all(Path(folder), options.each, options.seed, options.kinds)
    print("| files | number | read | refused | wrong | CPU seconds | slowest | growth MiB |\n|---|---|---|---|---|---|---|---|")
    for kind, one in outcomes.items():
        cells = (kind, one.files, one.read, one.refused, len(one.problems), f"{one.seconds:.1f}", f"{one.slowest:.2f}", one.growth)
        print(f"| {' | '.join(map(str, cells))} |")
    total = sum(one.files for one in outcomes.values())
    wrong = sum(len(one.problems) for one in outcomes.values())
    print(f"\n{total} files, {wrong} wrong; the process peaked at {max(one.memory for one in outcomes.values())} MiB while it read")
    for kind, one in outcomes.items():
        for problem in one.problems[:12]:
            print(f"WRONG {kind}: {problem}")
        if options.sentences:
            for sentence, count in one.sentences.most_common(6):
                print(f"      {kind}: {count} × {sentence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
