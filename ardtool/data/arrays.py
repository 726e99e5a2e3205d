"""Vectors and images from NumPy files, `.npy` and `.npz`. Pickled objects are refused: loading them would run their code.

The shape decides what the numbers are, N being the number of samples:

    (N, D)                        vectors, float32, in the user's own units (training standardises them)
    (N, H, W)                     images with one channel
    (N, H, W, C), C from 1 to 4   images; (N, C, H, W) is understood where only that fits

and the values decide how images come to [0, 1]; the first line that fits counts, and every change is said in a note:

    bool, or uint8 with 0 and 1 only        0 and 255, uint8
    uint8                                   as they are
    whole numbers, 0 … 255, above 127       the same as uint8
    within [0, 1]                           as they are, float32
    within [-1, 1], some below -0.5         (x + 1) / 2
    within [0, 255], some above 127         x / 255
    anything else                           (x - min) / (max - min)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import DataError
from .dataset import DataSet, name_of
from .images import parse_size

if TYPE_CHECKING:
    import numpy as np

__all__ = ["open_arrays", "resize_images"]

KEYS = ("images", "imgs", "x", "X", "data", "arr_0")
FACTOR_KEYS = ("factors", "latents_values")
CHANNELS = range(1, 5)
SHAPES = "expected vectors (N, D) or images (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 to 4 channels"


def open_arrays(path: Path, image_size: str = "auto") -> DataSet:
    """The samples of a `.npy` or `.npz` file.

    Of an `.npz` file the first of the arrays images, imgs, x, X, data, arr_0 is read, else its largest numeric array; known
    factors come from the array factors or latents_values.

    Arguments:
        path: the file.
        image_size: "auto" to keep the size of images, else "N" or "HxW" in pixels.

    Returns:
        float32 vectors with shape (N, D), or uint8 or float32 images with shape (N, C, H, W) and `value_range` (0, 1).

    Raises:
        DataError: the file cannot be read, holds pickled objects, no samples, another shape, or values that are not finite.
        ConfigError: `image_size` is no size.
    """
    size = parse_size(image_size)
    array, factors, notes = _read(path)
    _check_array(path, array)
    if array.ndim == 2:
        if size is not None:
            notes.append("The samples are vectors, so that the image size has no effect.")
        return DataSet(name_of(path), _tensor(_finite(path, array)), None, factors, _names(factors), notes=tuple(notes))
    images = _unit_range(path, _channels_first(path, array, notes), notes)
    values = _tensor(images)
    height, width = values.shape[2:]
    if size not in (None, (height, width)):
        notes.append(f"The images are resized from {height}x{width} to {size[0]}x{size[1]} pixels (height x width).")
        values = resize_images(values, size)
    return DataSet(name_of(path), values, (0.0, 1.0), factors, _names(factors), notes=tuple(notes))


def resize_images(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Images with shape (N, C, *size), of the same type, from images (N, C, H, W): bilinear, smoothed before they are shrunk."""
    resized = torch.empty(*values.shape[:2], *size, dtype=values.dtype)
    for source, target in zip(values.split(500), resized.split(500), strict=True):
        block = torch.nn.functional.interpolate(source.float(), size, mode="bilinear", antialias=True)
        target.copy_(block if values.is_floating_point() else block.round())
    return resized


def _read(path: Path) -> tuple[np.ndarray, Tensor | None, list[str]]:
    """The array of samples in a file, its factors where known, and notes."""
    import numpy as np

    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None, []
        with loaded as archive:
            return _read_archive(path, archive)
    except DataError:
        raise
    except Exception as error:  # damaged bytes make readers raise nearly anything
        if "pickle" in str(error):
            raise DataError(
                f"{path} holds Python objects (a pickle) or is no NumPy file; only plain numbers are read, pickles can run code.",
                "Save numbers: numpy.save('data.npy', array.astype('float32')).",
            ) from error
        raise DataError(f"{path} cannot be read as a NumPy file: {error}.", "Write the file again with numpy.save.") from error


def _read_archive(path: Path, archive: Any) -> tuple[np.ndarray, Tensor | None, list[str]]:
    """The same for an opened `.npz` file."""
    key = next((key for key in KEYS if key in archive.files), None) or _largest(path, archive)
    array, notes = archive[key], [f"The samples are the array '{key}' of {path.name}."]
    factor_key = next((name for name in FACTOR_KEYS if name in archive.files and name != key), None)
    if factor_key is None:
        return array, None, notes
    factors = archive[factor_key]
    if factors.dtype.kind not in "biuf" or factors.ndim != 2 or len(factors) != len(array):
        notes.append(f"The array '{factor_key}' is not used: its shape {factors.shape} is not one row of factors a sample.")
        return array, None, notes
    notes.append(f"The known factors are the array '{factor_key}'.")
    return array, _tensor(factors.astype("float32")), notes


