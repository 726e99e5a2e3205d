"""Nested training state as named tensors and JSON, so that it can be saved without pickle and restored bit for bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["flatten_state", "match_parameters", "unflatten_state"]

MARK = "$tensor"


def flatten_state(state: Any, prefix: str = "") -> tuple[dict[str, Tensor], Any]:
    """Split nested dicts and lists into (tensors by dotted name, a skeleton that JSON can hold).

    Integer keys, as in an optimiser's state, are kept apart from string keys.
    """
    if isinstance(state, Tensor):
        return {prefix: state.detach().cpu().contiguous()}, {MARK: prefix}
    if isinstance(state, dict):
        entries: list[list[Any]] = []
        tensors: dict[str, Tensor] = {}
        for key, value in state.items():
            found, skeleton = flatten_state(value, f"{prefix}.{key}" if prefix else str(key))
            tensors |= found
            entries.append([key, skeleton])
        return tensors, {"$dict": entries}
    if isinstance(state, list | tuple):
        tensors, items = {}, []
        for index, value in enumerate(state):
            found, skeleton = flatten_state(value, f"{prefix}.{index}")
            tensors |= found
            items.append(skeleton)
        return tensors, items
    return {}, state


def unflatten_state(tensors: dict[str, Tensor], skeleton: Any) -> Any:
    """The inverse of `flatten_state` (tuples come back as lists)."""
    if isinstance(skeleton, list):
        return [unflatten_state(tensors, item) for item in skeleton]
    if isinstance(skeleton, dict):
        if MARK in skeleton:
            return tensors[skeleton[MARK]]
        return {key: unflatten_state(tensors, value) for key, value in skeleton["$dict"]}
    return skeleton


def match_parameters(optimiser: torch.optim.Optimizer) -> None:
    """Put restored moments where their parameters are, laid out in memory as these: fused and captured updates want them so.

    Raises:
        ValueError: moments of another shape, which fused updates would read beyond their end.
    """
    for parameter, values in optimiser.state.items():
        for name, value in values.items():
            if not isinstance(value, Tensor):
                continue
            if value.dim() and value.shape != parameter.shape:
                raise ValueError(f"moments of shape {tuple(value.shape)} for a parameter of shape {tuple(parameter.shape)}")
            values[name] = value.to(parameter.device)
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
