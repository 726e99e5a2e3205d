"""What is known about an epoch after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["EpochRecord"]


@dataclass
class EpochRecord:
    """What one epoch did: mean terms of the training and validation loss, and where the time went (seconds).

    `other_seconds` is what has passed since the record before, less these three: splits, shuffles, checkpoints, traces.
    """

    epoch: int
    training: dict[str, float]
    validation: dict[str, float]
    state: dict[str, float]
    lr: float
    samples: int
    step_seconds: float
    prior_seconds: float
    validation_seconds: float
    active: int | None = None
    other_seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))
