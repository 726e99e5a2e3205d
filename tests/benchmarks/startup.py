"""How long each command takes to be of use: whole processes on a tiny model, beside `python -c "import torch"`.

    python tests/benchmarks/startup.py --out docs/results/startup.json

`help` is `ardtool COMMAND --help`; `work` the command itself on a model of 4 axes and 300 vectors of 8 numbers. Alternating with the import
of torch, the median of the pairs; the ratio is over that import, which no command that computes can do without.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from speed import pairs, seconds

WORK = {
    "train": ["train", "--data", "x.npy", "--latent", "4", "--epochs", "1", "--out", "again", "--force"],
    "relevance": ["relevance", "run"],
    "prune": ["prune", "run", "--keep", "2", "--out", "small.safetensors", "--force"],
    "sample": ["sample", "run", "--out", "samples.npz", "--force"],
    "traverse": ["traverse", "run", "--out", "grid.png", "--force"],
    "evaluate": ["evaluate", "run", "--data", "x.npy"],
    "encode": ["encode", "run", "--data", "x.npy", "--out", "codes.npz", "--force"],
    "compare": ["compare", "run"],
    "inspect": ["inspect", "run"],
    "data": ["data"],
    "plugins": ["plugins"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {"python": sys.version.split()[0], "help": {}, "work": {}}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        draw = np.random.default_rng(0)
        np.save(folder / "x.npy", draw.normal(size=(300, 2)) @ draw.normal(size=(2, 8)))
        run(folder, ["-m", "ardtool", "train", "--data", "x.npy", "--latent", "4", "--epochs", "2", "--out", "run"])
        for name, arguments in WORK.items():
            for kind, command in (("help", [name, "--help"]), ("work", arguments)):
                results[kind][name] = pairs(
                    lambda command=command: seconds(lambda: run(folder, ["-m", "ardtool", *command])),
                    lambda: seconds(lambda: run(folder, ["-c", "import torch"])),
                    lambda a, b: a / b,
                    options.pairs,
                )
    print(json.dumps(results, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


def run(folder: Path, arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True, capture_output=True)


if __name__ == "__main__":
    main()
