"""Vectors and images from NumPy files, `.npy` and `.npz`, and from arrays. Pickled objects are refused: loading them would run their code.

The shape decides what the numbers are, N being the number of samples:

    (N, D)                        vectors in the user's own units and precision (training standardises them)
    (N, H, W)                     images with one channel
    (N, H, W, C), C from 1 to 4   images; (N, C, H, W) is understood where only that fits

How the pixel values of images come to [0, 1] is in `pixels.py`; every change is said in a note.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ..errors import DataError, reason_of
from .dataset import DataSet, name_of
from .images import parse_size
from .pixels import PixelMap, guess_map, to_unit

if TYPE_CHECKING:
    import numpy as np

__all__ = ["VECTORS", "MapChoice", "data_of", "open_arrays", "resize_images", "vectors_of"]

MapChoice = PixelMap | Literal["guess"] | None
KEYS = ("images", "imgs", "x", "X", "data", "arr_0")
FACTOR_KEYS = ("factors", "latents_values")
CHANNELS = range(1, 5)
SHAPES = "expected vectors (N, D) or images (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 to 4 channels"
VECTORS = "The samples are vectors, so that the image size has no effect."
LARGEST = 3.4028234663852886e38  # of float32, in which networks compute


def open_arrays(path: Path, image_size: str | tuple[int, int] = "auto", pixel_map: MapChoice = "guess") -> DataSet:
    """The samples of a `.npy` or `.npz` file.

    Of an `.npz` file the first of the arrays images, imgs, x, X, data, arr_0 is read, else its largest numeric array; known
    factors come from the array factors or latents_values.

    Arguments:
        path: the file.
        image_size: "auto" to keep the size of images, else "N" or "HxW" in pixels, or (H, W).
        pixel_map: how pixel values come to [0, 1]: "guess" from these images, or the map of a model, see `pixels.py`.

    Returns:
        float32 or float64 vectors with shape (N, D), or uint8 or float32 images with shape (N, C, H, W) and `value_range` (0, 1).

    Raises:
        DataError: the file cannot be read, holds pickled objects, no samples, another shape, or values that are not finite.
        ConfigError: `image_size` is no size.
    """
    size = parse_size(image_size)
    array, factors, names, notes = _read(path)
    _check_array(str(path), array)
    if array.ndim not in (2, 3, 4):
        raise DataError(f"{path} has the shape {array.shape}; {SHAPES}.", "Reshape it, for example to one row a sample.")
    if array.ndim == 2:
        if size is not None:
            notes.append(VECTORS)
        return DataSet(name_of(path), vectors_of(str(path), array), None, factors, names, notes=tuple(notes))
    values, used = _pixels(str(path), _channels_first(path, array, notes), pixel_map, notes)
    height, width = values.shape[2:]
    if size not in (None, (height, width)):
        notes.append(f"The images are resized from {height}x{width} to {size[0]}x{size[1]} pixels (height x width).")
        values = resize_images(values, size)
    return DataSet(name_of(path), values, (0.0, 1.0), factors, names, notes=tuple(notes), pixel_map=used)


def data_of(samples: Any, *, as_pixels: bool = False, pixel_map: PixelMap | None = None) -> DataSet:
    """The data set of a tensor, an array, or whatever NumPy makes an array of, with shape (N, ...).

    Arguments:
        samples: vectors (N, D) become float32 or float64. Of all else uint8 stays what it is, a picture's bytes, and the rest becomes
            float32.
        as_pixels: bring the values to [0, 1] by `pixel_map`, as `open_arrays` does.

    Raises:
        DataError: no numbers, no samples, or values that are not finite.
    """
    import numpy as np

    if isinstance(samples, Tensor):
        samples = samples.detach().cpu()
        samples = samples.float() if samples.dtype == torch.bfloat16 else samples
    try:
        array = np.asarray(samples)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, sparse tensors
        kind = type(samples).__name__
        raise DataError(f"The data, a {kind}, are no array: {reason_of(error)}.", "Give numbers with shape (N, ...).") from error
    _check_array("The array", array)
    if as_pixels:
        values, used = _pixels("The array", array.copy(), pixel_map, [])  # mapping may write into it
        return DataSet("array", values, (0.0, 1.0), pixel_map=used)
    if array.ndim == 2:
        return DataSet("array", vectors_of("The array", array))
    _check_finite("The array", array)
    return DataSet("array", _tensor(array if array.dtype == np.uint8 else array.astype(np.float32)))


def resize_images(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Images with shape (N, C, *size), of the same type, from images (N, C, H, W): bilinear, smoothed before they are shrunk."""
    resized = torch.empty(*values.shape[:2], *size, dtype=values.dtype)
    for source, target in zip(values.split(500), resized.split(500), strict=True):
        block = torch.nn.functional.interpolate(source.float(), size, mode="bilinear", antialias=True)
        target.copy_(block if values.is_floating_point() else block.round())
    return resized


