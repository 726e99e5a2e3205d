"""Precision of a training step: which one a device gets, and the switches that go with it.

    fp32   float32 throughout; TF32 is off
    tf32   matrix products and convolutions round their inputs to 10 bits of mantissa; GPUs with compute capability 8.0
    bf16   encoder and decoder under bfloat16 autocast (`networks/execution.py`), all else as with fp32
    auto   bf16 on GPUs with compute capability 8.0, else fp32

The network that is scored and saved is always run in float32: `computing` puts everything back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import ConfigError
from ..networks.build import NetworkAutoencoder
from ..networks.execution import Execution

__all__ = ["computing", "deterministic_algorithms", "execution_of", "float32_settings", "resolved_precision"]

AMPERE = (8, 0)
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def resolved_precision(wanted: str, device: torch.device) -> str:
    """`fp32`, `tf32` or `bf16` for a device.

    Raises:
        ConfigError: the device has no such arithmetic.
    """
    fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= AMPERE
    if wanted == "auto":
        return "bf16" if fast else "fp32"
    if (wanted == "tf32" and not fast) or (wanted == "bf16" and device.type == "cuda" and not fast):
        raise ConfigError(f"--precision {wanted} needs a GPU of compute capability 8.0; this is {device}.", "Use --precision auto or fp32.")
    return wanted


def execution_of(model: NetworkAutoencoder, precision: str, *, compiled: bool) -> Execution | None:
    """How the network's layers are run in a resolved precision; None: as they are."""
    if precision != "bf16" and not compiled:
        return None
    return Execution(model.encoder, model.decoder, torch.bfloat16 if precision == "bf16" else None, compiled=compiled)


@contextmanager
def computing(model: NetworkAutoencoder, execution: Execution | None, precision: str, device: torch.device) -> Iterator[None]:
    """Training, prior updates and validation in a resolved precision, on a device."""
    model.execution = execution
    try:
        if device.type == "cuda":
            with torch.cuda.device(device), _switches(tf32=precision == "tf32"):
                yield
        else:
            yield
    finally:
        model.execution = None


@contextmanager
def _switches(*, tf32: bool) -> Iterator[None]:
    """TF32 on or off, and convolutions by the algorithm that is fastest for their shapes, unless the same is wanted each time."""
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    cudnn.allow_tf32, cudnn.benchmark = tf32, not torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.benchmark = before[1:]


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Only algorithms that give the same result each time, where that is wanted; what was set before is set again afterwards.

    cuBLAS reads its variable when it is first used: a program that has used it before sets the variable itself, at its start.
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get(WORKSPACE)
    benchmark, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    os.environ.setdefault(WORKSPACE, ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            del os.environ[WORKSPACE]


def float32_settings(precision: str, device: torch.device) -> dict[str, Any]:
    """How float32 is multiplied while steps run, for the record of a run."""
    by_us = device.type == "cuda"
    tf32 = precision == "tf32"
    return {
        "float32_matmul_precision": ("high" if tf32 else "highest") if by_us else torch.get_float32_matmul_precision(),
        "cudnn_allow_tf32": tf32 if by_us else None,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
