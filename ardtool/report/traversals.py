"""Figures of traversals: what the decoder draws when one latent axis moves and all others stay.

Letters: R latent axes in rows, by descending relevance; S steps; images of H×W pixels and C channels; vectors of D entries.
Offsets are in standard deviations σ of the axis. A red frame marks axes that are not relevant, as in the supplement of the paper
(Saha, Joshi, Whitaker, arXiv 2501.10901).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..storage.images import enlarge, enlargement, near_square, picture_of, shown
from .style import INK, LARGE, NORMAL, PIXELS, RED, SMALL, caption_font, headline, new_figure, plain_axes, sigmas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["traversal_figure", "traversal_frames", "vector_traversal_figure"]

GAP, GROUP_GAP, MARGIN, HEAD = 2, 34, 12, 76  # pixels: between images, above the red box, at the edges, above the first row
MOST_PANELS = 16
LARGEST_CELL = 128


def traversal_figure(rows: np.ndarray, labels: Sequence[str], relevant: int, offsets: Sequence[float], title: str) -> Figure:
    """Decoded images along every axis, one row an axis; a red box holds the rows that are not relevant.

    The layout is in pixels of the finished picture, so that an image pixel covers a whole number of them.

    Arguments:
        rows: 8-bit images with shape (R, S, H, W, C), most relevant axis first.
        labels: one for each row, such as "axis 3 · 34.1 %".
        relevant: how many rows from the top are relevant.
        offsets: in σ, one for each step.
        title: written above.
    """
    cells = _cells(rows)
    count, steps, height, width = cells.shape[:4]
    font = caption_font(round(NORMAL * PIXELS))
    left = MARGIN + 16 + round(max((font.getlength(label) for label in labels), default=0))
    tops = [HEAD + row * (height + GAP) + (GROUP_GAP if row >= relevant else 0) for row in range(count)]
    right, bottom = left + steps * (width + GAP) - GAP, tops[-1] + height
    size = (max(right, left + round(font.getlength(title) * 1.4)) + 2 * MARGIN, bottom + 2 * MARGIN)
    figure = new_figure(*size)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, size[0]), ylim=(size[1], 0))
    ax.set_axis_off()
    ax.text(left, 30, title, fontsize=LARGE, fontweight="bold", color=INK, va="center")
    for step, offset in enumerate(offsets):
        middle = left + step * (width + GAP) + width / 2
        ax.text(middle, HEAD - 14, sigmas(offset), fontsize=NORMAL, color=INK, ha="center", va="center")
    for images, label, top in zip(cells, labels, tops, strict=True):
        ax.text(left - 16, top + height / 2, label, fontsize=NORMAL, color=INK, ha="right", va="center")
        for step, image in enumerate(images):
            _draw_pixels(ax, image, left + step * (width + GAP), top)
    if relevant < count:
        _draw_box(ax, left - 8, tops[relevant] - 15, right + 8, bottom + 8)
    return figure


def _cells(rows: np.ndarray) -> np.ndarray:
    """Images enlarged or reduced by an integer factor to about 64-128 pixels, with shape (R, S, H', W', C')."""
    images = shown(rows)
    height, width = images.shape[2:4]
    factor = math.ceil(max(height, width) / LARGEST_CELL)
    if factor == 1:
        return enlarge(images, enlargement(height, width))
    reduced = [np.asarray(picture_of(image).reduce(factor)) for image in images.reshape(-1, *images.shape[2:])]
    return np.stack(reduced).reshape(*images.shape[:2], *reduced[0].shape[:2], images.shape[-1])


def _draw_pixels(ax: Axes, pixels: np.ndarray, left: float, top: float) -> None:
    """8-bit pixels with shape (H, W, C), one to one in the pixel coordinates of `ax`."""
    height, width = pixels.shape[:2]
    colours = pixels.repeat(3, axis=-1) if pixels.shape[-1] == 1 else pixels
    limits = ax.axis()
    ax.imshow(colours, extent=(left, left + width, top + height, top), interpolation="none", aspect="auto", zorder=2)
    ax.axis(limits)


def _draw_box(ax: Axes, left: float, top: float, right: float, bottom: float) -> None:
    """A red frame with its name set into the upper edge."""
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=RED, linewidth=1.5, zorder=4))
    plain = {"facecolor": "white", "edgecolor": "none", "pad": 2.5}
    ax.text(left + 14, top, "not relevant", fontsize=NORMAL, color=RED, va="center", bbox=plain, zorder=5)


