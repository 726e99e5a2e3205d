"""Estimators of the decoder's column norms against each other, against `torch.func.jacrev`, and against the bound.

    python tests/benchmarks/estimators.py mnist --model runs/…/model.safetensors --out docs/results/estimators_mnist.json
    python tests/benchmarks/estimators.py cifar10 --out docs/results/estimators_cifar10.json
    python tests/benchmarks/estimators.py memory --limit 1GiB --out docs/results/estimators_memory.json

mnist: the trained network of the paper, 16 axes. cifar10: that of the paper with 128 axes, weights as initialised, the codes N(0, I) and
the decoder's first layer scaled by 0.95^l for axis l: a geometric spectrum. 100 samples.
  bound    100 × L × the decoder's forward time per sample at its fastest batch size of 1, 10, 100, 1,000
  exact    `column_norms`
  sketch   `sketched_norms` at 1,000 codes for each of so many probes that the median relative standard error of active axes is ≤ 5 %
  jacrev   `torch.func.jacrev` at a few samples, one at a time, its time scaled to 100
memory: peak memory of a whole process that runs the exact estimator under `--max-memory` on a decoder with 1,024 axes.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ardtool.autoencoder import Autoencoder, ModulePair, Posterior
from ardtool.latent.jacobian import JacobianNorms, column_norms, inference_mode
from ardtool.latent.relevance import active_count
from ardtool.latent.sketch import sketched_norms
from ardtool.networks.build import architecture_record, build_network
from ardtool.storage.model_file import load_model

SAMPLES, PAIRS, DECAY, TOLERANCE, THRESHOLD = 100, 5, 0.95, 0.05, 0.99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["mnist", "cifar10", "memory", "memory-child"])
    parser.add_argument("--model", type=Path, help="a trained model for mnist")
    parser.add_argument("--pair-samples", type=int, default=100, help="for exact over bound; 10 will do for cifar10")
    parser.add_argument("--jacrev-samples", type=int, default=2)
    parser.add_argument("--limit", default="1GiB")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.what == "memory-child":
        return print_peak(options.limit)
    results: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": options.device}
    results |= memory(options.limit) if options.what == "memory" else compare(*case(options), options)
    print(json.dumps(results, indent=1))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


def case(options: Any) -> tuple[Any, Posterior, Tensor]:
    """A decoder, codes for it, and the variances of its axes."""
    if options.what == "mnist":
        saved = load_model(options.model, options.device)
        assert saved.codes is not None
        return saved.autoencoder, saved.codes.reference, saved.codes.axis_variance
    record = architecture_record("paper-cifar10", (3, 32, 32), 128, value_range=(0.0, 1.0))
    model = build_network(record, generator_seed=0).to(options.device).eval()
    first = model.decoder[0]
    assert isinstance(first, nn.Linear)
    with torch.no_grad():
        first.weight.mul_(DECAY ** torch.arange(128, device=options.device))
    return model, Posterior(torch.randn(1000, 128, generator=torch.Generator().manual_seed(1))), torch.ones(128, dtype=torch.float64)


def compare(model: Any, codes: Posterior, variance: Tensor, options: Any) -> dict[str, Any]:
    few, hundred = codes.rows(slice(0, options.pair_samples)), codes.rows(slice(0, SAMPLES))
    column_norms(model, codes.rows(slice(0, 2)), device=options.device)
    pairs = [
        (seconds(lambda: column_norms(model, few, device=options.device)), len(few) * codes.mean.shape[1] * fastest_decoding(model, codes))
        for _ in range(PAIRS)
    ]
    ratios = [ours / bound for ours, bound in pairs]
    exact_seconds, exact = timed(lambda: column_norms(model, hundred, device=options.device))
    probes, sketch_seconds, sketch = best_sketch(model, codes, variance, options.device)
    jacrev = seconds(lambda: full_jacobians(model, codes.mean[: options.jacrev_samples].to(options.device)))
    exact_active, sketch_active = active(exact, variance), active(sketch, variance)
    return {
        "samples": SAMPLES,
        "axes": codes.mean.shape[1],
        "exact_over_bound": round(statistics.median(ratios), 3),
        "exact_over_bound_pairs": [round(ratio, 3) for ratio in ratios],
        "exact_seconds": round(exact_seconds, 2),
        "sketch_seconds": round(sketch_seconds, 2),
        "exact_over_sketch": round(exact_seconds / sketch_seconds, 2),
        "sketch_codes": len(sketch.contributions),
        "sketch_probes": probes,
        "sketch_median_relative_stderr": round(median_error(sketch, sketch_active), 4),
        "exact_median_relative_stderr": round(median_error(exact, exact_active), 4),
        "exact_active": len(exact_active),
        "sketch_active": len(sketch_active),
        "only_in_one": sorted(set(exact_active) ^ set(sketch_active)),
        "jacrev_seconds_scaled_to_100": round(jacrev * SAMPLES / options.jacrev_samples, 1),
        "jacrev_samples": options.jacrev_samples,
        "jacrev_over_exact": round(jacrev * SAMPLES / options.jacrev_samples / exact_seconds, 1),
    }


def best_sketch(model: Any, codes: Posterior, variance: Tensor, device: str) -> tuple[int, float, JacobianNorms]:
    """As few codes, then probes, as reach the tolerance."""
    for count, probes in ((250, 1), (500, 1), (750, 1), (1000, 1), (1000, 2), (1000, 4), (1000, 8)):
        generator = torch.Generator().manual_seed(0)
        part = codes.rows(slice(0, count))
        taken, found = timed(lambda p=part, g=generator, n=probes: sketched_norms(model, p, generator=g, probes=n, device=device))
        if median_error(found, active(found, variance)) <= TOLERANCE:
            break
    return probes, taken, found


def full_jacobians(model: Any, codes: Tensor) -> None:
    with inference_mode(model):
        for code in codes:
            jacobian = torch.func.jacrev(lambda z: model.decode(z[None])[0].flatten())(code)
            jacobian.square().sum(dim=0)


def active(norms: JacobianNorms, variance: Tensor) -> list[int]:
    scores = norms.weight * variance
    return scores.argsort(descending=True)[: int(active_count(scores, THRESHOLD))].tolist()


def median_error(norms: JacobianNorms, axes: list[int]) -> float:
    return float((norms.stderr / norms.weight)[axes].median())


def fastest_decoding(model: Autoencoder, codes: Posterior) -> float:
    """Seconds per sample at the fastest batch size."""
    times = []
    with torch.inference_mode():
        for size in (1, 10, 100, 1000):
            z = torch.randn(size, codes.mean.shape[1], device=next(model.parameters()).device)  # pyright: ignore[reportAttributeAccessIssue]
            model.decode(z)
            repeats = max(1, 100 // size)
            times.append(seconds(lambda z=z, repeats=repeats: [model.decode(z) for _ in range(repeats)]) / (repeats * size))
    return min(times)


def memory(limit: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "memory-child", "--limit", limit]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def print_peak(limit: str) -> None:
    from ardtool.commands.memory import parse_bytes, resident_bytes
    from ardtool.commands.relevance import relevance

    torch.manual_seed(0)
    layers = [nn.Linear(1024, 2048), nn.SiLU(), nn.Unflatten(1, (128, 4, 4))]
    for channels, out in ((128, 64), (64, 32), (32, 3)):
        layers += [nn.ConvTranspose2d(channels, out, 4, 2, 1), nn.SiLU()]
    model = ModulePair(nn.Identity(), nn.Sequential(*layers), (3, 32, 32), 1024)
    before = resident_bytes()
    taken, result = timed(lambda: relevance(model, assume_prior=True, estimator="exact", samples=20, max_memory=limit))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps(
            {
                "axes": 1024,
                "samples": 20,
                "limit_bytes": parse_bytes(limit),
                "peak_bytes": peak,
                "before_bytes": before,
                "below": peak < parse_bytes(limit),
                "seconds": round(taken, 1),
                "active": result.active,
            }
        )
    )


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    synchronise()
    began = time.perf_counter()
    found = work()
    synchronise()
    return time.perf_counter() - began, found


def seconds(work: Callable[[], Any]) -> float:
    return timed(work)[0]


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
