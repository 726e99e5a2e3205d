"""Count latent axes on data whose number of factors is known, with one β, one threshold and one network for each kind of data.

    python tests/benchmarks/known_truth.py sprites --out docs/results/known_truth_sprites.json    20 runs
    python tests/benchmarks/known_truth.py vectors --out docs/results/known_truth_vectors.json    45 runs
    python tests/benchmarks/known_truth.py vectors --first-seed 100 --units 1                     15 runs on seeds that chose nothing
    python tests/benchmarks/known_truth.py steep                                                  5 runs, reported only

Runs go through the library with all defaults, two processes at a time with one thread each. Prints a Markdown table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

COLUMNS, LATENT, SAMPLES, NOISE = 32, 16, 3000, 0.1


def sprites_cases(first: int) -> list[dict[str, Any]]:
    return [
        {"data": f"sprites-{k}", "latent": latent, "seed": seed, "truth": k} for k in range(2, 7) for latent in (8, 16) for seed in (0, 1)
    ]


def vector_cases(folder: Path, first: int, units: list[float]) -> list[dict[str, Any]]:
    """x = W z + noise in 32 dimensions, singular values of W within a factor of 2, noise 10 % of the signal's standard deviation."""
    import numpy as np

    cases = []
    for rank in (2, 5, 10):
        for seed in range(first, first + 5):
            x = linear_data(rank, seed, np.linspace(1, 2, rank))
            for unit in units:
                path = folder / f"rank{rank}-seed{seed}-unit{unit:g}.npy"
                np.save(path, (x * unit).astype(np.float32))
                cases.append({"data": str(path), "latent": LATENT, "seed": seed, "truth": rank, "unit": unit})
    return cases


def steep_cases(folder: Path, first: int) -> list[dict[str, Any]]:
    """Ten directions whose singular values fall geometrically from 1 to 1/50: there is no right answer, the count is reported."""
    import numpy as np

    cases = []
    for seed in range(first, first + 5):
        path = folder / f"steep-seed{seed}.npy"
        np.save(path, linear_data(10, seed, np.geomspace(1, 0.02, 10)).astype(np.float32))
        cases.append({"data": str(path), "latent": LATENT, "seed": seed, "truth": None, "unit": 1.0})
    return cases


def linear_data(rank: int, seed: int, singular_values: Any) -> Any:
    import numpy as np

    random = np.random.default_rng(seed)
    left, _ = np.linalg.qr(random.normal(size=(COLUMNS, rank)))
    right, _ = np.linalg.qr(random.normal(size=(rank, rank)))
    signal = random.normal(size=(SAMPLES, rank)) @ (left * singular_values @ right.T).T
    return signal + NOISE * signal.std() * random.normal(size=signal.shape)


def run(case: dict[str, Any]) -> dict[str, Any]:
    import torch

    import ardtool

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        settings = {name: case[name] for name in ("data", "latent", "seed")}
        result = ardtool.train(**settings, out=Path(folder) / "run")
        seconds = time.perf_counter() - began
    shares = [round(axis.explained, 5) for axis in result.relevance.axes]
    found = {"active": result.active, "active_interval": list(result.active_interval), "converged": result.converged}
    record = {**case, **found, "validation_mse": result.validation_mse, "shares": shares, "seconds": round(seconds, 1)}
    if "unit" in case:
        record["data"] = Path(case["data"]).stem
    print(json.dumps(record), flush=True)
    return record


def table(records: list[dict[str, Any]]) -> str:
    lines = [
        "| data | L | seed | truth | active | 95 % interval | first share left out | converged | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        active = record["active"]
        count = f"{active}" if record["truth"] in (active, None) else f"**{active}**"
        rest = record["shares"][active] if active < len(record["shares"]) else 0.0
        low, high = record["active_interval"]
        values = (record["data"], record["latent"], record["seed"], record["truth"] or "–", count, f"{low}-{high}", f"{100 * rest:.2f} %")
        lines.append("| " + " | ".join(map(str, (*values, "yes" if record["converged"] else "no", record["seconds"]))) + " |")
    judged = [record for record in records if record["truth"] is not None]
    right = sum(record["active"] == record["truth"] for record in judged)
    verdict = f"\n\n{right} of {len(judged)} equal the truth." if judged else ""
    return "\n".join(lines) + verdict + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["sprites", "vectors", "steep"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--units", type=float, nargs="+", default=[1.0, 1e-3, 1e3], help="factors that the vectors are multiplied by")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder, first = Path(name), options.first_seed
        if options.kind == "sprites":
            cases = sprites_cases(first)
        elif options.kind == "vectors":
            cases = vector_cases(folder, first, options.units)
        else:
            cases = steep_cases(folder, first)
        with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
            records = pool.map(run, cases, chunksize=1)
    print("\n" + table(records))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
