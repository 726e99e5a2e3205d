"""Whether training in a lower precision comes to the same: paired runs over seeds, through the command that users call.

    python tests/benchmarks/precision.py sprites --out docs/results/precision_sprites.json
    python tests/benchmarks/precision.py imagenet32 --data-root DATA --epochs 10 --device cuda --against fp32 --precision bf16

For every seed the same run in both precisions. Reported are ACTIVE and the last epoch's validation loss of each run, the paired
differences of the loss relative to the mean of the float32 runs, and the standard deviation of these over seeds, which is what a
difference between precisions is to be compared with.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from ardtool.commands.train import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--against", default="fp32")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--latent", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    runs = {
        precision: [one(options, precision, seed) for seed in range(options.seeds)] for precision in (options.against, options.precision)
    }
    losses = {precision: [run["validation_loss"] for run in found] for precision, found in runs.items()}
    mean = statistics.mean(losses[options.against])
    differences = [(b - a) / mean for a, b in zip(losses[options.against], losses[options.precision], strict=True)]
    results = {
        "data": options.data,
        "torch": torch.__version__,
        "device": options.device,
        "runs": runs,
        "relative_differences_of_loss": differences,
        "mean_relative_difference": statistics.mean(differences),
        "relative_deviation_over_seeds": statistics.stdev(losses[options.against]) / mean,
        "differences_of_active": [b["active"] - a["active"] for a, b in zip(runs[options.against], runs[options.precision], strict=True)],
    }
    print(json.dumps(results, indent=1))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


def one(options: argparse.Namespace, precision: str, seed: int) -> dict[str, Any]:
    settings = {"data": options.data, "precision": precision, "seed": seed, "epochs": options.epochs, "latent": options.latent}
    with tempfile.TemporaryDirectory() as folder:
        result = train(out=Path(folder) / "run", device=options.device, data_root=options.data_root, **settings)
        last = json.loads((Path(result.run) / "history.jsonl").read_text().splitlines()[-1])
    found = {"active": result.active, "active_interval": list(result.active_interval), "validation_loss": last["validation"]["loss"]}
    return found | {"validation_mse": result.validation_mse, "samples_per_second": result.samples_per_second}


if __name__ == "__main__":
    main()
