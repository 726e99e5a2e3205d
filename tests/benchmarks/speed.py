"""Speed as ratios within one process: alternating measurements, the median of five pairs.

    python tests/benchmarks/speed.py mnist --out docs/results/speed_mnist.json      the paper's MNIST network, L = 16
    python tests/benchmarks/speed.py sprites                                        the default network, where overhead shows

What is compared:
  steps       SGD samples per second of ardtool's step loop, against a bare loop: float images in memory, index batches, the same network,
              loss, fused Adam and thread count, no logging.
  prior       the prior's update (encode X_α, draw codes, Gamma update), against encoder forward passes alone in inference mode.
  validation  the validation pass, against encoder and decoder forward passes alone.
  relevance   exact column norms at 100 codes, against the bound (L tangents × 100 samples) × the decoder's forward time per sample at
              its fastest batch size of 1, 10, 100, 1,000.
  help        `ardtool --help` in a fresh process, against `python -c pass`.
Images are random: arithmetic does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ardtool.autoencoder import Posterior
from ardtool.data.dataset import DataSet
from ardtool.latent.gaussian import kl_to_gaussian
from ardtool.latent.jacobian import column_norms
from ardtool.networks.build import NetworkAutoencoder, build_network
from ardtool.training.config import config_from
from ardtool.training.loop import EVALUATION_BATCH, TrainingRun
from ardtool.training.resolve import prepare_run, resolved

PAIRS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["mnist", "sprites"])
    parser.add_argument("--steps", type=int, default=0, help="gradient steps per measurement")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    run = make_run(options.data, torch.device(options.device))
    steps = options.steps or {"mnist": 20, "sprites": 60}[options.data]
    results = {
        "data": options.data,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": options.device,
        "steps": steps_ratio(run, steps),
        "prior": prior_ratio(run),
        "validation": validation_ratio(run),
        "relevance": relevance_ratio(run),
        "help": help_ratio(),
    }
    print(json.dumps(results, indent=1))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


def make_run(name: str, device: torch.device) -> TrainingRun:
    shape = {"mnist": (1, 32, 32), "sprites": (3, 32, 32)}[name]
    settings = {"mnist": {"arch": "paper-mnist", "beta": 0.5}, "sprites": {}}[name]
    pixels = torch.randint(0, 256, (10_000, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = DataSet(name, pixels, (0.0, 1.0), settings=settings)
    config = config_from({"latent": 16, "epochs": 2}, "benchmark")
    return prepare_run(resolved(config, data), data, device)


def pairs(first: Callable[[], float], second: Callable[[], float], quotient: Callable[[float, float], float]) -> dict[str, Any]:
    """Alternate both measurements after one warm-up each; the median of the ratios, and all values."""
    first(), second()
    values = [(first(), second()) for _ in range(PAIRS)]
    ratios = [quotient(a, b) for a, b in values]
    return {
        "ratio": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 4) for ratio in ratios],
        "ours": round(statistics.median(a for a, _ in values), 5),
        "other": round(statistics.median(b for _, b in values), 5),
    }


def seconds(work: Callable[[], Any]) -> float:
    synchronise()
    began = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - began


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def steps_ratio(run: TrainingRun, steps: int) -> dict[str, Any]:
    """ours, other: seconds for the same number of steps; ratio: our samples per second over the bare loop's."""
    rest = run.train[: steps * run.config.batch_size]
    bare = BareLoop(run)
    return pairs(lambda: run._gradient_steps(rest, lambda done, total: None)[2], lambda: seconds(lambda: bare(rest)), lambda a, b: b / a)


class BareLoop:
    """What one would write by hand."""

    def __init__(self, run: TrainingRun) -> None:
        self.device = run.device
        self.model = build_network(run.model.record, 0).to(run.device).train()
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=run.lr, fused=True, eps=1e-7)
        self.images = run.data.batch(slice(None), run.device)
        self.prior = torch.ones(run.config.latent, device=run.device)
        self.batch_size, self.beta = run.config.batch_size, float(run.config.beta or 1.0)

    def __call__(self, rest: torch.Tensor) -> None:
        order = rest[torch.randperm(len(rest))].to(self.device)
        for index in order.split(self.batch_size):
            self.step(self.images[index])

    def step(self, x: torch.Tensor) -> None:
        posterior = self.model.encode(x)
        assert posterior.log_variance is not None
        z = posterior.mean + torch.exp(0.5 * posterior.log_variance) * torch.randn_like(posterior.mean)
        error = (self.model.decode(z) - x).square().sum() / len(x)
        kl = kl_to_gaussian(posterior.mean, posterior.log_variance, self.prior).sum() / len(x)
        self.optimiser.zero_grad(set_to_none=True)
        (error + self.beta * kl).backward()
        self.optimiser.step()


def prior_ratio(run: TrainingRun) -> dict[str, Any]:
    """ours, other: seconds; ratio: ours over forward passes."""
    held_out = run.train[: run.alpha_size]
    batches = [run.data.batch(index, run.device) for index in held_out.split(EVALUATION_BATCH)]

    def forward() -> None:
        run.model.eval()
        with torch.inference_mode():
            for batch in batches:
                run.model.encode(batch)

    return pairs(lambda: seconds(lambda: run.learn_prior(held_out, 0)), lambda: seconds(forward), lambda a, b: a / b)


def validation_ratio(run: TrainingRun) -> dict[str, Any]:
    """ours, other: seconds; ratio: ours over forward passes."""
    batches = [run.data.batch(index, run.device) for index in run.validation.split(EVALUATION_BATCH)]

    def forward() -> None:
        run.model.eval()
        with torch.inference_mode():
            for batch in batches:
                run.model.decode(run.model.encode(batch).mean)

    return pairs(lambda: seconds(run._validate), lambda: seconds(forward), lambda a, b: a / b)


def relevance_ratio(run: TrainingRun) -> dict[str, Any]:
    """ours: seconds at 100 codes; other: the bound; ratio: ours over the bound."""
    codes = torch.randn(100, run.config.latent)
    model = run.model
    norms = lambda: seconds(lambda: column_norms(model, Posterior(codes), device=run.device))  # noqa: E731
    return pairs(norms, lambda: 100 * run.config.latent * fastest_decoding(model, run), lambda a, b: a / b)


def fastest_decoding(model: NetworkAutoencoder, run: TrainingRun) -> float:
    """Seconds per sample at the fastest batch size."""
    model.eval()
    times = []
    with torch.inference_mode():
        for size in (1, 10, 100, 1000):
            z = torch.randn(size, run.config.latent, device=run.device)
            model.decode(z)
            repeats = max(1, 300 // size)
            times.append(seconds(lambda z=z, repeats=repeats: [model.decode(z) for _ in range(repeats)]) / (repeats * size))
    return min(times)


def help_ratio() -> dict[str, Any]:
    """ours, other: seconds of a fresh process."""
    python = sys.executable
    command, nothing = [python, "-m", "ardtool", "--help"], [python, "-c", "pass"]
    quiet = {"stdout": subprocess.DEVNULL, "check": True}
    return pairs(
        lambda: seconds(lambda: subprocess.run(command, **quiet)),
        lambda: seconds(lambda: subprocess.run(nothing, **quiet)),
        lambda a, b: a / b,
    )


if __name__ == "__main__":
    main()
