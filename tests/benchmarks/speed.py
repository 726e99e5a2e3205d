"""Speed as ratios within one process: alternating measurements, either first in turn, the median of five pairs.

    python tests/benchmarks/speed.py mnist --out docs/results/speed_mnist.json      the paper's MNIST network, L = 16
    python tests/benchmarks/speed.py sprites                                        the default network, where overhead shows
    python tests/benchmarks/speed.py imagenet32 --device cuda --only steps prior validation hardware

What is compared:
  steps       SGD samples per second of ardtool's step loop, against a bare loop in float32: float images in memory, index batches, the
              same network, loss, fused Adam and thread count, no logging.
  outside     share of an epoch's time that is neither steps nor prior nor validation: shuffles, checkpoints, history.
  prior       the prior's update (encode X_α, draw codes, Gamma update), against encoder forward passes alone in inference mode.
  validation  the validation pass, against encoder and decoder forward passes alone.
  relevance   exact column norms at 100 codes, against the bound (L tangents × 100 samples) × the decoder's forward time per sample at
              its fastest batch size of 1, 10, 100, 1,000.
  hardware    (with steps, prior and validation) FLOPs of a step over the rate of one large matrix product in the same precision, peak
              memory of the steps, and how long the paper's whole schedule would take at the speeds measured.
  layout      (CPU) samples per second of the step loop with images and weights channels last, as `ardtool` has them where there are
              convolutions, against the same loop with both as torch makes them.
  allocator   (CPU) samples per second in a process that keeps freed memory, as `ardtool` does, against one that does not, and page faults
              of a step in both. All else is measured in a process that does, so both sides have it.
  help        `ardtool --help` in a fresh process, against `python -c pass`.
Images are random: arithmetic does not depend on them. `images64` is the default network on 64 × 64 pixels in colour.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ardtool.autoencoder import Posterior
from ardtool.cli.allocator import keep_freed_memory
from ardtool.commands.train import _fit
from ardtool.commands.train_checkpoints import Checkpoints
from ardtool.data.dataset import DataSet
from ardtool.latent.gaussian import kl_to_gaussian
from ardtool.latent.jacobian import column_norms
from ardtool.networks.build import NetworkAutoencoder, build_network
from ardtool.storage.run_folder import RunFolder
from ardtool.training.config import config_from
from ardtool.training.interruption import Interruption
from ardtool.training.loop import TrainingRun
from ardtool.training.memory import EVALUATION_BATCH
from ardtool.training.precision import computing
from ardtool.training.profile import flops_per_sample, matrix_rate, peak_bytes, time_shares
from ardtool.training.resident import BatchSource
from ardtool.training.resolve import prepare_run, resolved

PAIRS = 5
NETWORKS: dict[str, dict[str, Any]] = {
    "mnist": {"shape": (1, 32, 32), "latent": 16, "settings": {"arch": "paper-mnist", "beta": 0.5}},
    "sprites": {"shape": (3, 32, 32), "latent": 16, "settings": {}},
    "images64": {"shape": (3, 64, 64), "latent": 16, "settings": {}},
    "cifar10": {"shape": (3, 32, 32), "latent": 128, "settings": {"arch": "paper-cifar10", "beta": 0.05}},
    "imagenet32": {"shape": (3, 32, 32), "latent": 256, "settings": {"arch": "paper-imagenet32", "beta": 0.05}},
}
STEPS = {"cpu": {"mnist": 20, "sprites": 60, "images64": 12, "cifar10": 4, "imagenet32": 4}, "cuda": dict.fromkeys(NETWORKS, 70)}
# epochs, training samples and validation samples of the paper's runs; X_α is held out of the training samples
SCHEDULES = {"mnist": (50, 50_000, 10_000), "cifar10": (100, 40_000, 10_000), "imagenet32": (50, 1_271_167, 10_000)}
X_ALPHA = 10_000
MEASURES = ("steps", "outside", "prior", "validation", "hardware", "relevance", "layout", "allocator", "help")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=NETWORKS)
    parser.add_argument("--steps", type=int, default=0, help="gradient steps per measurement")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", default="auto")
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=MEASURES)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--alone", choices=["kept", "freed"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.alone != "freed":
        keep_freed_memory()
    if options.alone is not None:
        print(json.dumps(steps_alone(options.data, options.steps, options.batch_size)))
        return
    run = make_run(options.data, device, precision=options.precision, compile=options.compile, batch_size=options.batch_size)
    run.tell = lambda text: print(text, file=sys.stderr)
    steps = options.steps or STEPS.get(device.type, STEPS["cpu"])[options.data]
    results: dict[str, Any] = {
        "data": options.data,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else options.device,
        "precision": run.config.precision,
        "batch_size": run.batch_size,
    }
    measures: dict[str, Callable[[], Any]] = {
        "steps": lambda: steps_ratio(run, steps),
        "outside": lambda: outside_share(make_run(options.data, device, epochs=20)),
        "prior": lambda: prior_ratio(run),
        "validation": lambda: validation_ratio(run),
        "hardware": lambda: hardware(options.data, run, results),
        "relevance": lambda: relevance_ratio(run),
        "layout": lambda: layout_ratio(run, options.data, steps) if device.type == "cpu" else None,
        "allocator": lambda: allocator_ratio(options.data, steps, options.batch_size) if device.type == "cpu" else None,
        "help": help_ratio,
    }
    for name in MEASURES:
        if name in options.only:
            results[name] = measures[name]()
    print(json.dumps(results, indent=1))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


def make_run(name: str, device: torch.device, **settings: Any) -> TrainingRun:
    network = NETWORKS[name]
    pixels = torch.randint(0, 256, (10_000, *network["shape"]), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = DataSet(name, pixels, (0.0, 1.0), settings=network["settings"])
    config = config_from({"latent": network["latent"], "epochs": 2} | settings, "benchmark")
    return prepare_run(resolved(config, data), data, device)


def pairs(
    first: Callable[[], float], second: Callable[[], float], quotient: Callable[[float, float], float], count: int = PAIRS
) -> dict[str, Any]:
    """Alternate both measurements, either first in turn, after one warm-up each; the median of the ratios, and all values."""
    for warm_up in (first, second):
        warm_up()
    values = [(first(), second()) if pair % 2 == 0 else (second(), first())[::-1] for pair in range(count)]
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
    """ours, other: seconds for the same number of steps; ratio: our samples per second over the bare loop's; cpu_ratio: the same by the
    seconds that the process computed, which other work on the machine disturbs less; kind: how ours are run."""
    rest = run.train[: steps * run.batch_size]
    steps = len(rest) // min(run.batch_size, len(rest))

    def ours() -> float:
        with run.computing():
            return run._gradient_steps(rest, lambda done, total: None)[2]

    if run.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(run.device)
    ours()
    memory = peak_bytes(run.device)
    bare = BareLoop(run)

    def other() -> float:
        with computing(bare.model, None, "fp32", run.device):
            return seconds(lambda: bare(rest))

    computed: dict[Any, list[float]] = {ours: [], other: []}

    def watched(work: Callable[[], float]) -> float:
        began = time.process_time()
        result = work()
        computed[work].append(time.process_time() - began)
        return result

    found = pairs(lambda: watched(ours), lambda: watched(other), lambda a, b: b / a)
    ratios = [b / a for a, b in zip(computed[ours][1:], computed[other][1:], strict=True)]
    found["cpu_ratio"], found["cpu_ratios"] = round(statistics.median(ratios), 4), [round(ratio, 4) for ratio in ratios]
    speed = steps * min(run.batch_size, len(rest)) / found["ours"]
    return found | {"kind": run.stepper.kind, "steps": steps, "samples_per_second": round(speed, 1), "peak_memory": memory}


class Enough(Exception):
    """So many epochs were enough."""


def outside_share(run: TrainingRun) -> dict[str, float]:
    """Shares of the time of three epochs with checkpoints in a folder, by phase."""

    class Observer:
        def stepped(self, done: int, steps: int) -> None:
            pass

        def epoch_ended(self, record: Any) -> None:
            if record.epoch == 3:
                raise Enough

    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(Enough):
            checkpoints = Checkpoints(run, RunFolder(Path(folder)), {}, 10, Interruption(), print)
            _fit(run, checkpoints, Observer())  # pyright: ignore[reportArgumentType]
    shares = time_shares(run.history)
    return {"share": round(shares["checkpoint"] + shares["other"], 5)} | {phase: round(share, 5) for phase, share in shares.items()}


def hardware(name: str, run: TrainingRun, results: dict[str, Any]) -> dict[str, Any]:
    """What the steps measured before make of the hardware, and hours of the paper's schedule."""
    speed = results["steps"]["samples_per_second"]
    flops, rate = flops_per_sample(run), matrix_rate(run)
    found = {
        "flops_per_sample": flops,
        "flops_per_second": flops * speed,
        "matrix_flops_per_second": rate,
        "utilisation": round(flops * speed / rate, 4),
        "peak_memory": results["steps"]["peak_memory"],
    }
    if name in SCHEDULES:
        epochs, training, validation = SCHEDULES[name]
        each = (training - X_ALPHA) / speed + X_ALPHA * results["prior"]["ours"] / run.alpha_size
        each += validation * results["validation"]["ours"] / len(run.validation)
        found |= {"schedule_epochs": epochs, "schedule_hours": round(epochs * each / 3600, 3)}
    return found


