"""Whether training has come to its end, judged over the last tenth of the epochs: a count of axes is defined at convergence."""

from __future__ import annotations

import math
from statistics import fmean

from .record import EpochRecord

__all__ = ["count_stood_still", "epochs_to_count_after", "last_tenth", "late_descent"]


def last_tenth(epochs: int) -> int:
    """How many epochs come before the last tenth, which has at least one."""
    return min(math.floor(0.9 * epochs), epochs - 1)


def epochs_to_count_after(epochs: int) -> set[int]:
    """Epochs after which the active axes are counted: the start, the middle and the end of the last tenth."""
    start = last_tenth(epochs)
    return {start, (start + epochs) // 2, epochs} - {0}


def count_stood_still(history: list[EpochRecord]) -> bool:
    """Whether there are several counts of active axes, all equal."""
    counts = [record.active for record in history if record.active is not None]
    return len(counts) > 1 and len(set(counts)) == 1


def late_descent(history: list[EpochRecord]) -> float:
    """Of all that the validation loss fell from its highest, the share that it fell from the last tenth but one to the last, by the means
    of both; in [0, 1], and 0 where it did not fall. A steady fall has about 0.1, one that has ended nothing."""
    losses = [record.validation["loss"] for record in history]
    start = last_tenth(len(losses))
    if start == 0:
        return 0.0
    last = fmean(losses[start:])
    before = fmean(losses[2 * start - len(losses) : start])
    return (before - last) / (max(losses) - last) if last < before else 0.0
