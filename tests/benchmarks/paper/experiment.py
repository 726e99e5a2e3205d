"""What the tables of docs/results.md have in common: cases that are run once, a record for each, and a page made from the records.

An experiment is a module with

    NAME            of its file in docs/results/paper/ and of its place in the page
    cases(scale, seeds)     one dict for each run, all that decides its result, of seeds 0 to seeds - 1
    measure(case)           a dict with what came out
    tables(records)         Markdown, from the records of one scale
    OPTIONS                 what its command needs beside --scale, if anything

`main(module)` gives it a command line. A run is made once: it is looked up by its case, so a script that was stopped goes on where it was,
and a changed setting is a new case. Every record says how long it took, when, on what machine and with which version.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import runpy
import statistics
import time
import traceback
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = [
    "FOLDER",
    "NOT_CONVERGED",
    "SCALES",
    "counted",
    "history_of",
    "main",
    "mark",
    "page_part",
    "plus_minus",
    "read",
    "still_falling",
    "table",
    "where",
    "whole_counts",
]

FOLDER = Path(__file__).parents[3] / "docs" / "results" / "paper"
SCALES = {"small": 1, "full": 5}  # and how many seeds each has unless --seeds asks for more
FALLING = 0.01  # of the loss, an epoch
NOT_CONVERGED = "\\* not converged: the validation loss of a run still fell by more than 1 % an epoch."


def main(module: ModuleType | Any) -> None:
    """The command line of an experiment."""
    parser = argparse.ArgumentParser(description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--seeds", type=int, help="how many, from 0; what is recorded of more is kept (default: small 1, full 5)")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each on a CPU")
    parser.add_argument("--only", default="", help="cases that hold this text, e.g. 'method=rae'")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--data-root", type=Path, help="folder of data sets")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if options.data_root is not None:
        os.environ["ARDTOOL_DATA"] = str(options.data_root)
    path = options.folder / f"{module.NAME}_{options.scale}.json"
    records = run_missing(module, options.scale, options.seeds or SCALES[options.scale], path, options.processes, options.only)
    print(module.tables(records) if records else "Nothing is measured yet.")


def run_missing(module: Any, scale: str, seeds: int, path: Path, processes: int, only: str) -> list[dict[str, Any]]:
    """Run what the file lacks; returns the records of all cases that are there now, in the order of the cases."""
    records = read(path)
    cases = module.cases(scale, max(seeds, seeds_of(records)))
    known = {key(record["case"]): record for record in records}

    def current() -> list[dict[str, Any]]:
        return [known[key(case)] for case in cases if key(case) in known]

    todo = [case for case in cases if key(case) not in known and case["seed"] < seeds and only in described(case)]
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        for record in pool.imap_unordered(partial(measured, module.__file__), todo):
            if "error" not in record:  # else it is tried again by the next call
                known[key(record["case"])] = record
            told = described(record["case"]), f"{record['seconds']} s", record.get("error", "")
            print(f"{len(current())} of {len(cases)}", *told, sep="  ", flush=True)
            write(path, current())
    return current()


def read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text()) if path.exists() else []


def seeds_of(records: Iterable[dict[str, Any]]) -> int:
    """How many seeds, from 0, records need."""
    return 1 + max((record["case"]["seed"] for record in records), default=-1)


def write(path: Path, records: list[dict[str, Any]]) -> None:
    """The whole file, or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(record) for record in records)
    draft = path.with_suffix(".draft")
    draft.write_text(f"[\n{lines}\n]\n")
    draft.replace(path)


def measured(script: str, case: dict[str, Any]) -> dict[str, Any]:
    """The record of one case by the script at a path; runs in a process of its own, which main() gave one thread."""
    module = runpy.run_path(script)
    began = time.perf_counter()
    try:
        found = module["measure"](case)
    except Exception as error:
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {error}"}
    return {"case": case, **found, "seconds": round(time.perf_counter() - began, 1), **surroundings()}


