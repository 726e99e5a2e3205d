"""Forward mode without a warning: the first `jvp` of a process makes torch load decompositions, which it compiles by `torch.jit.script`;
torch then warns whoever called that this function of its own is deprecated.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

__all__ = ["jvp"]


def jvp(function: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, ...]:
    """`torch.func.jvp`: f(x) and J t."""
    _load_decompositions()
    return torch.func.jvp(function, primals, tangents)


@cache
def _load_decompositions() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit\.script", FutureWarning)
        torch.func.jvp(torch.sin, (torch.zeros(()),), (torch.ones(()),))
