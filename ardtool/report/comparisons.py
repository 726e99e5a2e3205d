"""Figures that put axes, runs or methods beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..latent.relevance import AxisRelevance
from .style import AMBER, BLUE, GREY, INK, NORMAL, SMALL, headline, key, new_figure, percent_axis, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Measured", "bars_figure", "shares_figure", "variance_figure"]

COLOURS = (BLUE, AMBER, "#2a7f4f", "#8e3b8a", "#a33b20", "#5a6672", "#3aa6b9", "#8a7a00")
DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)))
LABELLED = 40
SMALLEST = 1e-12  # of the largest score, below which an axis is drawn at the lower end
ROW = 30  # pixels of a bar


def variance_figure(axes: Sequence[AxisRelevance], title: str) -> Figure:
    """Relevance score of every axis against its raw variance (as main Figure 1a of the ARD-VAE paper, arXiv 2501.10901, contrasts them).

    An axis whose variance is large and whose score is not is one that the decoder ignores.

    Arguments:
        axes: all L axes, in any order.
        title: written above.
    """
    figure = new_figure(640, 470)
    ax = figure.subplots()
    figure.subplots_adjust(left=0.14, right=0.97, top=0.86, bottom=0.13)
    headline(figure, 0.14, title)
    plain_axes(ax)
    variance = np.array([axis.variance for axis in axes], dtype=float)
    score = np.array([axis.score for axis in axes], dtype=float)
    error = np.array([axis.score_stderr for axis in axes], dtype=float)
    floor = max(score.max(initial=0.0), 1e-300) * SMALLEST
    active = np.array([axis.active for axis in axes], dtype=bool)
    shown = np.maximum(score, floor)
    for name, colour, chosen in (("relevant", BLUE, active), ("not relevant", GREY, ~active)):
        if chosen.any():
            bars = np.minimum(error[chosen], shown[chosen] * 0.99)  # a bar to zero has no end on this scale
            style = {"fmt": "o", "markersize": 5, "elinewidth": 0.9, "capsize": 2}
            ax.errorbar(variance[chosen], shown[chosen], yerr=(bars, error[chosen]), color=colour, label=name, **style)
    ax.set(xscale="log", yscale="log")
    ax.minorticks_off()
    if len(axes) <= LABELLED:
        for axis, x, y in zip(axes, variance, shown, strict=True):
            ax.annotate(str(axis.axis), (x, y), xytext=(5, 3), textcoords="offset points", fontsize=SMALL, color=INK)
    ax.set_xlabel("variance of the axis", fontsize=NORMAL, color=INK)
    ax.set_ylabel("relevance score: variance × squared Jacobian", fontsize=NORMAL, color=INK)
    key(ax)
    return figure


def shares_figure(runs: Sequence[tuple[str, Sequence[float]]], threshold: float, title: str) -> Figure:
    """Share of the k most relevant axes together against k, one line a run; runs of one name share a colour.

    Arguments:
        runs: name, and the shares of its axes in any order, each in [0, 1].
        threshold: the share that the relevant axes exceed together, in (0, 1].
        title: written above.
    """
    figure = new_figure(700, 430)
    ax = figure.subplots()
    figure.subplots_adjust(left=0.115, right=0.975, top=0.86, bottom=0.135)
    headline(figure, 0.115, title)
    plain_axes(ax)
    percent_axis(ax)
    names = list(dict.fromkeys(name for name, _ in runs))
    furthest = 1
    for name, shares in runs:
        number = names.index(name)
        cumulative = np.concatenate([[0.0], np.cumsum(np.sort(np.asarray(shares, dtype=float))[::-1])])
        furthest = max(furthest, int(np.searchsorted(cumulative, threshold)) + 1)
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
        first = name not in [line.get_label() for line in ax.get_lines()]
        ax.plot(cumulative, color=colour, linestyle=dash, linewidth=1.5, alpha=0.85, label=name if first else None)
    ax.axhline(threshold, color=INK, linestyle=(0, (4, 2)), linewidth=1.0, label=f"threshold: {100 * threshold:g} %")
    longest = max((len(shares) for _, shares in runs), default=1)
    _whole_numbers(ax)
    ax.set_xlim(0, longest if longest <= LABELLED else min(longest, 2 * furthest + 4))
    ax.set_ylim(0, 1.05)
    ax.set_xlabel("number of axes, most relevant first", fontsize=NORMAL, color=INK)
    ax.set_ylabel("cumulative share of the relevance score", fontsize=NORMAL, color=INK)
    key(ax, place="lower right")
    return figure


@dataclass(frozen=True)
class Measured:
    """A quantity of several groups: for each the mean over seeds, its sample standard deviation and the number of seeds.

    A mean is None where it was not measured, a deviation where there is one seed.
    """

    name: str
    values: Sequence[tuple[float | None, float | None, int]]


def bars_figure(groups: Sequence[str], panels: Sequence[Measured], title: str) -> Figure:
    """Means of several quantities over groups, such as methods, as bars with one sample standard deviation.

    Arguments:
        groups: names, from top to bottom.
        panels: what is drawn side by side; each has one value a group.
        title: written above.
    """
    height = 130 + ROW * len(groups)
    widest = max(map(len, groups), default=1)
    left = min(0.4, (40 + 6.6 * widest) / (360 * len(panels) + 140))
    figure = new_figure(360 * len(panels) + 140, height)
    columns = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(left=left, right=0.97, top=1 - 62 / height, bottom=52 / height, wspace=0.12)
    headline(figure, 0.02, title)
    rows = np.arange(len(groups))
    for number, (ax, panel) in enumerate(zip(columns, panels, strict=True)):
        _draw_bars(ax, panel, rows)
        ax.set_yticks(rows, groups if number == 0 else [""] * len(groups), fontsize=SMALL)
        ax.set_ylim(len(groups) - 0.4, -0.6)
    return figure


def _draw_bars(ax: Axes, panel: Measured, rows: np.ndarray) -> None:
    """One quantity; the mean stands at the end of its bar."""
    plain_axes(ax)
    ax.grid(False, axis="y")
    ax.grid(True, axis="x", color="#e4e7ea", linewidth=0.7)
    ax.tick_params(axis="y", length=0)
    means = np.array([np.nan if mean is None else mean for mean, _, _ in panel.values], dtype=float)
    spread = np.array([0.0 if deviation is None else deviation for _, deviation, _ in panel.values], dtype=float)
    ax.barh(rows, np.nan_to_num(means), height=0.62, color=BLUE)
    ax.errorbar(means, rows, xerr=spread, fmt="none", ecolor=INK, elinewidth=0.9, capsize=2)
    ends = np.where(np.isfinite(means), means + spread, 0.0)
    reach = max(float(ends.max(initial=0.0)), float(np.nan_to_num(means).max(initial=0.0))) or 1.0
    ax.set_xlim(min(0.0, float(np.nan_to_num(means - spread).min(initial=0.0))), 1.22 * reach)
    for row, (mean, _, _), end in zip(rows, panel.values, ends, strict=True):
        text = "not measured" if mean is None else f"{mean:.3g}"
        ax.annotate(text, (end, row), xytext=(4, 0), textcoords="offset points", fontsize=SMALL, color=INK, va="center")
    ax.set_xlabel(panel.name, fontsize=NORMAL, color=INK)


def _whole_numbers(ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
