"""Whether training has come to its end, judged over the last tenth of the epochs: a count of axes is defined at convergence."""

from __future__ import annotations

import math
from statistics import fmean, pvariance

from .record import EpochRecord

__all__ = ["count_stood_still", "epochs_to_count_after", "late_beta", "late_descent", "late_rate"]


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
    fall, last, size = _late_fall(losses)
    return fall / (max(losses[min(size, len(losses) - 2 * size) :]) - last) if fall > 0 else 0.0


def late_rate(history: list[EpochRecord]) -> float:
    """The share of itself by which the validation loss falls in one epoch, by the same two means.

    It sees a slow descent after a steep start, of whose whole it is a small share. 0 where the fall is less than two standard errors of
    itself, and for a loss that is not positive, such as a log-likelihood of densities, which has no scale of its own.
    """
    fall, last, size = _late_fall([record.validation["loss"] for record in history])
    return fall / (size * last) if fall > 0 and last > 0 else 0.0


def _late_fall(losses: list[float]) -> tuple[float, float, int]:
    """By how much the mean of the last tenth lies below that of the tenth before (0 within two standard errors), itself, and its epochs."""
    start = _last_tenth(len(losses))
    size = len(losses) - start
    before, last = losses[max(start - size, 0) : start], losses[start:]
    if not before:
        return 0.0, fmean(last), size
    fall = fmean(before) - fmean(last)
    error = math.sqrt((pvariance(before) + pvariance(last)) / max(size - 1, 1))
    return fall if fall > 2 * error else 0.0, fmean(last), size


def late_beta(history: list[EpochRecord]) -> list[float] | None:
    """β before the last tenth of the epochs and after it; None for a single epoch, and where none was recorded."""
    start = _last_tenth(len(history))
    if start == 0 or "beta" not in history[-1].state:
        return None
    return [history[start - 1].state["beta"], history[-1].state["beta"]]


def _last_tenth(epochs: int) -> int:
    """How many epochs come before the last tenth, which has at least one."""
    return min(math.floor(0.9 * epochs), epochs - 1)
