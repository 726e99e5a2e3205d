"""`traverse`: a picture of what each latent axis does, one axis a row, sorted by relevance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigError
from ..latent.axes import Granularity
from ..latent.codes import LatentCodes
from ..latent.traversal import traversal_codes, traversal_offsets
from ..report.figures import save_figure, traversal_figure, traversal_frames, vector_traversal_figure
from ..storage.images import save_gif, to_uint8
from ..storage.model_file import SavedModel
from .axis_factors import axis_factors
from .inputs import data_for, warnings_of, whole_numbers
from .opening import ModelLike, choose_device, codes_for, measured_by, open_model
from .relevance import active_axes_of
from .sample import FilesResult, decode_in_units, pixel_range

__all__ = ["TraversalResult", "traverse"]

MOST_ROWS = 64
GIF_STEPS = 15


@dataclass(frozen=True)
class TraversalResult(FilesResult):
    """A picture of some axes.

    Attributes:
        factors: for each of `axes` the known factor that it follows most, or None where it follows none; None without known factors.
    """

    factors: list[str | None] | None = None


def traverse(
    model: ModelLike = None,
    *,
    out: str | Path,
    axes: str | Sequence[int] = "all",
    sigmas: float = 3.0,
    steps: int = 9,
    gif: bool = False,
    reference: int | None = None,
    data: Any = None,
    latents: str | Path | None = None,
    assume_prior: bool = False,
    granularity: Granularity = "channel",
    seed: int = 0,
    device: str = "auto",
    plugin: str | Path | None = None,
    trust: bool = False,
    data_root: str | Path | None = None,
    skip_bad: bool = False,
) -> TraversalResult:
    """Move one axis at a time over ±sigmas standard deviations of its codes and draw what the decoder makes of it.

    With data whose factors are known, a row says which factor its axis follows most (`axis_factors.py`).

    Arguments:
        model: a path, a run folder, an object with `encode` and `decode`, or None for the newest run.
        out: a .png, .svg, .pdf or .gif file.
        axes: `all` of them, the `relevant` ones, or indices as a list or as in "0,3"; always drawn by descending relevance.
        sigmas: how far an axis is moved to each side, in its standard deviations, > 0.
        steps: columns; an odd number has the unchanged code in the middle.
        gif: write an animation beside the picture.
        reference: row of the reference batch to start from; None for the aggregate mean.
        data, latents, assume_prior: where the codes come from; one of them for models that carry none.
        granularity: whether the axes of a latent map are its channels or its elements; a channel's elements move together.
        seed: chooses the codes, where the model carries none.
        device: auto, cpu, cuda[:i] or mps.
        plugin: the name or file of the plugin that reads a foreign model.
        trust: load models whose loading can run foreign code.
        data_root: where named data sets lie.
        skip_bad: leave out images of a folder or archive that cannot be decoded, instead of stopping.

    Raises:
        ArdtoolError: with one line that says what to change.
    """
    if not 2 <= steps <= 101:
        raise ConfigError(f"--steps is {steps}; expected 2 to 101.", "9 make a readable picture.")
    if not 0 < sigmas < float("inf"):
        raise ConfigError(f"--range is {sigmas:g}; expected a positive number of standard deviations.", "3 is the paper's choice.")
    path = Path(out)
    if isinstance(axes, str) and all(part.strip().isdigit() for part in axes.split(",")):
        axes = whole_numbers("--axes", axes)
    if isinstance(axes, str) and axes not in ("relevant", "all"):
        raise ConfigError(f"--axes is '{axes}'; expected relevant, all or indices such as 0,3.", "`ardtool relevance` lists the axes.")
    if path.suffix.lower() not in (".png", ".svg", ".pdf", ".gif"):
        raise ConfigError(f"--out is {path}; expected a .png, .svg, .pdf or .gif file.", "Use --out grid.png.")
    chosen = choose_device(device)
    opened = open_model(model, chosen, plugin, trust=trust, granularity=granularity)
    if (gif or path.suffix.lower() == ".gif") and len(opened.autoencoder.input_shape) != 3:
        raise ConfigError("--gif needs a model of images.", "Leave --gif out; the picture shows the vectors as curves.")
    data_set = None if data is None else data_for(opened, data, data_root, skip_bad=skip_bad)
    codes = codes_for(opened, data=data_set, latents=latents, assume_prior=assume_prior, seed=seed, device=chosen)
    active, shares = active_axes_of(measured_by(opened, codes), codes, chosen)
    order = _rows(axes, active, shares)
    start, context = _start(codes, reference)
    latent = opened.latent_axes
    followed = None if data_set is None else axis_factors(opened, data_set, chosen, seed)
    factors = None if followed is None else [followed[axis] for axis in order]
    labels = [f"{latent.noun} {opened.original_axes[axis]} · {100 * shares[axis]:.1f} %" for axis in order]
    labels = [f"{label} · {factor}" if factor else label for label, factor in zip(labels, factors or [None] * len(order), strict=True)]
    relevant = sum(axis in active for axis in order)
    files, shape = [], [len(order), steps, *opened.autoencoder.input_shape]

    def decoded(count: int) -> torch.Tensor:
        z = traversal_codes(start, codes.statistics.variance.sqrt().float(), order, traversal_offsets(count, sigmas), latent)
        rows = None if context is None else context.expand(len(order) * count, *context.shape[1:])
        return decode_in_units(opened, z.flatten(0, 1), chosen, rows).unflatten(0, (len(order), count))

    if path.suffix.lower() != ".gif":
        _draw(opened, decoded(steps), labels, relevant, len(active), traversal_offsets(steps, sigmas).tolist(), path)
        files.append(str(path))
    if gif or path.suffix.lower() == ".gif":
        files.append(
            _animate(opened, decoded(max(steps, GIF_STEPS)), labels, path if path.suffix.lower() == ".gif" else path.with_suffix(".gif"))
        )
    return TraversalResult("ardtool.traverse/1", files, shape, order, seed, warnings_of(data_set), factors)


def _rows(axes: str | Sequence[int], active: list[int], shares: list[float]) -> list[int]:
    """The axes to draw by descending relevance."""
    ranked = sorted(range(len(shares)), key=lambda axis: (axis not in active, -shares[axis], axis))
    if isinstance(axes, str) and axes == "relevant":
        chosen = [axis for axis in ranked if axis in active]
    elif isinstance(axes, str):
        chosen = ranked[:MOST_ROWS]
    else:
        wanted = set(whole_numbers("--axes", axes))
        wrong = sorted(wanted - set(ranked))
        if wrong or not wanted:
            raise ConfigError(
                f"--axes names {wrong or 'no axis'}; the model has axes 0 to {len(shares) - 1}.", "`ardtool relevance` lists them."
            )
        chosen = [axis for axis in ranked if axis in wanted]
    if not chosen:
        raise ConfigError("No axis is relevant, so there is none to draw.", "Use --axes all.")
    return chosen


def _start(codes: LatentCodes, reference: int | None) -> tuple[torch.Tensor, Any]:
    """The code all rows start from, and the context that belongs to it (first dimension 1)."""
    context = codes.reference.context
    if reference is None:
        return codes.statistics.mean.float(), None if context is None else context[:1]
    if not 0 <= reference < len(codes.reference):
        raise ConfigError(
            f"--reference is {reference}; expected 0 to {len(codes.reference) - 1}.", "Leave it out to start from the mean code."
        )
    return codes.reference.mean[reference], None if context is None else context[reference : reference + 1]


def _draw(model: SavedModel, rows: torch.Tensor, labels: list[str], relevant: int, active: int, offsets: list[float], path: Path) -> None:
    things = f"{model.latent_axes.noun}s" if model.latent_axes.is_grouped else "axes"
    title = f"{active} of {len(model.original_axes)} latent {things} {'is' if active == 1 else 'are'} relevant"
    if rows.ndim == 5:
        images = to_uint8(rows.flatten(0, 1), pixel_range(model))
        figure = traversal_figure(images.reshape(*rows.shape[:2], *images.shape[1:]), labels, relevant, offsets, title)
    else:
        figure = vector_traversal_figure(rows.flatten(2).numpy(), labels, relevant, offsets, title)
    save_figure(figure, path)


def _animate(model: SavedModel, rows: torch.Tensor, labels: list[str], path: Path) -> str:
    images = to_uint8(rows.flatten(0, 1), pixel_range(model))
    save_gif(traversal_frames(images.reshape(*rows.shape[:2], *images.shape[1:]), labels), path)
    return str(path)
