"""What is known about an epoch after it and in the middle of it, and the watch that its times are read from."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EpochRecord", "Partial", "PhaseSeconds", "Stopwatch"]


@dataclass
class EpochRecord:
    """What one epoch did: mean terms of the training and validation loss, and where the time went (seconds).

    `checkpoint_seconds` is what was done with the record before: checkpoint, history, progress. `other_seconds` is all else since that
    record: splits, shuffles, the first epoch's choice of a program, counts of active axes.
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
    checkpoint_seconds: float = 0.0
    other_seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Partial:
    """An epoch that has begun.

    Attributes:
        steps: how many are done.
        totals: sums of the terms of the loss over them, over whole batches.
        noise: state of the generator of the steps' noise.
        seconds: of the epoch so far, by phase.
    """

    steps: int
    totals: dict[str, float]
    noise: Tensor
    seconds: dict[str, float]


class PhaseSeconds(TypedDict):
    """Seconds of an epoch by phase, as `EpochRecord` names them."""

    step_seconds: float
    prior_seconds: float
    validation_seconds: float
    checkpoint_seconds: float
    other_seconds: float


class Stopwatch:
    """Seconds by phase since the lap before."""

    PHASES: tuple[str, ...] = ("step", "prior", "validation", "checkpoint")

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._seconds = dict.fromkeys(self.PHASES, 0.0)

    def so_far(self) -> dict[str, float]:
        """Seconds of this lap by phase, and under `all` those since it began."""
        return self._seconds | {"all": time.perf_counter() - self._began}

    def resume(self, seconds: dict[str, float]) -> None:
        """Count on from what `so_far` gave, in a process before."""
        self._began = time.perf_counter() - seconds["all"]
        self._seconds = {phase: float(seconds[phase]) for phase in self.PHASES}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What runs inside belongs to a phase."""
        began = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """So many seconds belonged to a phase."""
        self._seconds[name] += seconds

    def lap(self) -> PhaseSeconds:
        """Seconds of each phase, and of what belonged to none; counts from zero again."""
        began, self._began = self._began, time.perf_counter()
        step, prior, validation, checkpoint = (self._seconds.pop(phase) for phase in self.PHASES)
        self._seconds = dict.fromkeys(self.PHASES, 0.0)
        return PhaseSeconds(
            step_seconds=step,
            prior_seconds=prior,
            validation_seconds=validation,
            checkpoint_seconds=checkpoint,
            other_seconds=self._began - began - step - prior - validation - checkpoint,
        )