def _largest(path: Path, archive: Any) -> str:
    """The name of the numeric array with the most entries.

    Raises:
        DataError: there is none, or more than one.
    """
    sizes = {}
    for key in archive.files:
        try:
            array = archive[key]
        except ValueError:  # a pickled object among the arrays: not a candidate
            continue
        if array.dtype.kind in "biuf" and array.ndim >= 2 and key not in FACTOR_KEYS:
            sizes[key] = array.size
    largest = [key for key, size in sizes.items() if size == max(sizes.values())]
    if len(largest) == 1:
        return largest[0]
    problem = f"its arrays {' and '.join(largest)} are equally large" if largest else "none of its arrays holds numbers in rows"
    raise DataError(
        f"{path} does not say which array holds the samples: found {', '.join(archive.files) or 'nothing'}, and {problem}.",
        f"Name it one of {', '.join(KEYS)}.",
    )


def _check_array(path: Path, array: np.ndarray) -> None:
    """Raise `DataError` unless the array holds numbers, in a shape that can be vectors or images."""
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path} holds values of type {array.dtype}; expected whole or real numbers.", "Convert the array first.")
    if array.ndim not in (2, 3, 4):
        raise DataError(f"{path} has the shape {array.shape}; {SHAPES}.", "Reshape it, for example to one row a sample.")
    if array.size == 0:
        raise DataError(f"{path} is empty: its shape is {array.shape}; {SHAPES}.", "Check how the file was written.")


def _names(factors: Tensor | None) -> tuple[str, ...]:
    """Names for factors whose names are not known."""
    return () if factors is None else tuple(f"factor {number}" for number in range(factors.shape[1]))


def _tensor(array: np.ndarray) -> Tensor:
    """A contiguous tensor of an array."""
    import numpy as np

    return torch.from_numpy(np.ascontiguousarray(array))


def _finite(path: Path, array: np.ndarray) -> np.ndarray:
    """The array as float32.

    Raises:
        DataError: some values are NaN, infinite, or too large for float32.
    """
    import numpy as np

    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    bad = ~np.isfinite(values)
    if not bad.any():
        return values
    row, *position = (int(index) for index in np.unravel_index(int(bad.argmax()), bad.shape))
    place = f"row {row}, column {position[0]}" if len(position) == 1 else f"sample {row}, position {tuple(position)}"
    found = "1 value is" if bad.sum() == 1 else f"{bad.sum()} values are"
    raise DataError(
        f"{path}: {found} NaN, infinite or beyond float32, the first in {place} (counted from 0).",
        "Remove these samples or fill in their values.",
    )


def _channels_first(path: Path, array: np.ndarray, notes: list[str]) -> np.ndarray:
    """Images with shape (N, C, H, W), from any of the shapes of images.

    Raises:
        DataError: no dimension has 1 to 4 channels.
    """
    if array.ndim == 3:
        return array[:, None]
    if array.shape[3] in CHANNELS:
        if array.shape[1] in CHANNELS:
            notes.append(f"The shape {array.shape} is read as (N, H, W, C): the last dimension holds the channels.")
        return array.transpose(0, 3, 1, 2)
    if array.shape[1] in CHANNELS:
        notes.append(f"The shape {array.shape} is read as (N, C, H, W): the second dimension holds the channels.")
        return array
    raise DataError(f"{path} has the shape {array.shape}; {SHAPES}.", "Select at most 4 channels, or reshape to vectors.")


def _unit_range(path: Path, images: np.ndarray, notes: list[str]) -> np.ndarray:
    """Images as uint8 (0 to 255) or float32 (0 to 1), by the table on top of this file."""
    import numpy as np

    whole = images.dtype.kind in "biu"
    if not whole:
        images = _finite(path, images)
    low, high = images.min().item(), images.max().item()
    if images.dtype in (np.bool_, np.uint8):
        if high > 1 or low == high:
            return images.astype(np.uint8, copy=False)
        notes.append("The images hold 0 and 1 only and are taken as black and white.")
        images = images.astype(np.uint8, copy=False)
        return np.multiply(images, np.uint8(255), out=images)  # in place: such sets (dSprites) can be gigabytes
    if whole and low >= 0 and 127 < high <= 255:
        notes.append("The pixel values are whole numbers from 0 to 255 and are divided by 255.")
        return images.astype(np.uint8)
    images = images.astype(np.float32)
    if low >= 0 and high <= 1:
        return images
    if low < -0.5 and low >= -1 and high <= 1:
        notes.append("The pixel values lie in [-1, 1] and are mapped to [0, 1] by (x + 1) / 2.")
        return (images + 1) / 2
    if low >= 0 and 127 < high <= 255:
        notes.append("The pixel values lie in [0, 255] and are divided by 255.")
        return images / 255
    notes.append(f"The pixel values lie in [{low:g}, {high:g}] and are mapped to [0, 1] by (x - min) / (max - min).")
    return ((images.astype(np.float64) - low) / ((high - low) or 1)).astype(np.float32)
