"""Several processes on the cores of one machine, against one process on all of them.

    python tests/benchmarks/processes.py speed --processes 2 --out docs/results/processes.json
    python tests/benchmarks/processes.py noise

speed: samples per second in gradient steps of `ardtool train --data sprites`, as the command says itself, by `torchrun` with as many
threads in all as the one process has; both alternate, the ratio is the median of pairs.
noise: milliseconds of processor time of one step of the default dense network on 50 of 100 samples, with noise drawn for all 100 and cut
(`WholeBatchNoise`) and without; medians of alternating blocks of a hundred steps.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from ardtool.data.dataset import DataSet
from ardtool.training.config import config_from
from ardtool.training.processes import Shard
from ardtool.training.resolve import prepare_run, resolved
from ardtool.training.whole_batch import WholeBatchNoise

BLOCKS, STEPS = 15, 100
CORES = os.cpu_count() or 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "noise"])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = speed(options.processes, options.pairs, options.epochs) if options.what == "speed" else noise()
    results = {"torch": torch.__version__, "cores": CORES, "load": os.getloadavg()[0], **found}
    print(json.dumps(results, indent=1))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


def speed(processes: int, pairs: int, epochs: int) -> dict[str, Any]:
    """Samples per second of both ways, and the ratios."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    ways = {"one": ([], CORES), "several": (launcher, CORES // processes)}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(pairs):
        for name, (options, threads) in ways.items():
            found[name].append(_samples_per_second([*options, "-m", "ardtool"], max(1, threads), epochs))
    ratios = [several / one for several, one in zip(found["several"], found["one"], strict=True)]
    return {"processes": processes, **found, "ratios": ratios, "median ratio": statistics.median(ratios)}


def _samples_per_second(launcher: list[str], threads: int, epochs: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["train", "--data", "sprites", "--epochs", str(epochs), "--device", "cpu", "--json", "--quiet", "--out", folder]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        run = subprocess.run([sys.executable, *launcher, *arguments], env=environment, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)["samples_per_second"]


def noise() -> dict[str, float]:
    """Processor milliseconds of a step without and with noise for the whole batch."""
    torch.set_num_threads(1)
    data = DataSet("vectors", torch.randn(400, 10, generator=torch.Generator().manual_seed(0)))
    run = prepare_run(resolved(config_from({"latent": 4}, "benchmark"), data), data, torch.device("cpu"))
    run.model.train()
    x, generator = run.data.batch(slice(0, 50)), torch.Generator().manual_seed(0)

    def block() -> float:
        began = time.process_time()
        for _ in range(STEPS):
            run.objective.step(run.model, x, generator, run.optimisers)
        return 1000 * (time.process_time() - began) / STEPS

    plain, cut = [], []
    for _ in range(BLOCKS + 1):
        plain.append(block())
        with WholeBatchNoise(Shard.of(100, 0, 2)):
            cut.append(block())
    return {"plain": statistics.median(plain[1:]), "cut": statistics.median(cut[1:])}


if __name__ == "__main__":
    main()
