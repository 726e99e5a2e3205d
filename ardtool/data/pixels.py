"""Affine maps between pixel values in the user's units and [0, 1], the range that models work in.

A map (low, high) takes low to 0 and high to 1:  x' = (x - low) / (high - low).  None stands for the type's own range: 0 … 255 for whole
numbers, 0 … 1 for real ones and for bool. `guess_map` chooses a map for data to train on; the first line that fits counts:

    bool, or uint8 with 0 and 1 only        (0, 1)
    uint8                                   None
    whole numbers, 0 … 255, above 127       (0, 255)
    within [0, 1]                           (0, 1)
    within [-1, 1], some below -0.5         (-1, 1)
    within [0, 255], some above 127         (0, 255)
    anything else                           (min, max)

The model keeps the map, so that the same image has the same codes whatever file it comes in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import DataError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["PixelMap", "from_unit", "guess_map", "to_unit"]

PixelMap = tuple[float, float]
OWN_RANGE = {"b": (0.0, 1.0), "u": (0.0, 255.0), "i": (0.0, 255.0), "f": (0.0, 1.0)}
BLOCK = 1000  # images mapped at once


def guess_map(images: np.ndarray) -> tuple[PixelMap | None, str | None]:
    """The map for finite images of any shape by the table above, and a note where they are changed."""
    kind = images.dtype.kind
    low, high = images.min().item(), images.max().item()
    if kind == "b" or images.dtype.name == "uint8":
        if high > 1 or (kind != "b" and low == high):
            return None, None
        return (0.0, 1.0), "The images hold 0 and 1 only and are taken as black and white."
    if kind in "ui" and low >= 0 and 127 < high <= 255:
        return (0.0, 255.0), "The pixel values are whole numbers from 0 to 255 and are divided by 255."
    if low >= 0 and high <= 1:
        return (0.0, 1.0), None
    if -1 <= low < -0.5 and high <= 1:
        return (-1.0, 1.0), "The pixel values lie in [-1, 1] and are mapped to [0, 1] by (x + 1) / 2."
    if low >= 0 and 127 < high <= 255:
        return (0.0, 255.0), "The pixel values lie in [0, 255] and are divided by 255."
    note = f"The pixel values lie in [{low:g}, {high:g}] and are mapped to [0, 1] by (x - min) / (max - min)."
    return (float(low), float(high) if high > low else float(low) + 1), note


def to_unit(where: str, images: np.ndarray, pixel_map: PixelMap | None) -> np.ndarray:
    """Images as uint8 (0 to 255) where that loses nothing, else as float32 (0 to 1 inside the map's range).

    Arguments:
        where: what holds them, for the error.
        images: numbers of any shape, first dimension N.
        pixel_map: the values that become 0 and 1; None for the type's own range.

    Raises:
        DataError: values lie further outside the map's range than it is wide: they are in other units.
    """
    import numpy as np

    low, high = OWN_RANGE[images.dtype.kind] if pixel_map is None else pixel_map
    least, most = images.min().item(), images.max().item()
    if least < 2 * low - high or most > 2 * high - low:
        raise DataError(
            f"{where}: the pixel values lie in [{least:g}, {most:g}]; the model takes values from {low:g} to {high:g}.",
            "Give the images in the units of the training data.",
        )
    whole = images.dtype.kind != "f"
    if whole and (low, high) == (0, 255) and least >= 0 and most <= 255:
        return images.astype(np.uint8, copy=False)
    if images.dtype.name in ("bool", "uint8") and most <= 1 and (low, high) == (0, 1):
        images = images.astype(np.uint8, copy=False)
        return np.multiply(images, np.uint8(255), out=images)  # in place: such sets (dSprites) can be gigabytes
    if images.dtype == np.float32 and (low, high) == (0, 1):
        return images
    unit = np.empty(images.shape, dtype=np.float32)
    for start in range(0, len(images), BLOCK):
        unit[start : start + BLOCK] = (images[start : start + BLOCK].astype(np.float64) - low) / (high - low)
    return unit


def from_unit(values: Tensor, pixel_map: PixelMap | None) -> Tensor:
    """Pixel values in the user's units, float32, from values in [0, 1]; unchanged for None."""
    if pixel_map is None or tuple(pixel_map) == (0.0, 1.0):
        return values
    low, high = pixel_map
    return (low + (high - low) * values.double()).to(torch.float32)
