"""A hash over tensors and their description, by which a file that was changed, or read wrongly, is recognised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["content_hash"]


def content_hash(tensors: Mapping[str, Tensor], description: Any) -> str:
    """SHA-256 over a description that JSON can hold, and over name, type, shape and bytes of every tensor in the order of their names."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True, ensure_ascii=False).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
