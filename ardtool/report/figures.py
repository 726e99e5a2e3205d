"""Figures of a result, ready to be saved: which axes are relevant, what each of them does, and how training went.

The figures of traversals are in `traversals`; all of them are reached from here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..latent.relevance import AxisRelevance
from ..storage.atomic import write_atomically
from ..storage.images import check_suffix
from .style import AMBER, BLUE, DPI, GREY, INK, NORMAL, SMALL, headline, key, log_ticks, new_figure, percent_axis, plain_axes
from .traversals import traversal_figure, traversal_frames, vector_traversal_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["history_figure", "save_figure", "scree_figure", "traversal_figure", "traversal_frames", "vector_traversal_figure"]

LOWEST_SHARE = 1e-6
LABELLED_AXES = 40
UPRIGHT_LABELS = 20
SEPARATE_BARS = 64
MARKED_EPOCHS = 30
FIGURE_SUFFIXES = (".png", ".svg", ".pdf")


def scree_figure(axes: Sequence[AxisRelevance], threshold: float, active: int, interval: tuple[int, int], title: str) -> Figure:
    """Share of every axis in the total relevance score, by rank, and the share of the first k axes together.

    Arguments:
        axes: all L axes, in any order.
        threshold: the share that the relevant axes exceed together, in (0, 1].
        active: the number of relevant axes.
        interval: lowest and highest number in its 95 % interval.
        title: a sentence with the result.
    """
    ranked = sorted(axes, key=lambda axis: -axis.score)
    figure = new_figure(1000, 450)
    left, right = figure.subplots(1, 2, width_ratios=(1.75, 1), gridspec_kw={"wspace": 0.3})
    figure.subplots_adjust(left=0.095, right=0.985, top=0.84, bottom=0.15)
    headline(figure, 0.095, title)
    _draw_shares(left, ranked)
    _draw_cumulative(right, np.cumsum([axis.explained for axis in ranked]), threshold, active, interval)
    return figure


def _draw_shares(ax: Axes, ranked: Sequence[AxisRelevance]) -> None:
    """Bars on a logarithmic scale, relevant ones in colour, with one standard error; a triangle marks an axis below the scale."""
    count, rank = len(ranked), np.arange(1, len(ranked) + 1)
    share = np.array([axis.explained for axis in ranked])
    total = sum(axis.score for axis in ranked) or 1.0
    error = np.array([axis.score_stderr for axis in ranked]) / total
    floor = _floor(share)
    plain_axes(ax)
    ax.set_yscale("log", nonpositive="clip")
    ax.set_ylim(floor, 1.6)
    ax.set_xlim((0.25, count + 0.75) if count > 1 else (-1, 3))
    percent_axis(ax)
    ax.set_ylabel("share of the relevance score", fontsize=NORMAL, color=INK)
    separate = count <= SEPARATE_BARS
    handles: list[Any] = []
    for name, colour, chosen in _groups(ranked):
        width = 0.72 if separate else 1.0
        handles.append(ax.bar(rank[chosen], share[chosen], width=width, color=colour, linewidth=0, label=name))
    if separate:
        caps = 2 if count <= LABELLED_AXES else 0
        ax.errorbar(rank, share, yerr=error, fmt="none", ecolor=INK, elinewidth=0.9, capsize=caps)
        hidden = rank[share < floor]
        if len(hidden):
            handles += ax.plot(hidden, np.full(len(hidden), floor * 1.12), "v", color=GREY, markersize=4.5, label="below the scale")
    _label_ranks(ax, ranked)
    key(ax, handles, "above")


def _floor(share: np.ndarray) -> float:
    """The lower end of the scale: the power of ten below all positive shares, between 1e-6 and 1e-2."""
    positive = share[share > 0]
    lowest = 10.0 ** math.floor(math.log10(positive.min())) if len(positive) else LOWEST_SHARE
    return min(max(lowest, LOWEST_SHARE), 1e-2)


def _groups(ranked: Sequence[AxisRelevance]) -> list[tuple[str, str, np.ndarray]]:
    """Name, colour and mask of the relevant axes and of the others; empty groups are left out."""
    active = np.array([axis.active for axis in ranked], dtype=bool)
    groups = [("relevant", BLUE, active), ("not relevant", GREY, ~active)]
    return [group for group in groups if group[2].any()]


def _label_ranks(ax: Axes, ranked: Sequence[AxisRelevance]) -> None:
    """Indices of the axes below the bars where there is room, ranks otherwise."""
    if len(ranked) > LABELLED_AXES:
        ax.set_xlabel("rank of the latent axis", fontsize=NORMAL, color=INK)
        return
    rotation = 0 if len(ranked) <= UPRIGHT_LABELS else 90
    ax.set_xticks(range(1, len(ranked) + 1), [str(axis.axis) for axis in ranked], rotation=rotation, fontsize=SMALL)
    ax.tick_params(axis="x", length=0)
    ax.set_xlabel("latent axis, most relevant first", fontsize=NORMAL, color=INK)


def _draw_cumulative(ax: Axes, cumulative: np.ndarray, threshold: float, active: int, interval: tuple[int, int]) -> None:
    """Share of the first k axes against k, the threshold, the count and its interval."""
    from matplotlib.ticker import MaxNLocator

    low, high = interval
    span = f"{low}–{high}" if high > low else f"{low}"
    count = len(cumulative)
    last = count if count <= LABELLED_AXES else min(count, max(10, 2 * active, high + 4))
    marker = "o" if last <= LABELLED_AXES else ""
    reached = float(cumulative[active - 1]) if active else 0.0
    plain_axes(ax)
    percent_axis(ax)
    ax.axvspan(low - 0.5, high + 0.5, color=BLUE, alpha=0.13, linewidth=0, label=f"95 % interval: {span}")
    ax.axhline(threshold, color=AMBER, linestyle=(0, (4, 2)), linewidth=1.2, label=f"threshold: {100 * threshold:g} %")
    ax.plot(range(last + 1), [0, *cumulative[:last]], color=GREY, marker=marker, markersize=3.5, linewidth=1.4, zorder=3)
    ax.plot(range(active + 1), [0, *cumulative[:active]], color=BLUE, marker=marker, markersize=3.5, linewidth=1.8, zorder=4)
    ax.plot([active], [reached], "o", color=BLUE, markersize=7, zorder=5, label=f"relevant axes: {active}")
    ax.set_xlim(0, last + 0.6)
    ax.set_ylim(0, 1.06)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    ax.set_xlabel("number of axes", fontsize=NORMAL, color=INK)
    ax.set_ylabel("cumulative share", fontsize=NORMAL, color=INK)
    key(ax, place="lower right")


def history_figure(history: Sequence[dict[str, Any]], title: str) -> Figure:
    """Loss by epoch and, where the objective learns a prior, the range of its variances.

    Arguments:
        history: one record an epoch, with the loss under "training" and "validation" and, under "state", "prior_variance_min" and
            "prior_variance_max" where there are any.
        title: written above.
    """
    prior = any("prior_variance_min" in (record.get("state") or {}) for record in history)
    figure = new_figure(1000 if prior else 620, 400)
    panels = figure.subplots(1, 2 if prior else 1, squeeze=False)[0]
    left = 0.08 if prior else 0.13
    figure.subplots_adjust(left=left, right=0.98, top=0.85, bottom=0.15, wspace=0.26)
    headline(figure, left, title)
    losses = {"training": ("training", "loss", BLUE), "validation": ("validation", "loss", AMBER)}
    _draw_history(panels[0], history, losses, "loss")
    if prior:
        ranges = {"largest": ("state", "prior_variance_max", BLUE), "smallest": ("state", "prior_variance_min", GREY)}
        _draw_history(panels[1], history, ranges, "prior variance of a latent axis")
    return figure


def _draw_history(ax: Axes, history: Sequence[dict[str, Any]], series: dict[str, tuple[str, str, str]], name: str) -> None:
    """Lines by epoch, each of record[part][entry] where there is one; a logarithmic scale where all values are positive."""
    from matplotlib.ticker import MaxNLocator

    plain_axes(ax)
    epochs = [record.get("epoch", index) for index, record in enumerate(history)]
    drawn = []
    for label, (part, entry, colour) in series.items():
        values = np.array([_number((record.get(part) or {}).get(entry)) for record in history])
        if np.isfinite(values).any():
            marker = "o" if len(values) <= MARKED_EPOCHS else ""
            ax.plot(epochs, values, color=colour, linewidth=1.6, marker=marker, markersize=3, label=label)
            drawn.extend(values[np.isfinite(values)])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch", fontsize=NORMAL, color=INK)
    ax.set_ylabel(name, fontsize=NORMAL, color=INK)
    if not drawn:
        ax.text(0.5, 0.5, "no epochs yet", transform=ax.transAxes, fontsize=NORMAL, color=INK, ha="center", va="center")
        ax.set(xticks=[], yticks=[])
        return
    if min(drawn) > 0:
        log_ticks(ax)
    key(ax)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as .png (120 dots an inch), .svg or .pdf, cropped to what is drawn, in whole pixels and without a date.

    Raises:
        StorageError: the suffix is another, or the file cannot be written.
    """
    from matplotlib.transforms import Bbox

    path = Path(path)
    suffix = check_suffix(path, FIGURE_SUFFIXES, "a figure")
    drawn = figure.get_tightbbox().padded(0.1)  # inches
    box = Bbox(np.stack([np.floor(drawn.min * DPI), np.ceil(drawn.max * DPI)]) / DPI)
    undated = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[suffix]
    write_atomically(path, lambda aside: figure.savefig(aside, format=suffix[1:], dpi=DPI, bbox_inches=box, metadata=undated))
