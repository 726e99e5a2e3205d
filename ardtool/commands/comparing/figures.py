"""What a comparison draws: bars of counts and errors, or cumulative shares of every run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ...errors import ConfigError
from ...report.comparisons import Measured, bars_figure, shares_figure
from .groups import Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..compare import CompareResult

__all__ = ["Kind", "compare_figure"]

Kind = Literal["bars", "shares"]
MOST_PANELS = 3
DEFAULT_THRESHOLD = 0.99


def compare_figure(result: CompareResult, kind: Kind) -> Figure:
    """A figure of groups of runs.

    Arguments:
        kind: `bars` for active axes, validation MSE, and the first metric that `evaluate` left; `shares` for the cumulative shares of runs.

    Raises:
        ConfigError: no run says what is to be drawn.
    """
    data = list(dict.fromkeys(group.data for group in result.groups))
    names = {id(group): _name(group, len(data) > 1) for group in result.groups}
    where = data[0] if len(data) == 1 else f"{len(data)} data sets"
    if kind == "bars":
        title = f"{result.runs} runs on {where}: mean and standard deviation over seeds"
        return bars_figure(list(names.values()), _panels(result.groups), title)
    runs = [(names[id(group)], result.shares.get(path, ())) for group in result.groups for path in group.runs]
    runs = [(name, shares) for name, shares in runs if shares]
    if not runs:
        raise ConfigError("No run says the shares of its axes, so there is nothing to draw.", "Leave --figure shares out.")
    thresholds = {group.settings.get("threshold", DEFAULT_THRESHOLD) for group in result.groups}
    return shares_figure(runs, max(thresholds), f"{len(runs)} runs on {where}")


def _name(group: Group, with_data: bool) -> str:
    parts = [*([group.data] if with_data else []), group.method, f"L {group.latent}"]
    return " · ".join([*parts, *(f"{name} {value}" for name, value in group.differing.items())])


def _panels(groups: list[Group]) -> list[Measured]:
    """Counts, errors, and the metrics that most groups have."""
    panels = [
        Measured("relevant axes", [(group.active.mean, group.active.std, group.active.n) for group in groups]),
        Measured("validation MSE", [(group.validation_mse.mean, group.validation_mse.std, group.validation_mse.n) for group in groups]),
    ]
    counted: dict[tuple[str, str, str], int] = {}
    for group in groups:
        for metric in group.metrics:
            identity = (metric.name, metric.axes, metric.convention)
            counted[identity] = counted.get(identity, 0) + 1
    for identity in sorted(counted, key=lambda each: -counted[each])[: MOST_PANELS - len(panels)]:
        found = [next((m.summary for m in group.metrics if (m.name, m.axes, m.convention) == identity), None) for group in groups]
        values = [(None, None, 0) if each is None else (each.mean, each.std, each.n) for each in found]
        panels.append(Measured(f"{identity[0]} ({identity[1]} axes)", values))
    return panels
