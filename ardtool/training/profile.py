"""Where the time of a run went, and how near its steps come to what the hardware can do.

    achieved     = FLOPs of a step, counted from the operators that it calls / seconds of a step
    utilisation  = achieved / matrix rate,   the rate of one large matrix product in the run's precision on the same device

A multiplication and an addition are two FLOPs. Convolutions and matrix products are counted, forward and backward; nothing else is, so
the utilisation of a network that is all activations is low however fast it runs. FLOP/s are a rate.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .loop import TrainingRun
from .precision import computing, execution_of
from .record import EpochRecord, Stopwatch

__all__ = ["flops_per_sample", "matrix_rate", "peak_bytes", "profile", "time_shares"]

PHASES = (*Stopwatch.PHASES, "other")
MATRIX_SIZE = {"cuda": 8192, "cpu": 1024}
MATRIX_SECONDS, FEWEST_PRODUCTS = 0.5, 5


def profile(run: TrainingRun, records: list[EpochRecord]) -> dict[str, Any]:
    """The profile of a run that has not been finished yet.

    Arguments:
        run: as it is after its last epoch.
        records: the epochs that count, at least one.

    Returns:
        `steps` (plain, captured, compiled), `data` (memory, device, drawn, host), `precision`, `device`, `samples_per_second`,
        `flops_per_sample`, `flops_per_second`, `matrix_flops_per_second` (of several processes together), `utilisation`, `shares` of the
        time by phase, and `peak_memory` in bytes: on a GPU what torch has allocated there, else of the whole process (null where the
        system does not say).
    """
    samples, seconds = sum(each.samples for each in records), sum(each.step_seconds for each in records)
    flops, rate = flops_per_sample(run), matrix_rate(run) * run.processes.size
    return {
        "steps": run.stepper.kind,
        "data": run.source.place,
        "precision": run.config.precision,
        "device": torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else str(run.device),
        "samples_per_second": samples / seconds,
        "flops_per_sample": flops,
        "flops_per_second": flops * samples / seconds,
        "matrix_flops_per_second": rate,
        "utilisation": flops * samples / seconds / rate,
        "shares": time_shares(records),
        "peak_memory": peak_bytes(run.device),
    }


def time_shares(records: list[EpochRecord]) -> dict[str, float]:
    """Shares of the whole time by phase; they sum to 1."""
    seconds = {phase: sum(getattr(each, f"{phase}_seconds") for each in records) for phase in PHASES}
    return {phase: value / sum(seconds.values()) for phase, value in seconds.items()}


def flops_per_sample(run: TrainingRun) -> float:
    """FLOPs of one gradient step over its samples, further batches included in the step; the run is left as it was."""
    snapshot = run.stepper.snapshot()
    execution = execution_of(run.model, run.config.precision, compiled=False)  # what a compiler makes of it hides its operators
    shard = run.processes.shard(min(run.batch_size, len(run.train)))
    size = shard.rows.stop - shard.rows.start
    index = run.train[torch.arange(size * (1 + run.objective.further_batches)) % len(run.train)]
    training = run.model.training
    with computing(run.model, execution, run.config.precision, run.device), run.processes.sharing(shard):
        run.model.train()
        with _FlopCounter() as counter:
            run.stepper.step(run.source.fetch(run.source.indices(index)), torch.Generator(run.device).manual_seed(0))
        snapshot.restore()
        run.model.train(training)
    return counter.flops / size


def matrix_rate(run: TrainingRun) -> float:
    """FLOP/s of the fastest of several large square matrix products in the run's precision, on its device."""
    size = MATRIX_SIZE.get(run.device.type, MATRIX_SIZE["cpu"])
    dtype = torch.bfloat16 if run.config.precision == "bf16" else torch.float32
    noise = torch.Generator(run.device).manual_seed(0)
    matrix = torch.randn(size, size, device=run.device, generator=noise).to(dtype)  # of equal numbers GPUs make more FLOP/s
    times: list[float] = []
    with run.computing():
        while len(times) < FEWEST_PRODUCTS or sum(times) < MATRIX_SECONDS:
            _wait(run.device)
            began = time.perf_counter()
            torch.mm(matrix, matrix)
            _wait(run.device)
            times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times)


def peak_bytes(device: torch.device) -> int | None:
    """The most memory taken so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _FlopCounter(TorchDispatchMode):
    """Sums up FLOPs by torch's own formulas. Its `FlopCounterMode` also follows modules, which gradients of chosen inputs do not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
