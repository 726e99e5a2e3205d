"""How many axes a pruned model keeps: the user's choice, read and checked, and the curve behind a choice by measured error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...errors import ConfigError
from ...metrics.reconstruction import curve_counts
from ..inputs import threshold_of, whole_number, whole_numbers

__all__ = ["Choice", "CurvePoint", "Limit", "read_choice", "search_curve", "smallest_within"]

DEFAULT_THRESHOLD = 0.99


@dataclass(frozen=True)
class Limit:
    """How much of an error is allowed.

    Attributes:
        metric: `mse`: of reconstructions of data; `output_change`: mean squared difference per output to the full decoder.
        value: for `mse` the largest share by which it may grow; for `output_change` the largest value, ≥ 0.
        relative: for `output_change`, whether the value is a share of the outputs' mean squared deviation from their mean.
    """

    metric: str
    value: float
    relative: bool

    @property
    def option(self) -> str:
        return "--max-mse-increase" if self.metric == "mse" else "--max-output-change"

    @property
    def text(self) -> str:
        return f"{100 * self.value:g} %" if self.relative else f"{self.value:g}"


@dataclass(frozen=True)
class Choice:
    """What decides which axes stay: one of a list, a number, a limit, or else the threshold."""

    threshold: float = DEFAULT_THRESHOLD
    keep: int | None = None
    axes: tuple[int, ...] | None = None
    limit: Limit | None = None


@dataclass(frozen=True)
class CurvePoint:
    """What it costs to keep the k most relevant axes.

    Attributes:
        k: how many axes are free; all others are held still.
        mse: mean squared error per output of reconstructions of the data; None without data.
        output_change: mean squared difference per output to the full decoder on the reference codes.
    """

    k: int
    mse: float | None
    output_change: float

    def value(self, metric: str) -> float:
        found = self.mse if metric == "mse" else self.output_change
        return math.nan if found is None else found


def read_choice(
    threshold: float,
    keep: int | None,
    axes: Sequence[int] | None,
    max_output_change: float | str | None,
    max_mse_increase: float | str | None,
) -> Choice:
    """The choice behind options of which at most one may be given; a threshold of 0.99 is none.

    Raises:
        ConfigError: several are given, or one is out of its range.
    """
    share = threshold_of(threshold)
    options = {
        "--keep": keep is not None,
        "--axes": axes is not None,
        "--max-output-change": max_output_change is not None,
        "--max-mse-increase": max_mse_increase is not None,
        "--threshold": share != DEFAULT_THRESHOLD,
    }
    given = [name for name, is_given in options.items() if is_given]
    if len(given) > 1:
        word = "both" if len(given) == 2 else "all"
        raise ConfigError(f"{', '.join(given[:-1])} and {given[-1]} {word} choose what stays.", "Give one of them.")
    limit = None
    if max_output_change is not None:
        value, relative = _amount(
            "--max-output-change", max_output_change, "a mean squared difference such as 0.001, or a share such as 1%"
        )
        limit = Limit("output_change", value, relative)
    if max_mse_increase is not None:
        limit = Limit("mse", _amount("--max-mse-increase", max_mse_increase, "a share such as 1% or 0.01")[0], True)
    count = None if keep is None else whole_number("--keep", keep)
    return Choice(share, count, None if axes is None else whole_numbers("--axes", axes), limit)


def _amount(option: str, given: float | str, expected: str) -> tuple[float, bool]:
    """A number ≥ 0, and whether it was written in percent: (0.01, True) from "1%" or "1 %", (0.01, False) from "0.01" or 0.01."""
    text = str(given).strip()
    percent = text.endswith("%")
    try:
        value = float(text.removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{option} is '{given}'; expected {expected}.", f"For example {option} 1%.")
    return value, percent


def search_curve(
    count: int, measure: Callable[[list[int]], list[CurvePoint]], within: Callable[[CurvePoint], bool] | None = None
) -> list[CurvePoint]:
    """Points of the curve by ascending k: every k up to 64 axes; of more a grid, then bisection between what is within and what is not.

    Arguments:
        count: the largest k.
        measure: the points of some k.
        within: whether a point is within the limit; None for no bisection.
    """
    points = measure(curve_counts(count))
    while within is not None and (best := smallest_within(points, within)) is not None:
        below = max((point.k for point in points if point.k < best.k), default=best.k - 1)
        if best.k - below <= 1:
            break
        points = sorted([*points, *measure([(below + best.k) // 2])], key=lambda point: point.k)
    return points


def smallest_within(points: Sequence[CurvePoint], within: Callable[[CurvePoint], bool]) -> CurvePoint | None:
    """The smallest k that, with all larger ones that were measured, is within the limit; a curve need not fall all the way."""
    best = None
    for point in sorted(points, key=lambda point: -point.k):
        if not within(point):
            break
        best = point
    return best
