"""Data as a model takes them: opened by name or path, in the model's own format where a plugin reads it, sized and scaled."""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.arrays import MapChoice, data_of
from ..data.catalogue import open_data
from ..data.dataset import DataSet
from ..errors import ConfigError, DataError
from ..storage.model_file import SavedModel

__all__ = ["data_for", "saved_pixel_map", "scaled_for", "threshold_of", "unscaled_for", "warnings_of", "whole_number", "whole_numbers"]


def data_for(
    model: SavedModel,
    data: str | Path | DataSet | Tensor | Any,
    data_root: str | Path | None,
    split: str = "test",
    *,
    skip_bad: bool = False,
) -> DataSet:
    """Data as this model takes them: opened by name or path, sized, and scaled like the data it was trained on.

    Arguments:
        data: a name, a path, a `DataSet`, or samples with shape (N, *input_shape) in the units of the training data. Models that
            ardtool did not train take pixels in [0, 1]; those of a file are brought there, a tensor is taken as it is.
        split: which part of a named data set.
        skip_bad: leave out images of a folder or archive that cannot be decoded; `left_out` of the result counts them.

    Raises:
        DataError: there are no samples, some values are not finite, or the shape does not fit the model.
    """
    return scaled_for(model, unscaled_for(model, data, data_root, split, skip_bad=skip_bad))


def scaled_for(model: SavedModel, data: DataSet) -> DataSet:
    """Vectors standardised as the model's training data were; all else as it is."""
    return data if model.scaling is None else data.standardised(model.scaling)


def unscaled_for(model: SavedModel, data: Any, data_root: str | Path | None, split: str = "test", *, skip_bad: bool = False) -> DataSet:
    """`data_for` before vectors are standardised: with the hash that training recorded, where the data are the same."""
    shape = tuple(model.autoencoder.input_shape)
    found = _opened_data(model, data, data_root, split, skip_bad)
    if len(found) == 0 or not _is_finite(found):
        raise DataError(f"'{found.name}' holds no samples, or values that are not finite.", "Remove these samples or fill in their values.")
    if found.shape != shape:
        raise DataError(
            f"'{found.name}' holds samples of {'×'.join(map(str, found.shape)) or 'one number'}; "
            f"the model takes {'×'.join(map(str, shape))}.",
            "Give the data that the model was trained on, or data of the same shape.",
        )
    return found


def warnings_of(data: DataSet | None) -> tuple[str, ...]:
    """What a command that reads data says of them beside its result: how many images were left out."""
    return (data.left_out,) if data is not None and data.left_out else ()


def _is_finite(data: DataSet) -> bool:
    return data.values.dtype == torch.uint8 or all(bool(block.isfinite().all()) for block in data.values.split(1000))


def _opened_data(model: SavedModel, data: Any, data_root: str | Path | None, split: str, skip_bad: bool) -> DataSet:
    """Data in the model's own format, by name or path, as they are, or from an array; pixels as the model takes them."""
    shape = tuple(model.autoencoder.input_shape)
    pixel_map = saved_pixel_map(model)
    if isinstance(data, str | Path):
        own = None if model.open_data is None else model.open_data(Path(data))
        if own is not None:
            return own
        is_image = len(shape) == 3
        size = (shape[1], shape[2]) if is_image else "auto"
        channels = shape[0] if is_image else None
        found = open_data(
            str(data),
            split=split,
            data_root=data_root,
            image_size=size,
            pixel_map=pixel_map,
            channels=channels,
            for_training=False,
            skip_bad=skip_bad,
        )
        return replace(found, value_range=(0.0, 1.0)) if is_image and model.method == "foreign" else found
    if not isinstance(data, DataSet):
        as_pixels = len(shape) == 3 and pixel_map != "guess"
        return data_of(data, as_pixels=as_pixels, pixel_map=None if pixel_map == "guess" else pixel_map)
    return data if pixel_map == "guess" else data.with_pixel_map(pixel_map)


def saved_pixel_map(model: SavedModel) -> MapChoice:
    """The map of pixel values that the model was trained with; "guess" where the model does not say."""
    found = model.metadata.get("data") or {}
    if "pixel_map" not in found:
        return "guess"
    pixel_map = found["pixel_map"]
    return None if pixel_map is None else (float(pixel_map[0]), float(pixel_map[1]))


def threshold_of(value: Any) -> float:
    """The share of the total score that axes are to exceed: a number of Python, NumPy or torch, or its text.

    Raises:
        ConfigError: it is no number in (0, 1].
    """
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = math.nan
    if not 0 < share <= 1:
        found = reprlib.repr(value) if math.isnan(share) else f"{share:g}"
        raise ConfigError(f"--threshold is {found}; expected a share in (0, 1].", "0.99 is the paper's choice.")
    return share


def whole_number(option: str, value: Any) -> int:
    """A number that an option has in Python: an int, one of NumPy or torch, or its text.

    Raises:
        ConfigError: it is none.
    """
    try:
        return int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{option} is {reprlib.repr(value)}; expected a whole number.", "For example 3.") from None


def whole_numbers(option: str, values: Any) -> tuple[int, ...]:
    """The numbers of a list, a tuple, an array, a tensor, or of a text with commas between them; a single one, too."""
    if isinstance(values, str):
        values = values.split(",")
    single = not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0
    return tuple(whole_number(option, value) for value in ([values] if single else values))
