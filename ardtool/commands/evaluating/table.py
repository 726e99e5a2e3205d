"""All metrics by name: what each measures and which function does. A new metric is a function in one of the families, and a line here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...errors import ConfigError
from .likelihood import elbo, likelihood_problem
from .reconstruction import mse
from .subject import Subject
from .values import Measured

__all__ = ["METRICS", "Metric", "chosen_metrics"]


@dataclass(frozen=True)
class Metric:
    """A line of the table.

    Attributes:
        group: the family it belongs to; naming a group names all of its metrics that the model and the data have.
        summary: what it measures, in half a line.
        measure: does so.
        lacking: what a model or its data lack for it, the end of a sentence; "" where nothing.
        usual: measured when no metric is named.
    """

    group: str
    summary: str
    measure: Callable[[Subject], Measured]
    lacking: Callable[[Subject], str] = lambda subject: ""
    usual: bool = False


METRICS: dict[str, Metric] = {
    "mse": Metric("reconstruction", "mean squared error per output", mse, usual=True),
    "elbo": Metric("likelihood", "evidence lower bound and its terms, one draw", elbo, likelihood_problem, usual=True),
}
"""Name → metric, in the order in which they are measured."""


def chosen_metrics(wanted: Sequence[str] | None) -> dict[str, bool]:
    """Names of metrics in the order of the table, and whether each was named itself: only then is it an error where it cannot be measured.

    Arguments:
        wanted: names of metrics or of groups, or `all`; None for the usual ones.

    Raises:
        ConfigError: an unknown name, or none.
    """
    if wanted is None:
        return {name: False for name, metric in METRICS.items() if metric.usual}
    groups = list(dict.fromkeys(metric.group for metric in METRICS.values()))
    known = [*METRICS, *groups, "all"]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        name = unknown[0] if unknown else ""
        near = difflib.get_close_matches(name, known, n=1)
        listed = f"Known are {', '.join(METRICS)}; groups are {', '.join(groups)} and all."
        raise ConfigError(f"Unknown metric '{name}'.", f"Did you mean '{near[0]}'? {listed}" if near else listed)
    return {name: name in wanted for name, metric in METRICS.items() if name in wanted or metric.group in wanted or "all" in wanted}
