"""Sprites: 32×32 colour images of one soft ellipse, drawn from 2 to 6 known factors of variation.

The factors f0 … f5 are independent and uniform in [0, 1]. None is circular, and the image is a smooth function of each, so that
the images with K free factors fill a smooth K-dimensional surface and the number of relevant axes has a known answer:

    centre       x = 15.5 + 5 (2 f0 - 1),  y = 15.5 + 5 (2 f1 - 1)                          pixels
    radius       r = 4.5 + 3.5 f2                                                           pixels
    stretch      s = exp(0.7 (f5 - 0.5))
    distance     d = sqrt(((xx - x) / s)² + ((yy - y) s)² + 1e-6)                           xx, yy = 0 … 31
    mask         m = sigmoid((r - d) / 0.75)
    background   b = 0.05 + 0.12 f4                                                         grey
    colour       c = (0.15, 0.45, 0.95) + ((1.0, 0.55, 0.1) - (0.15, 0.45, 0.95)) f3        from blue to orange
    image        b + (c - b) m, rounded to 8 bits

Factors beyond the number asked for are held at 0.5. Nothing is read or downloaded, and the draw has a seed of its own: runs with
different training seeds see the same data.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError
from .named import NamedSet

if TYPE_CHECKING:
    from torch import Tensor

    from .dataset import DataSet

__all__ = ["FACTOR_NAMES", "SPRITES", "open_sprites", "render", "sprites"]

FACTOR_NAMES = ("x position", "y position", "size", "colour", "background", "stretch")
SPLITS = {"train": (10_000, 0), "test": (2_000, 1)}  # samples, seed of the draw
SIDE = 32
CHUNK = 500  # images rendered at once: about 12 MB in float64


def render(factors: Tensor) -> Tensor:
    """Images of factor values.

    Arguments:
        factors: values in [0, 1] with shape (N, 6), in the order of `FACTOR_NAMES`.

    Returns:
        uint8 images with shape (N, 3, 32, 32). Computed in float64, so that all machines round to the same bytes.

    Raises:
        DataError: another shape, or values outside [0, 1].
    """
    import torch

    if factors.ndim != 2 or factors.shape[1] != len(FACTOR_NAMES):
        raise DataError(f"Sprites have factors with shape (N, {len(FACTOR_NAMES)}); found {tuple(factors.shape)}.")
    if not bool(((factors >= 0) & (factors <= 1)).all()):
        raise DataError("Sprites have factors in [0, 1]; found values outside.", "Rescale the factors to [0, 1].")
    images = torch.empty(len(factors), 3, SIDE, SIDE, dtype=torch.uint8)
    for start in range(0, len(factors), CHUNK):
        images[start : start + CHUNK] = _render_chunk(factors[start : start + CHUNK].double())
    return images


def _render_chunk(factors: Tensor) -> Tensor:
    """Images with shape (N, 3, 32, 32), as float64 whole numbers from 0 to 255, of float64 factors with shape (N, 6)."""
    import torch

    f = factors.T[:, :, None, None]
    grid = torch.arange(SIDE, dtype=torch.float64)
    x = 15.5 + 5 * (2 * f[0] - 1)
    y = 15.5 + 5 * (2 * f[1] - 1)
    radius = 4.5 + 3.5 * f[2]
    stretch = torch.exp(0.7 * (f[5] - 0.5))
    distance = torch.sqrt(((grid[None, None, :] - x) / stretch) ** 2 + ((grid[None, :, None] - y) * stretch) ** 2 + 1e-6)
    mask = torch.sigmoid((radius - distance) / 0.75)[:, None]
    low = torch.tensor([0.15, 0.45, 0.95], dtype=torch.float64)[None, :, None, None]
    high = torch.tensor([1.0, 0.55, 0.1], dtype=torch.float64)[None, :, None, None]
    colour = low + (high - low) * f[3][:, None]
    background = (0.05 + 0.12 * f[4])[:, None]
    return torch.round(255 * (background + (colour - background) * mask))


def sprites(factor_count: int = 4, samples: int = 10_000, seed: int = 0) -> DataSet:
    """Sprites with the first `factor_count` factors free.

    Arguments:
        factor_count: K, from 2 to 6.
        samples: N, the number of images.
        seed: seed of the draw. With one seed, the factors that two data sets share have the same values in both.

    Returns:
        uint8 images with shape (N, 3, 32, 32), and `factors` with shape (N, K).

    Raises:
        DataError: `factor_count` or `samples` is out of range.
    """
    import torch

    from .dataset import DataSet

    if not 2 <= factor_count <= len(FACTOR_NAMES):
        hint = "Ask for sprites-2 to sprites-6."
        raise DataError(f"Sprites have 2 to {len(FACTOR_NAMES)} free factors; found {factor_count}.", hint)
    if samples < 1:
        raise DataError(f"Sprites need at least 1 sample; found {samples}.")
    factors = torch.rand(samples, len(FACTOR_NAMES), generator=torch.Generator().manual_seed(seed))
    factors[:, factor_count:] = 0.5
    return DataSet(
        name="sprites" if factor_count == 4 else f"sprites-{factor_count}",
        values=render(factors),
        value_range=(0.0, 1.0),
        factors=factors[:, :factor_count].clone(),
        factor_names=FACTOR_NAMES[:factor_count],
    )


def open_sprites(factor_count: int, data_root: Path, split: str) -> DataSet:
    """The fixed training split (10,000 samples) or test split (2,000 samples, another draw); `data_root` is not looked at."""
    samples, seed = SPLITS[split]
    return sprites(factor_count, samples, seed)


SPRITES = tuple(
    NamedSet(
        name=name,
        summary="a soft ellipse",
        shape=(3, SIDE, SIDE),
        samples=sum(samples for samples, _ in SPLITS.values()),
        opener=partial(open_sprites, count),
        factors=dict.fromkeys(FACTOR_NAMES[:count]),
    )
    for name, count in [("sprites", 4), *((f"sprites-{count}", count) for count in range(2, len(FACTOR_NAMES) + 1))]
)
