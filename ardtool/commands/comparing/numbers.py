"""Mean and sample standard deviation over seeds, and how they are written: 12.80 ± 0.45.

The standard deviation (divisor n − 1) has two significant digits, the mean the same decimals; numbers below 0.001 or from a million on
share one power of ten. Decimal arithmetic, so that a 5 is rounded as it is printed, to the even neighbour.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

__all__ = ["Cell", "Summary", "mean_and_deviation", "summarise"]

MISSING = "–"
SMALLEST, LARGEST = 1e-3, 1e6


@dataclass(frozen=True)
class Summary:
    """One quantity over the runs of a group.

    Attributes:
        mean: over the runs that have a finite value; None where none has.
        std: sample standard deviation (divisor n − 1); None where n < 2.
        n: runs with a finite value; `of`: runs in the group.
        values: by seed, ascending; None where a run's value is not a finite number.
    """

    mean: float | None
    std: float | None
    n: int
    of: int
    values: dict[int, float | None]

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self)) | {"values": {str(seed): value for seed, value in self.values.items()}}


@dataclass(frozen=True)
class Cell:
    """A text, or a number with its spread: (text ± spread) · 10^power, and what is to be said about it."""

    text: str = ""
    spread: str = ""
    power: int = 0
    remark: str = ""

    def __str__(self) -> str:
        number = f"{self.text} ± {self.spread}" if self.spread else self.text
        if self.power:
            number = f"({number})e{self.power}" if self.spread else f"{number}e{self.power}"
        return f"{number} ({self.remark})" if self.remark else number


def summarise(values: Mapping[int, float | None], of: int) -> Summary:
    """The values of a group's runs by seed, as far as they have one; NaN and infinities count as none."""
    kept = {seed: _finite(values[seed]) for seed in sorted(values)}
    numbers = [value for value in kept.values() if value is not None]
    mean = float(statistics.fmean(numbers)) if numbers else None
    return Summary(mean, float(statistics.stdev(numbers)) if len(numbers) > 1 else None, len(numbers), of, kept)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def mean_and_deviation(mean: float | None, std: float | None, remark: str = "") -> Cell:
    """A mean and its sample standard deviation; the mean alone with three digits where there is no deviation, a dash for no mean."""
    if mean is None or not math.isfinite(mean):
        return Cell(MISSING, remark=remark)
    centre = Decimal(repr(float(mean)))
    spread = None if std is None or not math.isfinite(std) else Decimal(repr(float(std)))
    size = max(abs(mean), 0.0 if spread is None else abs(float(spread)))
    power = 0 if size == 0 or SMALLEST <= size < LARGEST else math.floor(math.log10(size))
    centre = centre.scaleb(-power)
    if not spread:
        whole = centre == centre.to_integral_value() and not power
        text = _written(centre, 0 if whole else min(0, centre.adjusted() - 2))
        return Cell(text, "" if spread is None else "0", power, remark)
    spread = spread.scaleb(-power)
    place = _place(spread)
    return Cell(_written(centre, place), _written(spread, place), power, remark)


def _place(spread: Decimal) -> int:
    """The power of ten of the second significant digit, after rounding: −2 for 0.45, −1 for 0.996, which becomes 1.0."""
    place = spread.adjusted() - 1
    return _rounded(spread, place).adjusted() - 1


def _rounded(value: Decimal, place: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(place))


def _written(value: Decimal, place: int) -> str:
    text = f"{_rounded(value, place):,.{max(0, -place)}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text