def plain_network(run: TrainingRun) -> NetworkAutoencoder:
    """The network of a run laid out as torch lays out what it makes."""
    return build_network(run.model.record, 0).to(run.device).to(memory_format=torch.contiguous_format).train()


class BareLoop:
    """What one would write by hand."""

    def __init__(self, run: TrainingRun) -> None:
        self.device = run.device
        self.model = plain_network(run)
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
    batches = [run.source.take(index) for index in held_out.split(EVALUATION_BATCH)]

    def forward() -> None:
        run.model.eval()
        with torch.inference_mode():
            for batch in batches:
                run.model.encode(batch)

    with run.computing():
        return pairs(lambda: seconds(lambda: run.learn_prior(held_out, 0)), lambda: seconds(forward), lambda a, b: a / b)


def validation_ratio(run: TrainingRun) -> dict[str, Any]:
    """ours, other: seconds; ratio: ours over forward passes."""
    batches = [run.source.take(index) for index in run.validation.split(EVALUATION_BATCH)]

    def forward() -> None:
        run.model.eval()
        with torch.inference_mode():
            for batch in batches:
                run.model.decode(run.model.encode(batch).mean)

    with run.computing():
        return pairs(lambda: seconds(lambda: run.validation_terms(run.source)), lambda: seconds(forward), lambda a, b: a / b)


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


