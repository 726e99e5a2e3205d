"""Does a written file decode as the model did? A new process loads the file alone and decodes; here its outputs are compared.

Batches of 1, 4 and 33 samples find shapes that were frozen when a decoder was traced; the whole set is decoded in batches of 33, or of as
many as fit into memory.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..autoencoder import Posterior
from ..errors import ArdtoolError
from .onnx import require_onnx

__all__ = ["FreshCheck", "check_in_fresh_process", "decode_seconds"]

CODES, OUTPUTS, PROBLEM = "codes.safetensors", "outputs.safetensors", "problem.json"
SIZES = (1, 4, 33)
REPEATS = 5
MOST_SECONDS = 10.0


@dataclass(frozen=True)
class FreshCheck:
    """What a fresh process made of a file.

    Attributes:
        max_abs_difference: largest absolute difference of any output; infinite where one is not a number.
        output_scale: largest absolute expected output, the yardstick.
        seconds_per_sample: median time to decode one sample there, in the largest batches.
        batches: numbers of samples decoded at once.
    """

    max_abs_difference: float
    output_scale: float
    seconds_per_sample: float
    batches: list[int]

    @property
    def relative(self) -> float:
        return self.max_abs_difference / max(self.output_scale, 1e-12)


def check_in_fresh_process(
    path: Path,
    kind: str,
    codes: Posterior,
    expected: Tensor,
    *,
    largest_batch: int = SIZES[-1],
    plugin: str | Path | None = None,
    trust: bool = False,
) -> FreshCheck:
    """Load a file in a new process, decode there, and compare.

    Arguments:
        path: a file that was just written. A .pt2 file is loaded as trusted code.
        kind: "safetensors", "pt2" or "onnx".
        codes: N ≥ 1 codes; their means, with shape (N, L), and their contexts are decoded.
        expected: what the model decodes from them, with shape (N, *input_shape).
        largest_batch: decode at most so many at once, where a decoder takes much memory.
        plugin, trust: as for loading a model file of a foreign model.

    Raises:
        ArdtoolError: the file cannot be loaded or run, or its outputs have another shape.
    """
    if kind == "onnx":
        require_onnx("onnx", "onnxruntime")
    with tempfile.TemporaryDirectory(prefix="ardtool-") as name:
        folder = Path(name)
        tensors = {"mean": codes.mean} | ({} if codes.context is None else {"context": codes.context})
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, folder / CODES)
        options = [
            f"--largest-batch={largest_batch}",
            *([] if plugin is None else ["--plugin", str(plugin)]),
            *(["--trust"] if trust else []),
        ]
        _run(path, kind, folder, options)
        return compare(path, folder / OUTPUTS, expected.detach().float().cpu())


def decode_seconds(model: nn.Module, codes: Posterior, *, batch: int = 64, repeats: int = 5) -> float:
    """Median seconds per decoded sample, in inference mode, after one decoding to warm up.

    Arguments:
        model: an autoencoder on flat codes, on any device.
        codes: at least one code with shape (N, L); they are repeated to fill the batch.
    """
    decoder: Any = model
    device = next((value.device for value in model.parameters()), codes.mean.device)
    rows = codes.rows(torch.arange(batch) % len(codes))
    z, context = rows.mean.to(device), None if rows.context is None else rows.context.to(device)

    def decode() -> None:
        decoder.decode(z) if context is None else decoder.decode(z, context)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode():
            return median_seconds(decode, repeats) / batch
    finally:
        for module, training in was_training.items():
            module.training = training


def median_seconds(run: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Median time of some runs after one that is not counted; fewer runs, one at least, where they take more than 10 seconds."""
    run()
    times: list[float] = []
    while len(times) < repeats and sum(times) < MOST_SECONDS:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _run(path: Path, kind: str, folder: Path, options: list[str]) -> None:
    command = [sys.executable, "-P", "-m", "ardtool.export.fresh_main", str(path.resolve()), kind, str(folder), *options]
    # the same modules as here: -P keeps the current folder out, and the path is this process' own
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
    problem = folder / PROBLEM
    if problem.exists():
        said = json.loads(problem.read_text())
        raise ArdtoolError(said["message"], said["hint"])
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1].rstrip(".")
        raise ArdtoolError(f"The process that checks {path} ended with code {done.returncode}: {last}.", "Check the free memory.")


def compare(path: Path, outputs: Path, expected: Tensor) -> FreshCheck:
    """Compare the outputs that another process wrote with expected ones of shape (N, *input_shape), whose rows repeat.

    Raises:
        ArdtoolError: the shapes differ.
    """
    difference, batches = 0.0, set()
    with safe_open(outputs, framework="pt") as file:
        seconds = float(file.metadata()["seconds_per_sample"])
        sizes = json.loads(file.metadata()["sizes"])
        for name, size in sizes.items():
            found = file.get_tensor(name)
            wanted = expected[torch.arange(len(found)) % len(expected)]
            if found.shape != wanted.shape:
                raise ArdtoolError(
                    f"{path} decodes a batch of {size} to shape {tuple(found.shape)}; expected {tuple(wanted.shape)}.",
                    "The decoder treats batches of that size in another way; use another --export.",
                )
            largest = float((found - wanted).abs().max())
            difference = max(difference, float("inf") if largest != largest else largest)
            batches.add(size)
    return FreshCheck(difference, float(expected.abs().max()), seconds, sorted(batches))
