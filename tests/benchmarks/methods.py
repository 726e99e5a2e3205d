"""Every training method on linear-Gaussian data of rank 5 with 16 latent axes: how many axes and directions each counts.

    python tests/benchmarks/methods.py --out docs/results/methods_linear.json               all methods, five seeds
    python tests/benchmarks/methods.py --methods ard-vae,rae --seeds 1                       some of them

x = W z + noise in 32 columns as in known_truth.py. Runs go through the library with all defaults, two processes at a time with one thread
each. Columns are mean ± sample standard deviation over seeds: active axes, active principal directions, the method's own count, validation
MSE over that of predicting the mean, seconds per epoch. Prints a Markdown table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

RANK, LATENT = 5, 16
COLUMNS = ("axes", "directions", "own", "mse_share", "seconds_per_epoch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="", help="comma-separated; all where left out")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from ardtool.objectives import OBJECTIVES

    methods = options.methods.split(",") if options.methods else list(OBJECTIVES)
    cases = [{"method": method, "seed": seed, "epochs": options.epochs} for method in methods for seed in range(options.seeds)]
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(options.processes, maxtasksperchild=1) as pool:
        runs = list(pool.imap(measure, cases))
    print_table(methods, runs)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(runs, indent=1) + "\n")


def measure(case: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    import ardtool

    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "x.npy"
        np.save(data, linear_data(case["seed"]))
        settings = {"data": str(data), "latent": LATENT, "method": case["method"], "seed": case["seed"], "epochs": case["epochs"]}
        result = ardtool.train(out=Path(name) / "run", **settings)
        directions = ardtool.relevance(result.model, basis="principal")
    own = result.own_count
    return case | {
        "axes": result.active,
        "directions": directions.active,
        "own": None if own is None else len(own["axes"]),
        "constraint_met": None if own is None else own["constraint_met"],
        "mse_share": result.validation_mse,  # columns are standardised, so predicting the mean has an error of 1
        "seconds_per_epoch": result.seconds / result.epochs,
        "epochs": result.epochs,
        "converged": result.converged,
    }


def linear_data(seed: int) -> Any:
    import numpy as np

    random = np.random.default_rng(seed)
    left, right = (np.linalg.qr(random.normal(size=(size, RANK)))[0] for size in (32, RANK))
    signal = random.normal(size=(3000, RANK)) @ (left * np.linspace(1, 2, RANK) @ right.T).T
    return (signal + 0.1 * signal.std() * random.normal(size=signal.shape)).astype(np.float32)


def print_table(methods: list[str], runs: list[dict[str, Any]]) -> None:
    print("| method | active axes | principal directions | own count | MSE over that of the mean | seconds per epoch |")
    print("|---|---|---|---|---|---|")
    for method in methods:
        rows = [run for run in runs if run["method"] == method]
        cells = [summary([row[column] for row in rows if row[column] is not None]) for column in COLUMNS]
        missed = sum(row["constraint_met"] is False for row in rows)
        cells[2] += f" (target missed in {missed} of {len(rows)})" if missed else ""
        print(f"| {method} | {' | '.join(cells)} |")


def summary(values: list[float]) -> str:
    """Mean ± sample standard deviation."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3g}{spread}"


if __name__ == "__main__":
    main()