def vector_traversal_figure(rows: np.ndarray, labels: Sequence[str], relevant: int, offsets: Sequence[float], title: str) -> Figure:
    """Decoded vectors along every axis: one panel an axis with one line a step; panels that are not relevant are framed red.

    Arguments:
        rows: decoded values with shape (R, S, D), most relevant axis first; at most the first 16 axes are drawn.
        labels, relevant, offsets, title: as in `traversal_figure`.
    """
    count = min(len(rows), MOST_PANELS)
    columns = min(4, count)
    lines = math.ceil(count / columns)
    height = 145 + 165 * lines
    top, bottom = 1 - 84 / height, 61 / height
    figure = new_figure(1000, height)
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(left=0.075, right=0.9, top=top, bottom=bottom, hspace=0.34, wspace=0.1)
    headline(figure, 0.075, title + (f" (first {count} of {len(rows)} axes)" if len(rows) > count else ""))
    if relevant < count:
        figure.text(0.9, 1 - 30 / height, "red frame: not relevant", fontsize=SMALL, color=RED, ha="right", va="center")
    colours = _colour_bar(figure, (0.925, bottom, 0.012, top - bottom), offsets)
    for index, ax in enumerate(grid.flat):
        if index < count:
            _draw_lines(ax, rows[index], colours, labels[index], index < relevant)
            ax.tick_params(labelbottom=index + columns >= count)
        else:
            ax.set_axis_off()
    figure.text(0.4875, 16 / height, "output index", fontsize=NORMAL, color=INK, ha="center", va="center")
    figure.text(0.018, (top + bottom) / 2, "output value", fontsize=NORMAL, color=INK, rotation=90, ha="center", va="center")
    return figure


def _colour_bar(figure: Figure, place: tuple[float, float, float, float], offsets: Sequence[float]) -> np.ndarray:
    """Draw the scale of offsets; their colours with shape (S, 4), blue for negative and red for positive ones."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    reach = max((abs(offset) for offset in offsets), default=0.0) or 1.0
    colours = ScalarMappable(Normalize(-reach, reach), "coolwarm")
    bar = figure.colorbar(colours, cax=figure.add_axes(place))
    bar.set_ticks([-reach, 0, reach], labels=[sigmas(-reach), "0", sigmas(reach)], fontsize=SMALL, color=INK)
    bar.ax.spines[:].set_visible(False)
    bar.ax.tick_params(length=0)
    return np.asarray(colours.to_rgba(np.asarray(offsets, dtype=float)))


def _draw_lines(ax: Axes, values: np.ndarray, colours: Sequence[Any] | np.ndarray, label: str, relevant: bool) -> None:
    """One panel: values with shape (S, D) against the output index."""
    from matplotlib.ticker import MaxNLocator

    plain_axes(ax)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    marker = "o" if values.shape[1] <= 12 else ""
    for line, colour in zip(values, colours, strict=True):
        ax.plot(line, color=colour, linewidth=1.2, marker=marker, markersize=3)
    ax.set_title(label, fontsize=SMALL, color=INK if relevant else RED, pad=5)
    if not relevant:
        ax.spines[:].set(visible=True, color=RED, linewidth=1.3)


def traversal_frames(rows: np.ndarray, labels: Sequence[str]) -> list[Image]:
    """Pictures for an animation: frame s shows every axis at step s, with the label up to its " · " above each image.

    Arguments:
        rows: 8-bit images with shape (R, S, H, W, C).
        labels: one for each axis.
    """
    from PIL import Image, ImageDraw

    font, line, gap = caption_font(12), 20, 6
    cells = _cells(rows)
    count, steps, height, width = cells.shape[:4]
    columns = near_square(count, height + line, width)
    size = (columns * (width + gap) + gap, math.ceil(count / columns) * (height + line + gap) + gap)
    frames = [Image.new("L" if cells.shape[-1] == 1 else "RGB", size, "white") for _ in range(steps)]
    for step, frame in enumerate(frames):
        draw = ImageDraw.Draw(frame)
        for index in range(count):
            left, top = gap + index % columns * (width + gap), gap + index // columns * (height + line + gap)
            draw.text((left + width / 2, top + line / 2), labels[index].split(" · ")[0], fill="black", font=font, anchor="mm")
            image = picture_of(cells[index, step])
            frame.paste(image, (left, top + line), image if image.mode == "RGBA" else None)
    return frames