def _read(path: Path) -> tuple[np.ndarray, Tensor | None, tuple[str, ...], list[str]]:
    """The array of samples in a file, its factors where known with their names, and notes."""
    import numpy as np

    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None, (), []
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
        hint = "Change its permissions." if isinstance(error, PermissionError) else "Write the file again with numpy.save."
        raise DataError(f"{path} cannot be read as a NumPy file: {reason_of(error)}.", hint) from error


def _read_archive(path: Path, archive: Any) -> tuple[np.ndarray, Tensor | None, tuple[str, ...], list[str]]:
    """The same for an opened `.npz` file."""
    key = next((key for key in KEYS if key in archive.files), None) or _largest(path, archive)
    array, notes = archive[key], [f"The samples are the array '{key}' of {path.name}."]
    factor_key = next((name for name in FACTOR_KEYS if name in archive.files and name != key), None)
    if factor_key is None:
        return array, None, (), notes
    factors = archive[factor_key]
    if factors.dtype.kind not in "biuf" or factors.ndim != 2 or array.ndim == 0 or len(factors) != len(array):
        notes.append(f"The array '{factor_key}' is not used: its shape {factors.shape} is not one row of factors a sample.")
        return array, None, (), notes
    return array, *_known_factors(factor_key, factors, notes), notes


def _known_factors(key: str, factors: np.ndarray, notes: list[str]) -> tuple[Tensor | None, tuple[str, ...]]:
    """The factors (N, K) that are finite and vary, and their names: "factor 0" is the first column of the file."""
    import numpy as np

    columns = range(factors.shape[1])
    finite = [column for column in columns if np.isfinite(factors[:, column]).all()]
    varying = [column for column in finite if len(factors) and factors[:, column].min() < factors[:, column].max()]
    notes.append(f"The known factors are the array '{key}'." if varying else f"The array '{key}' is not used: none of its columns varies.")
    for left_out, reason in (
        ([column for column in columns if column not in finite], "NaN or infinite in some samples"),
        ([column for column in finite if column not in varying], "the same in all samples"),
    ):
        if varying and left_out:
            many = "s" if len(left_out) > 1 else ""
            verb = "are" if many else "is"
            notes.append(f"Column{many} {', '.join(map(str, left_out))} of '{key}' {verb} no factor{many}: {reason} (counted from 0).")
    if not varying:
        return None, ()
    return _tensor(factors[:, varying].astype(np.float32)), tuple(f"factor {column}" for column in varying)


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


def _check_array(where: str, array: np.ndarray) -> None:
    """Raise `DataError` unless the array holds numbers in samples."""
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where} holds values of type {array.dtype}; expected whole or real numbers.", "Convert the array first.")
    if array.ndim == 0:
        raise DataError(f"{where} has the shape (); {SHAPES}.", "Give one row a sample.")
    if array.size == 0:
        raise DataError(f"{where} is empty: its shape is {array.shape}; {SHAPES}.", "Check how the data were written.")


def _tensor(array: np.ndarray) -> Tensor:
    """A contiguous tensor of an array that nobody else writes to."""
    import numpy as np

    array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def vectors_of(where: str, array: np.ndarray) -> Tensor:
    """The array as float32 where that holds all its values exactly, else as float64.

    Raises:
        DataError: some values are NaN, infinite, or too large for float32.
    """
    import numpy as np

    _check_finite(where, array)
    exact = np.can_cast(array.dtype, np.float32, "safe")
    return _tensor(array.astype(np.float32 if exact else np.float64))


def _pixels(where: str, images: np.ndarray, pixel_map: MapChoice, notes: list[str]) -> tuple[Tensor, PixelMap | None]:
    """Images in [0, 1], or 0 to 255 as uint8, and the map that brought them there."""
    _check_finite(where, images)
    if pixel_map == "guess":
        pixel_map, note = guess_map(images)
        notes += [note] if note else []
    return _tensor(to_unit(where, images, pixel_map)), pixel_map


def _check_finite(where: str, array: np.ndarray) -> None:
    """Raise `DataError` where some values are NaN, infinite, or too large for float32."""
    import numpy as np

    if array.dtype.kind != "f":
        return
    bad = ~np.isfinite(array)
    if array.dtype.itemsize > 4:
        bad |= np.abs(array) > LARGEST
    if not bad.any():
        return
    row, *position = (int(index) for index in np.unravel_index(int(bad.argmax()), bad.shape))
    place = f"row {row}, column {position[0]}" if len(position) == 1 else f"sample {row}, position {tuple(position)}"
    found = "1 value is" if bad.sum() == 1 else f"{bad.sum()} values are"
    raise DataError(
        f"{where}: {found} NaN, infinite or beyond float32, the first in {place} (counted from 0).",
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
