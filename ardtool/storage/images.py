"""Pictures and arrays as files: 8-bit images, grids of them, animations, and .npz, .npy or .csv arrays.

Letters: N images of C channels, H pixels high and W wide. One channel is grey, three are RGB, four RGBA; any other number is
shown as the grey of the first channel. Every file is written aside and renamed; no array is ever pickled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..errors import StorageError
from .atomic import write_atomically, write_text

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "check_suffix",
    "enlarge",
    "enlargement",
    "image_grid",
    "near_square",
    "picture_of",
    "save_array",
    "save_gif",
    "save_picture",
    "shown",
    "to_levels",
    "to_uint8",
]

PICTURE_FORMATS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".gif": {"format": "GIF"},
    ".webp": {"format": "WEBP", "lossless": True},
}
ANIMATION_FORMATS = (".gif", ".webp")
ARRAY_FORMATS = (".npz", ".npy", ".csv")
SMALL_IMAGE = 64
CELL = 80
WHITE = 255


def to_levels(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """8-bit pixels ⌊255·x + ½⌋, with the shape and on the device of the images; values outside the range are clamped, NaN becomes 0.

    Arguments:
        images: pixel values; x is what they are in units of the range.
        value_range: the values of black and of full brightness, such as (0, 1) or (-1, 1).
    """
    low, high = value_range
    unit = ((images.detach().float() - low) / (high - low)).nan_to_num(nan=0.0).clamp(0, 1)
    return unit.mul(255).add(0.5).byte()


def to_uint8(images: Tensor, value_range: tuple[float, float]) -> np.ndarray:
    """The `to_levels` of images (N, C, H, W), with shape (N, H, W, C)."""
    return to_levels(images, value_range).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def shown(images: np.ndarray) -> np.ndarray:
    """The channels that a picture shows, with shape (..., 1, 3 or 4) of the given (..., C)."""
    return images if images.shape[-1] in (1, 3, 4) else images[..., :1]


def enlargement(height: int, width: int) -> int:
    """The integer factor that brings a small image (at most 64 pixels) to about 64-96 pixels; 1 for larger ones."""
    side = max(height, width)
    return max(1, round(CELL / side)) if side <= SMALL_IMAGE else 1


def enlarge(images: np.ndarray, factor: int) -> np.ndarray:
    """Nearest-neighbour enlargement of (..., H, W, C) to (..., factor · H, factor · W, C)."""
    return images.repeat(factor, axis=-3).repeat(factor, axis=-2)


def near_square(count: int, height: int, width: int) -> int:
    """The number of columns with which `count` cells of this size fill a nearly square picture."""
    return min(max(1, math.ceil(math.sqrt(count * height / width) - 1e-9)), max(count, 1))


def image_grid(images: np.ndarray, columns: int | None = None, padding: int = 2, scale: int | None = None) -> Image:
    """All images in one picture, row by row, on white.

    Arguments:
        images: 8-bit with shape (N, H, W, C).
        columns: images in a row; None for a nearly square picture.
        padding: white pixels between images and around them.
        scale: integer enlargement; None enlarges small images to cells of about 64-96 pixels.

    Raises:
        StorageError: there are no images.
    """
    if len(images) == 0:
        raise StorageError("There are no images to draw.", "Ask for at least one.")
    cells = enlarge(shown(images), enlargement(*images.shape[1:3]) if scale is None else scale)
    count, height, width, channels = cells.shape
    columns = near_square(count, height, width) if columns is None else max(1, columns)
    rows = math.ceil(count / columns)
    shape = (rows * (height + padding) + padding, columns * (width + padding) + padding, channels)
    canvas = np.full(shape, WHITE, dtype=np.uint8)
    for index, cell in enumerate(cells):
        top, left = padding + index // columns * (height + padding), padding + index % columns * (width + padding)
        canvas[top : top + height, left : left + width] = cell
    return picture_of(canvas)


def picture_of(pixels: np.ndarray) -> Image:
    """A picture of 8-bit pixels with shape (H, W, C)."""
    from PIL import Image

    pixels = shown(pixels)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def save_picture(image: Image, path: Path) -> None:
    """Write a picture in the format that the suffix names; .jpg and .gif show transparency as white.

    Raises:
        StorageError: the suffix is not .png, .jpg, .gif or .webp, or the file cannot be written.
    """
    path = Path(path)
    suffix = check_suffix(path, PICTURE_FORMATS, "a picture")
    picture = _opaque(image) if suffix in (".jpg", ".gif") else image
    write_atomically(path, lambda aside: picture.save(aside, **PICTURE_FORMATS[suffix]))


def save_gif(frames: Sequence[Image], path: Path, seconds_per_frame: float = 0.12) -> None:
    """Write an animation that runs through the frames and back again, for ever; no frame is shown twice in a row.

    Raises:
        StorageError: there are no frames, the suffix is not .gif or .webp, or the file cannot be written.
    """
    path = Path(path)
    suffix = check_suffix(path, ANIMATION_FORMATS, "an animation")
    if not frames:
        raise StorageError(f"There are no frames to write to {path}.", "Ask for at least one step.")
    first, *rest = [_opaque(frame) for frame in [*frames, *frames[-2:0:-1]]]
    duration = max(20, 10 * round(100 * seconds_per_frame))  # GIF counts in hundredths; viewers slow down what is faster than two
    options: dict[str, Any] = PICTURE_FORMATS[suffix] | {"save_all": True, "append_images": rest, "duration": duration, "loop": 0}
    write_atomically(path, lambda aside: first.save(aside, **options))


def save_array(path: Path, /, *, columns: Sequence[str] | None = None, **arrays: np.ndarray) -> None:
    """Write arrays by name to .npz, or one array to .npy or, with two dimensions, to .csv with a header line.

    Arguments:
        path: where to.
        columns: the header of a .csv file, one name a column; None for column_0, column_1, ...
        arrays: numbers, by name. A .csv file holds the shortest decimals that give the same numbers again.

    Raises:
        StorageError: the suffix is another, the arrays do not fit the format, or the file cannot be written.
    """
    path = Path(path)
    suffix = check_suffix(path, ARRAY_FORMATS, "arrays")
    values = {name: np.asarray(array) for name, array in arrays.items()}
    for name, value in values.items():
        if value.dtype.hasobject:
            raise StorageError(f"Cannot write {path}: {name!r} holds Python objects.", "Give an array of numbers.")
    if suffix == ".npz":
        write_atomically(path, lambda aside: _write_npz(aside, values))
        return
    if len(values) != 1:
        names = ", ".join(values) or "none"
        raise StorageError(f"Cannot write {path}: {suffix} holds one array, found {len(values)} ({names}).", "Use .npz.")
    (value,) = values.values()
    if suffix == ".npy":
        write_atomically(path, lambda aside: _write_npy(aside, value))
    else:
        write_text(path, _csv_text(path, value, columns))


def check_suffix(path: Path, allowed: Sequence[str] | dict[str, Any], what: str) -> str:
    """The suffix of a path in lower case.

    Raises:
        StorageError: it is not one of `allowed`.
    """
    suffix = path.suffix.lower()
    if suffix not in allowed:
        found = f"the suffix {path.suffix!r}" if suffix else "no suffix"
        message = f"Cannot write {what} to {path}: {found}; expected one of {', '.join(allowed)}."
        raise StorageError(message, "Change the end of the file name.")
    return suffix


def _opaque(image: Image) -> Image:
    """The picture on white where it has transparency."""
    from PIL import Image as images

    if image.mode not in ("RGBA", "LA"):
        return image
    rgba = image.convert("RGBA")
    return images.alpha_composite(images.new("RGBA", image.size, "white"), rgba).convert("RGB")


def _write_npz(aside: Path, values: dict[str, np.ndarray]) -> None:
    with open(aside, "wb") as file:
        np.savez(file, **values)  # pyright: ignore[reportArgumentType] -- names are arrays, not its options


def _write_npy(aside: Path, value: np.ndarray) -> None:
    with open(aside, "wb") as file:
        np.save(file, value, allow_pickle=False)


def _csv_text(path: Path, value: np.ndarray, columns: Sequence[str] | None) -> str:
    """Header and rows of a two-dimensional array."""
    if value.ndim != 2:
        found = "×".join(map(str, value.shape)) or "a single number"
        raise StorageError(f"Cannot write {path}: .csv holds rows and columns, the array is {found}.", "Use .npz or .npy.")
    names = [f"column_{index}" for index in range(value.shape[1])] if columns is None else list(columns)
    if len(names) != value.shape[1]:
        raise StorageError(f"Cannot write {path}: {len(names)} names for {value.shape[1]} columns.", "Give one name a column.")
    lines = [",".join(names), *(",".join(row.astype(str)) for row in value)]
    return "\n".join(lines) + "\n"
