"""Whether training has come to its end, judged over the last tenth of the epochs: a count of axes is defined at convergence."""

from __future__ import annotations

import math
from statistics import fmean, pvariance

from .record import EpochRecord

__all__ = ["count_stood_still", "epochs_to_count_after", "late_descent"]


def epochs_to_count_after(epochs: int) -> set[int]:
    """Epochs after which the active axes are counted: the start, the middle and the end of the last tenth."""
    start = _last_tenth(epochs)
    return {start, (start + epochs) // 2, epochs} - {0}


def count_stood_still(history: list[EpochRecord]) -> bool:
    """Whether there are several counts of active axes, all equal."""
    counts = [record.active for record in history if record.active is not None]
    return len(counts) > 1 and len(set(counts)) == 1


def late_descent(history: list[EpochRecord]) -> float:
    """The share of its whole descent by which the validation loss fell from the last tenth of the epochs but one to the last.

    The means of both tenths are compared; the whole begins with the highest loss after the first tenth, where a loss may be anything.
    A steady fall has about 1/9, one that has ended nothing; 0 where the fall is less than two standard errors of itself.
    """
    losses = [record.validation["loss"] for record in history]
    start = _last_tenth(len(losses))
    if start == 0:
        return 0.0
    size = len(losses) - start
    before, last = losses[start - size : start], losses[start:]
    fall = fmean(before) - fmean(last)
    error = math.sqrt((pvariance(before) + pvariance(last)) / max(size - 1, 1))
    whole = max(losses[min(size, start - size) :]) - fmean(last)
    return fall / whole if fall > 2 * error else 0.0


def _last_tenth(epochs: int) -> int:
    """How many epochs come before the last tenth, which has at least one."""
    return min(math.floor(0.9 * epochs), epochs - 1)
