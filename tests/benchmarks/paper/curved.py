"""What longer training and more samples do for manifolds that 10,000 samples and the default 56 epochs do not tell.

    python tests/benchmarks/paper/curved.py --scale small

`ard-vae` with its defaults, L = 4d, on the most curved sheets and on tori of `manifolds.py`: the same surfaces and the same first 10,000
samples. Counted are active axes and the local rank, as there.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from experiment import NOT_CONVERGED, main, mark, plus_minus, table, whole_counts
from manifolds import SAMPLES, save_manifold, trained

NAME = "curved"
LONGER, MORE = {"samples": SAMPLES, "epochs": 224}, {"samples": 10 * SAMPLES, "epochs": 56}
MORE_OF = (("cube", 4.0), ("torus", 1.0))
TRIED = [("cube", 4.0, d, LONGER) for d in (2, 4, 8)] + [(*surface, d, MORE) for surface in MORE_OF for d in (4, 8)]


def cases(scale: str, seeds: int) -> list[dict[str, Any]]:
    return [
        {"method": "ard-vae", "surface": surface, "c": c, **training, "d": d, "seed": seed, "L": 4 * d}
        for seed in range(seeds)
        for surface, c, d, training in TRIED
    ]


def measure(case: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        save_manifold(case, Path(name))
        return trained(case, Path(name))


def tables(records: list[dict[str, Any]]) -> str:
    rows = []
    for surface, c, d, training in TRIED:
        wanted = {"surface": surface, "c": c, "d": d, **training}
        runs = [run for run in records if wanted.items() <= run["case"].items()]
        if runs:
            counts = [whole_counts(run[name] for run in runs) for name in ("axes", "local_rank")]
            error = plus_minus([run["mse"] for run in runs], 3)
            seconds = plus_minus([run["seconds"] for run in runs], 0)
            rows.append([f"{surface} {c:g}", d, f"{training['samples']:,}", f"{training['epochs']}{mark(runs)}", *counts, error, seconds])
    header = ["surface, c", "d", "samples", "epochs", "axes", "local rank", "MSE", "seconds"]
    return f"{table(header, rows)}\n\n{NOT_CONVERGED}"


if __name__ == "__main__":
    main(sys.modules[__name__])
