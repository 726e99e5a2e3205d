"""The figure of pruning: what it costs to keep the k most relevant axes, and where the cut was made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import AMBER, BLUE, GREY, INK, NORMAL, headline, key, log_ticks, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["pruning_figure"]

MARKED_POINTS = 64
SMALLEST = 1e-6  # of the largest value; smaller values are rounding
LOGARITHMIC = 20  # largest over smallest value from which on the scale is logarithmic
NAMES = {"mse": "mean squared error of reconstructions", "output_change": "mean squared change of the output"}


def pruning_figure(
    curve: Sequence[Mapping[str, float | None]], chosen: int, title: str, *, limits: Mapping[str, float] | None = None, noun: str = "axes"
) -> Figure:
    """Errors against the number of axes that are kept, one panel a metric.

    Arguments:
        curve: points by ascending `k`, with `mse` (or None in all of them) and `output_change`.
        chosen: the k of the pruned model; it is one of the points.
        title: a sentence with the result.
        limits: the largest allowed value of `mse` or `output_change`, drawn as a line.
        noun: what is counted.
    """
    metrics = [name for name in NAMES if all(point.get(name) is not None for point in curve)]
    figure = new_figure(1000 if len(metrics) > 1 else 620, 400)
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    left = 0.08 if len(metrics) > 1 else 0.13
    figure.subplots_adjust(left=left, right=0.98, top=0.85, bottom=0.15, wspace=0.26)
    headline(figure, left, title)
    for ax, metric in zip(panels, metrics, strict=True):
        _draw(ax, [(int(point["k"] or 0), float(point[metric] or 0.0)) for point in curve], chosen, (limits or {}).get(metric), noun)
        ax.set_ylabel(NAMES[metric], fontsize=NORMAL, color=INK)
    return figure


def _draw(ax: Axes, points: list[tuple[int, float]], chosen: int, limit: float | None, noun: str) -> None:
    """The measured values, those of smaller k than chosen in grey."""
    from matplotlib.ticker import MaxNLocator

    plain_axes(ax)
    k, value = np.array([point[0] for point in points]), np.array([point[1] for point in points])
    low = _scale(ax, value, limit)
    shown = np.where(value > low, value, math.nan) if low > 0 else value
    options: dict[str, Any] = {"marker": "o" if len(k) <= MARKED_POINTS else "", "markersize": 3.5, "clip_on": False}
    ax.plot(k, shown, color=GREY, linewidth=1.4, zorder=3, **options)
    ax.plot(k[k >= chosen], shown[k >= chosen], color=BLUE, linewidth=1.8, zorder=4, **options)
    at = np.maximum(value[k == chosen], low)
    ax.plot([chosen], at, "o", color=BLUE, markersize=7, zorder=5, clip_on=False, label=f"kept: {chosen}")
    if limit is not None:
        ax.axhline(limit, color=AMBER, linestyle=(0, (4, 2)), linewidth=1.2, label=f"limit: {limit:.3g}")
    ax.set_xlim(0, k.max() + 0.6)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    ax.set_xlabel(f"number of {noun} kept", fontsize=NORMAL, color=INK)
    key(ax)


def _scale(ax: Axes, value: np.ndarray, limit: float | None) -> float:
    """Choose a linear or a logarithmic scale; its lower end, below which values are rounding and not drawn."""
    heights = [float(each) for each in (*value, limit or 0.0) if each > SMALLEST * max(value.max(), limit or 0.0)]
    if not heights or max(heights) <= LOGARITHMIC * min(heights):
        ax.set_ylim(0, 1.06 * max(heights, default=1.0))
        return 0.0
    low = 10.0 ** math.floor(math.log10(min(heights)))
    ax.set_ylim(low, 1.6 * max(heights))
    log_ticks(ax)
    return low
