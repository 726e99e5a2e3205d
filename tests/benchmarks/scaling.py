"""Cost laws, measured: seconds and peak memory as one size doubles and all others stand still. Each measurement is a process of its own.

    python tests/benchmarks/scaling.py --out docs/results/scaling.json

    steps       a pass of gradient steps over N images of H × H pixels with L axes:    N (a + b H² + c L), of which c L is small
    relevance   exact column norms at S codes of a decoder with L axes and D outputs:  S L D · const
    sketch      the same by one product a code:                                        S D · const, whatever L is

The default network on random images. `slope` is the exponent between the first and the last size: log(cost ratio) / log(size ratio); 1 is
proportional, 0 free. Memory counts what the process holds at most beyond what it held before the work, in MiB.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BASE = {"n": 2000, "side": 32, "latent": 16, "codes": 50}
SERIES = {
    "steps": {"n": (1000, 2000, 4000), "side": (16, 32, 64), "latent": (16, 64, 256)},
    "relevance": {"codes": (25, 50, 100), "side": (16, 32, 64), "latent": (16, 32, 64)},
    "sketch": {"codes": (25, 50, 100), "side": (16, 32, 64), "latent": (16, 64, 256)},
}
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", help="work and sizes as JSON: what a process of its own measures")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(**json.loads(options.one), device=options.device)))
        return
    results: dict[str, Any] = {"base": BASE, "device": options.device}
    for work, series in SERIES.items():
        results[work] = {name: law(work, name, sizes, options.device) for name, sizes in series.items()}
    print(json.dumps(results, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


def law(work: str, name: str, sizes: tuple[int, ...], device: str) -> dict[str, Any]:
    """One size after the other, in turn, so that a slow minute hits all; the fastest of three counts."""
    found: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for _ in range(REPEATS):
        for size in sizes:
            request = json.dumps({"work": work} | BASE | {name: size})
            command = [sys.executable, __file__, "--device", device, "--one", request]
            found[size].append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    fastest = [min(each["seconds"] for each in found[size]) for size in sizes]
    peaks = [min(each["mebibytes"] for each in found[size]) for size in sizes]
    slope = math.log(fastest[-1] / fastest[0]) / math.log(sizes[-1] / sizes[0])
    return {"sizes": sizes, "seconds": [round(s, 4) for s in fastest], "mebibytes": [round(m) for m in peaks], "slope": round(slope, 2)}


def measure(*, work: str, n: int, side: int, latent: int, codes: int, device: str) -> dict[str, float]:
    """Seconds and memory of one piece of work, after a small one that makes whatever is made once."""
    import torch

    from ardtool.autoencoder import Posterior
    from ardtool.cli.allocator import keep_freed_memory
    from ardtool.data.dataset import DataSet
    from ardtool.latent.jacobian import column_norms
    from ardtool.latent.sketch import sketched_norms
    from ardtool.training.config import config_from
    from ardtool.training.resolve import prepare_run, resolved

    keep_freed_memory()  # as the commands do
    pixels = torch.randint(0, 256, (n + 500, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = DataSet("random", pixels, (0.0, 1.0))
    run = prepare_run(resolved(config_from({"latent": latent, "epochs": 1}, "benchmark"), data), data, torch.device(device))
    z = Posterior(torch.randn(codes, latent))
    works = {
        "steps": lambda part: run._gradient_steps(run.train[: n if part == 1 else 200], None),
        "relevance": lambda part: column_norms(run.model.eval(), z.rows(slice(0, codes if part == 1 else 2)), device=device),
        "sketch": lambda part: sketched_norms(
            run.model.eval(), z.rows(slice(0, codes if part == 1 else 2)), generator=torch.Generator().manual_seed(0), device=device
        ),
    }
    works[work](0)
    before = peak()
    began = time.perf_counter()
    works[work](1)
    return {"seconds": time.perf_counter() - began, "mebibytes": peak() - before}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
