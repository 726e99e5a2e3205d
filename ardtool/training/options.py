"""Options that single methods have: their names, types, ranges and defaults come from the method's own `Options`."""

from __future__ import annotations

import dataclasses
import difflib
import sys
import typing
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from ..objectives import OBJECTIVES
from ..objectives.objective import Objective
from .config import convert

__all__ = ["METHOD_SETTINGS", "option_fields", "options_of", "resolved_options"]

# general settings that only some methods have
METHOD_SETTINGS = (
    "beta",
    "target_mse",
    "beta_warmup",
    "likelihood",
    "alpha_samples",
    "alpha_every",
    "prior",
    "student_t_draws",
    "prior_a0",
    "prior_b0",
    "prior_mean",
    "rao_blackwell",
)


def option_fields(objective: type[Objective]) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a method's options by dotted name; a dash in its prefix is an underscore, as in all names of settings."""
    prefix = objective.prefix.replace("-", "_")
    return {f"{prefix}.{field.name}": field for field in dataclasses.fields(objective.Options)}


def resolved_options(method: str, given: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a method by dotted name: what was given, else the method's value for the data, else its default.

    Arguments:
        method: a name in `OBJECTIVES`.
        given: by dotted name, as text or as they are.
        own: the method's values for the data set, which may hold options by their short names.

    Raises:
        ConfigError: an option is not known, belongs to another method, or has a wrong value.
    """
    objective = OBJECTIVES[method]
    fields = option_fields(objective)
    hints = typing.get_type_hints(objective.Options, vars(sys.modules[objective.Options.__module__]))
    given = {name.replace("-", "_"): value for name, value in given.items()}
    for name in given:
        if name not in fields:
            raise _unknown(method, name, list(fields))
    values = {}
    for name, field in fields.items():
        value = given.get(name, own.get(field.name, field.default))
        values[name] = convert(name, value, hints[field.name], "the settings")
        _check_range(name, values[name], field)
    return values


def options_of(method: str, resolved: Mapping[str, Any]) -> Any:
    """The method's `Options` from resolved options by dotted name."""
    objective = OBJECTIVES[method]
    return objective.Options(**{field.name: resolved[name] for name, field in option_fields(objective).items() if name in resolved})


def _unknown(method: str, name: str, known: list[str]) -> ConfigError:
    owners = [other for other, objective in OBJECTIVES.items() if name in option_fields(objective)]
    if owners:
        return ConfigError(f"{name} is an option of {', '.join(owners)}, not of {method}.", "Leave it out, or choose another --method.")
    short = name.rpartition(".")[2]
    near = [each for each in known if each.endswith(f".{short}")] or difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Its options are {', '.join(known)}." if known else "It has no options of its own."
    return ConfigError(f"{method} has no option '{name}'.", hint)


def _check_range(name: str, value: Any, field: Any) -> None:
    low, high = field.metadata.get("low"), field.metadata.get("high")
    if isinstance(value, bool | str) or value is None:
        return
    if (low is not None and value < low) or (high is not None and value > high) or value != value:
        limit = f"at least {low:g}" if high is None else f"at most {high:g}" if low is None else f"{low:g} to {high:g}"
        raise ConfigError(f"{name} is {value:g}; expected {limit}.", f"The default is {field.default}.")
