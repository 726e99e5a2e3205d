"""The schema of a model file's description: what is used of it has the type and the range that ardtool writes, or the file is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import ModelFileError

__all__ = ["check_description"]

Check = Callable[[Any], bool]
MOST_AXES = 2**24


def _whole(least: int, most: int) -> Check:
    return lambda value: type(value) is int and least <= value <= most


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _positive(value: Any) -> bool:
    return _number(value) and value > 0


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _table(value: Any) -> bool:
    return isinstance(value, dict)


def _list_of(each: Check, length: int | None = None) -> Check:
    return lambda value: isinstance(value, list) and (length is None or len(value) == length) and all(map(each, value))


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


# dotted name → check, and what is expected in words; entries that are missing are those of other kinds of files
SCHEMA: dict[str, tuple[Check, str]] = {
    "format": (_whole(1, 10**6), "a version"),
    "method": (_text, "a name"),
    "sampler": (_or_null(_text), "a name or null"),
    "granularity": (lambda value: value in ("channel", "element"), "channel or element"),
    "codes_count": (_whole(1, 10**15), "a number of codes"),
    "prior_mean": (_or_null(_number), "a number or null"),
    "settings": (_table, "names and values"),
    "settings.threshold": (lambda value: _number(value) and 0 < value <= 1, "a share in (0, 1]"),
    "settings.target_mse": (_or_null(_number), "a number or null"),
    "identity": (_table, "names and values"),
    "likelihood": (_or_null(_table), "names and values"),
    "own_count": (_or_null(_table), "names and values or null"),
    "data": (_or_null(_table), "names and values"),
    "data.name": (_text, "a name"),
    "data.shape": (_list_of(_whole(1, 2**31)), "sizes"),
    "data.value_range": (_or_null(_list_of(_number, 2)), "two numbers or null"),
    "data.pixel_map": (_or_null(_list_of(_number, 2)), "two numbers or null"),
    "data.factor_names": (_list_of(_text), "names"),
    "data.notes": (_list_of(_text), "texts"),
    "training": (_or_null(_table), "names and values"),
    "training.validation": (_table, "names and numbers"),
    "training.validation.mse": (_or_null(_number), "a number"),
    "training.active_trace": (_list_of(_list_of(_whole(0, 10**9), 2)), "pairs of epoch and count"),
    "training.epochs": (_whole(0, 10**9), "a number of epochs"),
    "training.seconds": (_number, "seconds"),
    "training.samples_per_second": (_number, "a rate"),
    "training.late_descent": (_or_null(_number), "a share or null"),
    "training.late_rate": (_or_null(_number), "a share or null"),
    "training.late_beta": (_or_null(_list_of(_positive, 2)), "two positive numbers or null"),
    "axes": (_or_null(_table), "names and values or null"),
    "axes.kept": (_list_of(_whole(0, MOST_AXES)), "numbers of axes"),
    "relevance": (_or_null(_table), "names and values or null"),
    "relevance.active_axes": (_list_of(_whole(0, MOST_AXES)), "numbers of axes"),
    "relevance.explained": (_list_of(_number), "shares"),
    "foreign": (_or_null(_table), "names and values or null"),
    "pruning": (_or_null(_table), "names and values or null"),
}


def check_description(description: dict[str, Any], path: Path) -> None:
    """Compare a description with the schema, before anything is built from it.

    Raises:
        ModelFileError: an entry is of another type or out of its range; it is named.
    """
    for place, (check, expected) in SCHEMA.items():
        *above, name = place.split(".")
        table: Any = description
        for each in above:
            table = table.get(each) if isinstance(table, dict) else None
        if isinstance(table, dict) and name in table and not check(table[name]):
            found = repr(table[name])
            raise ModelFileError(
                f"{path}: its description says {place} is {found if len(found) <= 60 else f'{found[:60]}…'}; expected {expected}.",
                "Train again, or use another copy.",
            )