def layout_ratio(run: TrainingRun, name: str, steps: int) -> dict[str, Any]:
    """ours, other: seconds for the same number of steps; ratio: our samples per second over those without channels last."""
    plain = make_run(name, run.device, precision=run.config.precision, compile=run.config.compile, batch_size=run.batch_size)
    plain.model.to(memory_format=torch.contiguous_format)
    plain.source = BatchSource(plain.data, plain.device, "memory", torch.contiguous_format)
    rest = run.train[: steps * run.batch_size]

    def timed(which: TrainingRun) -> float:
        with which.computing():
            return which._gradient_steps(rest, None)[2]

    return pairs(lambda: timed(run), lambda: timed(plain), lambda a, b: b / a)


def allocator_ratio(name: str, steps: int, batch_size: int) -> dict[str, Any]:
    """ours, other: seconds for the same number of steps in a process of its own; ratio: our samples per second over the other's;
    faults: page faults of a step in each."""
    faults: dict[str, int] = {}

    def alone(memory: str) -> float:
        command = [sys.executable, __file__, name, "--steps", str(steps), "--batch-size", str(batch_size), "--alone", memory]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        faults[memory] = found["faults"]
        return found["seconds"]

    return pairs(lambda: alone("kept"), lambda: alone("freed"), lambda a, b: b / a) | {"faults": faults}


def steps_alone(name: str, steps: int, batch_size: int) -> dict[str, Any]:
    """Seconds of the fastest of four passes, and page faults of a step in the last."""
    import resource

    run = make_run(name, torch.device("cpu"), batch_size=batch_size)
    times, faults = [], 0
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        times.append(run._gradient_steps(run.train[: steps * run.batch_size], None)[2])
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return {"seconds": min(times), "faults": round(faults / steps)}


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
