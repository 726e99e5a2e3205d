"""The common look of all figures: sizes in pixels at 120 dots an inch, a few colours, thin axes.

Figures are made without pyplot: they belong to nobody but the caller, need no display, and vanish with their last reference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.ImageFont import FreeTypeFont

__all__ = ["caption_font", "headline", "key", "log_ticks", "new_figure", "percent_axis", "plain_axes", "sigmas"]

DPI = 120
BLUE, GREY, INK, AMBER, RED, FAINT = "#1f5f99", "#b9c0c8", "#30363d", "#d98200", "#ff0000", "#e4e7ea"
SMALL, NORMAL, LARGE = 8, 9, 11
PIXELS = DPI / 72  # in a point


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of this many pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def headline(figure: Figure, left: float, title: str) -> None:
    """The title, 30 pixels below the upper edge; `left` is a share of the width."""
    figure.text(left, 1 - 30 / (figure.get_figheight() * DPI), title, fontsize=LARGE, fontweight="bold", color=INK, va="center")


def plain_axes(ax: Axes) -> None:
    """Two thin spines, small tick labels, faint horizontal lines."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(color=INK, linewidth=0.8)
    ax.tick_params(labelsize=SMALL, colors=INK, width=0.8, length=3)
    ax.grid(True, axis="y", color=FAINT, linewidth=0.7)
    ax.set_axisbelow(True)


def percent_axis(ax: Axes) -> None:
    """Tick labels of the y axis in percent."""
    ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    ax.yaxis.minorticks_off()


def log_ticks(ax: Axes) -> None:
    """A logarithmic y axis with plain numbers, the more of them the fewer decades it spans."""
    from matplotlib.ticker import LogLocator

    ax.set_yscale("log")
    low, high = ax.get_ylim()
    decades = math.log10(high / low)
    subs = (1, 1.5, 2, 3, 4, 5, 7) if decades < 1 else (1, 2, 5) if decades < 2 else (1,)
    ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=9))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.minorticks_off()


def key(ax: Axes, handles: Sequence[Any] | None = None, place: Literal["best", "lower right", "above"] = "best") -> None:
    """A legend without a frame, inside or in one line above the axes; of all labelled artists where no handles are given."""
    above: dict[str, Any] = {"bbox_to_anchor": (1.01, 0.99), "ncols": 4, "columnspacing": 1.3} if place == "above" else {}
    where = "lower right" if place == "above" else place
    given = ax.get_legend_handles_labels()[0] if handles is None else list(handles)
    ax.legend(handles=given, loc=where, fontsize=SMALL, labelcolor=INK, frameon=False, handlelength=1.3, **above)


def caption_font(pixels: int) -> FreeTypeFont:
    """The type that matplotlib brings along and uses by default."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), pixels)


def sigmas(offset: float) -> str:
    """1.5 as "+1.5σ", -3 as "−3σ", zero as "0"."""
    return f"{offset:+.2g}σ".replace("-", "−") if abs(offset) > 1e-9 else "0"
