"""Seeds and sizes of an epoch's random parts: every choice has a generator of its own, seeded by (run seed, epoch, purpose)."""

from __future__ import annotations

import torch

__all__ = ["hold_out_size", "seeded"]

STREAMS = ("hold-out", "shuffle", "noise", "prior", "validation", "final", "reference")


def seeded(seed: int, epoch: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose in one epoch."""
    return torch.Generator(device).manual_seed(((seed * 1_000_003 + epoch) * len(STREAMS) + STREAMS.index(purpose)) % 2**63)


def hold_out_size(alpha_samples: int, training_samples: int) -> int:
    """|X_α| = min(alpha_samples, N_train / 5), at least 2."""
    return max(2, min(alpha_samples, training_samples // 5))
