"""dSprites drawn: 737,280 binary images of one sprite, 64×64 pixels, from the factors of Matthey et al., "dSprites", 2017.

With the factors' values numbered from 0 (the last factor fastest, as in the file dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz):

    scale        s = 0.5 + 0.1 i                            i = 0 … 5
    orientation  θ = 2π k / 39, clockwise                   k = 0 … 39
    position     x = 16 + 32 i / 31, y = 16 + 32 j / 31     i, j = 0 … 31; pixels, y downwards, the image is [0, 64] × [0, 64]
    sprite       (u, v) = (column + 0.5 - x, row + 0.5 - y) turned back by θ, over s
    square       |u| < 9.6 and |v| < 9.6
    ellipse      (u / 12.8)² + (v / 7.2)² < 1
    heart        the inside of u = 9.6 sin³ t, v = -1.45 - 0.661 (13 cos t - 5 cos 2t - 2 cos 3t - cos 4t), upright at θ = 0
    image        255 where a pixel's centre is inside the sprite, else 0

Known of the original: the factors, their order and values (its README and notebook), and that LÖVE drew it, which turns clockwise. The
first row of pictures in its notebook shows three hearts and an ellipse in full; with the sizes and positions above, which were found so,
this file draws the four pixel for pixel. The side of the square is inferred from the mean of all images: 0.042494 there, 0.042493 here;
the mean over images of an image's standard deviation is 0.19517 there, 0.19514 here. Pictures alone do not tell the direction of turning,
as k and 39 - k are mirrored. `tests/benchmarks/rendering.py` draws pictures.

Equal images: the first and the last orientation are the same, here and in the original, as linspace(0, 2π, 40) holds both ends. No other
orientations coincide in the plane: a quarter turn of the square would be 9.75 steps, half a turn of the ellipse 19.5. On the grid of
pixels some do: orientations of a square lie 2.3° apart but for quarter turns, those of an ellipse 4.6°, and rounding makes images equal
that are at most 10° (squares) or 5° (ellipses of the two smallest scales) apart. No other images are equal; 715,780 of the 737,280 are
different, where the first and last orientation alone would leave 718,848 (all drawn and compared once).

Nothing is read or downloaded; no image of the original is part of this file.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .factors import DrawnImages, FactorGrid
from .named import NamedSet

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .dataset import DataSet

__all__ = ["CONSTANT", "DSPRITES_RENDER", "GRID", "SETTINGS", "SHAPES", "draw", "images", "notes", "open_dsprites_render"]

GRID = FactorGrid(("colour", "shape", "scale", "orientation", "x position", "y position"), (1, 3, 6, 40, 32, 32))
SETTINGS = {"arch": "paper-dsprites", "epochs": 35, "likelihood": "bernoulli"}  # ARD-VAE paper (arXiv 2501.10901), supp. Tables 5 and 6
CONSTANT = "The colour of dSprites is constant: five of its six factors vary."
SHAPES = ("square", "ellipse", "heart")
SIDE = 64
REACH = 15  # no sprite reaches further from the whole pixel below its centre; the farthest is a square's corner at 9.6 √2
SQUARE = 9.6
ELLIPSE = (12.8, 7.2)
HEART_WIDTH, HEART_HEIGHT, HEART_SHIFT = 9.6, 0.661, -1.45
TURNS = GRID.sizes[3] - 1  # orientations that differ


def draw(factors: Tensor) -> Tensor:
    """Images of factor values.

    Arguments:
        factors: whole numbers with shape (B, 6), in the order of `GRID.names`.

    Returns:
        uint8 images with shape (B, 1, 64, 64), 0 or 255, on the device of `factors`. Computed in float64.

    Raises:
        DataError: another shape, or a value that a factor does not have.
    """
    GRID.check(factors)
    return _drawn(factors)


def _drawn(factors: Tensor) -> Tensor:
    """Images of factor values that are known to be of the grid; to check them again would wait for the GPU."""
    import torch

    _, shape, scale, orientation, *position = factors.long().unbind(dim=1)
    x, y = (16 + 32 * each.double() / 31 for each in position)
    first_row, first_column = (each.floor().long() - REACH for each in (y, x))
    window = torch.arange(2 * REACH, device=factors.device)
    rows, columns = first_row[:, None] + window, first_column[:, None] + window
    u, v = _sprite_coordinates(columns + 0.5 - x[:, None], rows + 0.5 - y[:, None], orientation, 0.5 + 0.1 * scale.double())
    inside = torch.stack([_square(u, v), _ellipse(u, v), _heart(u, v)])[shape, torch.arange(len(factors), device=factors.device)]
    result = torch.zeros(len(factors), SIDE, SIDE, dtype=torch.uint8, device=factors.device)
    batch = torch.arange(len(factors), device=factors.device)[:, None, None]
    result[batch, rows[:, :, None], columns[:, None, :]] = 255 * inside.to(torch.uint8)
    return result[:, None]


def images() -> DrawnImages:
    """All 737,280 images, each drawn when it is asked for."""
    return DrawnImages(GRID, (1, SIDE, SIDE), _drawn)


def notes(split: str) -> tuple[str, ...]:
    """What is to be known about dSprites, drawn or published."""
    return (CONSTANT, "dSprites has no test split: these are all its images.") if split == "test" else (CONSTANT,)


def open_dsprites_render(data_root: Path, split: str) -> DataSet:
    """All images, for either split; nothing is read, so `data_root` is not looked at."""
    from .dataset import DataSet

    return DataSet(
        name="dsprites-render",
        values=images(),
        value_range=(0.0, 1.0),
        factor_names=GRID.names,
        grid=GRID,
        paper_name="dsprites",
        notes=notes(split),
        settings=dict(SETTINGS),
    )


def _sprite_coordinates(right: Tensor, down: Tensor, orientation: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """(u, v) with shape (B, rows, columns) of pixels that lie `right` (B, columns) and `down` (B, rows) of the centre, in pixels."""
    cosine, sine = (each[orientation][:, None, None] / scale[:, None, None] for each in _turns(right.device))
    right, down = right[:, None, :], down[:, :, None]
    return right * cosine + down * sine, down * cosine - right * sine


@cache
def _turns(device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of all orientations."""
    import torch

    angles = [2 * math.pi * (k % TURNS) / TURNS for k in range(TURNS + 1)]
    cosines, sines = ([function(angle) for angle in angles] for function in (math.cos, math.sin))
    return torch.tensor(cosines, dtype=torch.float64, device=device), torch.tensor(sines, dtype=torch.float64, device=device)


def _square(u: Tensor, v: Tensor) -> Tensor:
    return u.abs().maximum(v.abs()) < SQUARE


def _ellipse(u: Tensor, v: Tensor) -> Tensor:
    return (u / ELLIPSE[0]) ** 2 + (v / ELLIPSE[1]) ** 2 < 1


def _heart(u: Tensor, v: Tensor) -> Tensor:
    """The curve solved for v: at every u it has two points, cos t = ±c with c = sqrt(1 - |u / 9.6|^(2/3)), and v lies between them."""
    square = (1 - (u.abs() / HEART_WIDTH) ** (2 / 3)).clamp(min=0)
    middle = 4 - 2 * square - 8 * square**2
    half = square.sqrt() * (19 - 8 * square)
    return ((HEART_SHIFT - v) / HEART_HEIGHT - middle).abs() < half


DSPRITES_RENDER = NamedSet(
    name="dsprites-render",
    summary="drawn like dsprites",
    shape=(1, SIDE, SIDE),
    samples=len(GRID),
    opener=open_dsprites_render,
    factors=GRID.values,
)
