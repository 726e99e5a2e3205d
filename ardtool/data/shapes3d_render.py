"""3D Shapes drawn: 480,000 colour images of an object in a room, 64×64 pixels, from the factors of Burgess and Kim, "3D Shapes", 2018.

With the factors' values numbered from 0 (the last factor fastest, as in the file 3dshapes.h5):

    floor, wall, object hue    h = 0, 0.1 … 0.9 of the colour circle, at full saturation and value
    scale                      s = 0.75 + 0.5 i / 7,            i = 0 … 7
    shape                      cube, cylinder, sphere, capsule
    orientation                φ = -30° + 30° k / 7,            k = 0 … 14: the camera goes round the middle of the room

    image = round(Σ_l weight_l colour_l), l = floor, wall, object, sky

A weight is the part of the pixel that shows l, times its shading. Weights do not depend on hues: a table holds those of all 480 geometries
(8 scales × 4 shapes × 15 orientations), 480 × 4 × 64 × 64 × 1 byte = 7,864,320 bytes a device. It is made once in float64 on the CPU, with
3×3 rays a pixel, and all arithmetic on it is with whole numbers, so that every device draws the same bytes.

Known of the original: the factors, their order, number and values, the order of shapes (its README and descriptions of its file), and that
the object stands on the floor of a walled room below a bluish sky (its pictures). The sky is also what the mean of its images asks for:
0.503, 0.579, 0.603 in red, green, blue (here 0.499, 0.575, 0.601), where hues alone would give three equal numbers; the mean over images
of an image's standard deviation is 0.294, 0.344, 0.366 (here 0.286, 0.344, 0.364). Lengths, light, camera, the sky's colour, which way the
camera goes and that the capsule stands upright are inferred, so that images resemble the pictures and these numbers. There are no shadows.
`tests/benchmarks/rendering.py` prints these numbers and draws pictures.

All 480,000 images are different (drawn and compared once). Nothing is read or downloaded; no image of the original is part of this file.
"""

from __future__ import annotations

import colorsys
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

__all__ = ["GRID", "SETTINGS", "SHAPES", "SHAPES3D_RENDER", "draw", "images", "notes", "open_shapes3d_render", "weight_table"]

GRID = FactorGrid(("floor hue", "wall hue", "object hue", "scale", "shape", "orientation"), (10, 10, 10, 8, 4, 15))
SETTINGS = {"arch": "paper-shapes3d", "epochs": 60}  # ARD-VAE paper (arXiv 2501.10901), supp. Tables 5 and 6
SHAPES = ("cube", "cylinder", "sphere", "capsule")
SIDE = 64
SKY = (153, 233, 255)


def draw(factors: Tensor) -> Tensor:
    """Images of factor values.

    Arguments:
        factors: whole numbers with shape (B, 6), in the order of `GRID.names`.

    Returns:
        uint8 images with shape (B, 3, 64, 64), on the device of `factors`.

    Raises:
        DataError: another shape, or a value that a factor does not have.
    """
    GRID.check(factors)
    return _drawn(factors)


def _drawn(factors: Tensor) -> Tensor:
    """Images of factor values that are known to be of the grid; to check them again would wait for the GPU."""
    import torch

    factors = factors.long()
    table, palette = weight_table(factors.device), _palette(factors.device)
    geometry = (factors[:, 3] * GRID.sizes[4] + factors[:, 4]) * GRID.sizes[5] + factors[:, 5]
    sky = palette[-1].expand(len(factors), 1, 3)
    colours = torch.cat([palette[factors[:, :3]], sky], dim=1)
    # products and sums of whole numbers below 2²⁴ are exact in float32, whatever the order and the device
    with torch.autocast(factors.device.type, enabled=False):
        sums = torch.bmm(colours.mT.float(), table[geometry].flatten(2).float())
    return ((sums.to(torch.int32) + 127) // 255).to(torch.uint8).unflatten(2, (SIDE, SIDE))


def images() -> DrawnImages:
    """All 480,000 images, each drawn when it is asked for."""
    return DrawnImages(GRID, (3, SIDE, SIDE), _drawn)


def notes(split: str) -> tuple[str, ...]:
    """What is to be known about 3D Shapes, drawn or published."""
    return ("3D Shapes has no test split: these are all its images.",) if split == "test" else ()


def open_shapes3d_render(data_root: Path, split: str) -> DataSet:
    """All images, for either split; nothing is read, so `data_root` is not looked at."""
    from .dataset import DataSet

    return DataSet(
        name="shapes3d-render",
        values=images(),
        value_range=(0.0, 1.0),
        factor_names=GRID.names,
        grid=GRID,
        paper_name="shapes3d",
        notes=notes(split),
        settings=dict(SETTINGS),
    )


@cache
def weight_table(device: torch.device) -> Tensor:
    """Weights of floor, wall, object and sky, 255 for one: uint8 with shape (480, 4, 64, 64), geometries in the order of the grid."""
    import torch

    from .shapes3d_rays import weights

    if device.type != "cpu":
        return weight_table(torch.device("cpu")).to(device)
    scales = [0.75 + 0.5 * i / 7 for i in range(GRID.sizes[3])]
    orientations = [math.radians(30 * (k - 7) / 7) for k in range(GRID.sizes[5])]
    return weights(scales, SHAPES, orientations).flatten(0, 2)


@cache
def _palette(device: torch.device) -> Tensor:
    """Colours with shape (11, 3), 0 to 255: the ten hues, then the sky."""
    import torch

    hues = [[round(255 * channel) for channel in colorsys.hsv_to_rgb(value / 10, 1, 1)] for value in range(10)]
    return torch.tensor([*hues, list(SKY)], device=device)


SHAPES3D_RENDER = NamedSet(
    name="shapes3d-render",
    summary="drawn like shapes3d",
    shape=(3, SIDE, SIDE),
    samples=len(GRID),
    opener=open_shapes3d_render,
    factors=GRID.values,
)