def surroundings() -> dict[str, Any]:
    """When, where and with what."""
    import torch

    import ardtool

    if torch.cuda.is_available():
        machine = torch.cuda.get_device_name()
    else:
        machine = f"{os.cpu_count()} CPU cores ({platform.machine()})"
    return {"date": f"{datetime.date.today()}", "machine": machine, "torch": torch.__version__, "ardtool": ardtool.__version__}


def key(case: dict[str, Any]) -> str:
    return json.dumps(case, sort_keys=True)


def described(case: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in case.items())


def still_falling(history: Sequence[dict[str, Any]]) -> bool:
    """Whether the validation loss still falls by more than 1 % an epoch, on average over the last tenth of the epochs, at least two."""
    losses = [epoch["validation"]["loss"] for epoch in history]
    span = min(max(2, len(losses) // 10), len(losses) - 1)
    before, last = losses[-1 - span], losses[-1]
    return (before - last) > FALLING * abs(last) * span


def history_of(run: Path) -> list[dict[str, Any]]:
    """The records of a run's epochs."""
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def mark(runs: Iterable[dict[str, Any]]) -> str:
    """What a row carries of which a run had not converged; NOT_CONVERGED says so below the table."""
    return " \\*" if any(run.get("falling") for run in runs) else ""


def counted(runs: Sequence[dict[str, Any]]) -> str:
    """The active axes of runs."""
    return whole_counts(run["axes"] for run in runs)


def whole_counts(values: Iterable[float | None]) -> str:
    """Mean ± sample standard deviation of counts, with a digit behind the point only where they differ or are no whole numbers."""
    known = [value for value in values if value is not None]
    return plus_minus(known, 0 if len(set(known)) < 2 and not any(value % 1 for value in known) else 1)


def plus_minus(values: Iterable[float | None], digits: int = 2) -> str:
    """Mean ± sample standard deviation over runs; one value alone, and a dash for none."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = f"{statistics.mean(known):.{digits}f}"
    return mean if len(known) == 1 else f"{mean} ± {statistics.stdev(known):.{digits}f}"


def where(records: Iterable[dict[str, Any]], **values: Any) -> list[dict[str, Any]]:
    """The records whose case has these values."""
    return [record for record in records if all(record["case"].get(name) == value for name, value in values.items())]


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    return "\n".join(["| " + " | ".join(map(str, row)) + " |" for row in (header, ["---"] * len(header), *rows)])


def page_part(module: Any) -> str:
    """What docs/results.md holds of an experiment: of each scale the command, when and where, and the tables."""
    parts = []
    for scale in SCALES:
        records = read(FOLDER / f"{module.NAME}_{scale}.json")
        more = f" --seeds {seeds_of(records)}" if seeds_of(records) > SCALES[scale] else ""
        command = f"    python tests/benchmarks/paper/{module.NAME}.py --scale {scale}{more}{getattr(module, 'OPTIONS', '')}"
        if not records:
            parts.append(f"### {scale.capitalize()} scale\n\n{command}\n\nNot measured.")
            continue
        dates = sorted({record["date"] for record in records})
        spent = sum(record["seconds"] for record in records)
        missing = len(module.cases(scale, SCALES[scale])) - len([run for run in records if run["case"]["seed"] < SCALES[scale]])
        machines = ", ".join(sorted({record["machine"] for record in records}))
        told = (
            f"Recorded {' to '.join(dict.fromkeys((dates[0], dates[-1])))} on {machines}: {len(records)} runs, "
            f"{spent / 60:.0f} minutes of one thread in all, {_seeds(records)}"
            + (f"; {missing} runs are not measured." if missing else ".")
        )
        parts.append(f"### {scale.capitalize()} scale\n\n{command}\n\n{told}\n\n{module.tables(records)}")
    return "\n\n".join(parts)


def _seeds(records: Sequence[dict[str, Any]]) -> str:
    seeds = sorted({record["case"]["seed"] for record in records})
    return f"seeds {seeds[0]} to {seeds[-1]} (a value without ± has one)" if len(seeds) > 1 else f"one seed ({seeds[0]}) and so without ±"
