"""Samples that somebody else's model has generated, to be measured like the model's own: `--generated`.

A folder or archive of images, or a `.npy`, `.npz` or `.csv` file, read like any data. Images come in the size of the data, grey or RGB as
those are, with a note where that changes them. Numbers are taken to mean what they usually do: bytes, or reals in [0, 1], [-1, 1] or
0 to 255; else they have the units of the data.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...data.catalogue import open_data
from ...data.dataset import DataSet
from ...errors import DataError

__all__ = ["open_generated"]

USUAL = (None, (0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))


def open_generated(path: str | Path, data: DataSet, *, skip_bad: bool = False) -> DataSet:
    """Somebody else's samples, beside the data that they are compared with; vectors in the user's own units.

    Arguments:
        path: where they are; never the name of a data set.
        data: what they are to have the shape of, and the units where theirs cannot be told.
        skip_bad: leave out images that cannot be decoded.

    Raises:
        DataError: there is nothing at the path, it cannot be read, has another shape, fewer than two samples, or pixels in unknown units.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise DataError(f"--generated {path} does not exist.", "Give a folder, .zip or .tar of images, or a .npy, .npz or .csv file.")
    found = _opened(place, data, skip_bad)
    if found.shape != data.shape:
        raise DataError(
            f"--generated {path} holds samples of {_words(found)}; the data are {_words(data)}.", "Give samples of the same shape."
        )
    if len(found) < 2:
        raise DataError(f"--generated {path} holds 1 sample; at least 2 are needed.", "Generate as many as there are data.")
    return found


def _opened(path: Path, data: DataSet, skip_bad: bool) -> DataSet:
    """The samples, in the size of the data; pixels in [0, 1], as bytes or reals."""
    height, width = data.shape[1:] if data.is_images else (0, 0)
    size = (height, width) if data.is_images else "auto"
    channels = data.shape[0] if data.is_images else None
    name = str(path.absolute())  # a path even where it is called like a data set
    found = open_data(name, image_size=size, channels=channels, for_training=False, skip_bad=skip_bad)
    if found.pixel_map in USUAL:
        return found
    low, high = found.pixel_map or (0.0, 1.0)
    if data.pixel_map is None:
        raise DataError(
            f"--generated {path}: the pixel values lie in [{low:g}, {high:g}]; expected bytes, or numbers in [0, 1], [-1, 1] or 0 to 255.",
            "Clip them to the range that they mean.",
        )
    found = open_data(name, image_size=size, pixel_map=data.pixel_map, channels=channels, for_training=False)
    return replace(found, notes=(*found.notes, *_clipped(found)))


def _clipped(data: DataSet) -> list[str]:
    """A note where pixels lie outside [0, 1], in which they become bytes."""
    outside = sum(int(((block < 0) | (block > 1)).sum()) for block in data.tensor.split(1000))
    share = outside / data.tensor.numel()
    low, high = data.pixel_map or (0.0, 1.0)
    return [f"{share:.2%} of the pixel values lie outside [{low:g}, {high:g}] and are clipped."] if outside else []


def _words(data: DataSet) -> str:
    return "×".join(map(str, data.shape)) + (" pixels (channels × height × width)" if data.is_images else " numbers")
