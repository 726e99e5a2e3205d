"""A data set in memory: one contiguous tensor, indexed by batches, with what is known about it.

Images stay uint8 until a batch is taken; vectors keep the precision of their file until they are standardised. No per-sample Python runs
while training.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import DataError
from .factors import DrawnImages, FactorGrid
from .pixels import PixelMap, from_unit

__all__ = ["DataSet", "Scaling", "check_samples", "name_of", "split_indices"]

BLOCK, HASHED_DRAWN = 1000, 1000
FLOAT32_ROUNDING, FLOAT64_ROUNDING = 1e-7, 1e-14  # relative to the largest value


@dataclass(frozen=True)
class Scaling:
    """Standardisation of columns: x' = (x - mean) / scale, so that results do not depend on units.

    Attributes:
        mean: column means with shape (D,), float64.
        scale: column standard deviations with shape (D,), float64; 1 for a constant column.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, values: Tensor) -> Scaling:
        """Means and standard deviations (ddof 0) of values with shape (N, D); a column that varies by no more than rounding is constant."""
        double = values.double()
        scale = double.std(dim=0, correction=0)
        smallest = double.abs().amax(dim=0) * (FLOAT64_ROUNDING if values.dtype == torch.float64 else FLOAT32_ROUNDING)
        return cls(double.mean(dim=0), torch.where(scale > smallest, scale, torch.ones_like(scale)))

    def apply(self, values: Tensor) -> Tensor:
        """Standardised values, computed in float64, as float32: large numbers that differ by little stay different."""
        return ((values.double() - self.mean.double()) / self.scale.double()).float()

    def undo(self, values: Tensor) -> Tensor:
        """Values in the user's own units, float64."""
        return values.double() * self.scale.double() + self.mean.double()


@dataclass(frozen=True)
class DataSet:
    """N samples and their description.

    Attributes:
        name: the name in run folders and reports, without blanks.
        values: uint8 or float32 images with shape (N, C, H, W), in memory, mapped from a file, or drawn when they are asked for; or
            float32 or float64 vectors with shape (N, D).
        value_range: the range that pixel values have in a batch, (0, 1) or (-1, 1); None for vectors.
        factors: known factors of variation with shape (N, K), or None.
        factor_names: their K names.
        grid: the grid of factors whose combinations the samples are, in its order, or None.
        paper_name: the name under which the paper's tables have its settings, where that is another.
        validation: how many samples at the end are the official validation split; 0 for "draw one".
        notes: what was done to the raw files, one sentence each, to be shown to the user.
        left_out: the one of the notes that counts images that could not be decoded; "" where there are none.
        scaling: the standardisation that was applied to vectors, or None.
        settings: training settings that suit these data, names of `TrainConfig` fields; the user's own come first.
        pixel_map: the values in the user's units that became 0 and 1 (see `pixels.py`); None for bytes 0 to 255, and for vectors.
        padding: rows and columns on each side of the images that were added to the raw ones.
    """

    name: str
    values: Tensor | DrawnImages
    value_range: tuple[float, float] | None = None
    factors: Tensor | None = None
    factor_names: tuple[str, ...] = ()
    grid: FactorGrid | None = None
    paper_name: str = ""
    validation: int = 0
    notes: tuple[str, ...] = ()
    left_out: str = ""
    scaling: Scaling | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    pixel_map: PixelMap | None = None
    padding: int = 0

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_images(self) -> bool:
        return self.values.ndim == 4

    @property
    def varying_factors(self) -> tuple[str, ...]:
        """The names of the known factors that have more than one value: what a count of axes is compared with."""
        return self.factor_names if self.grid is None else tuple(self.factor_names[factor] for factor in self.grid.varying)

    @property
    def tensor(self) -> Tensor:
        """The samples in memory.

        Raises:
            DataError: they are drawn, all of them being too many.
        """
        if isinstance(self.values, DrawnImages):
            raise DataError(f"The {len(self):,} images of '{self.name}' are drawn one by one.", "Use some of them: data.batch(index).")
        return self.values

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.values.shape[1:])

    def batch(self, index: Tensor | slice, device: torch.device | str = "cpu") -> Tensor:
        """Samples as float32 in `value_range` on a device, with shape (B, *shape)."""
        return self.as_floats(self.take(index, device))

    def take(self, index: Tensor | slice, device: torch.device | str = "cpu") -> Tensor:
        """Samples as bytes, where they are kept so, else as float32, on a device."""
        if isinstance(self.values, DrawnImages):
            return self.values.take(index, device)
        values = self.values[index].contiguous()  # files that are mapped into memory have the channels last
        return (values if values.dtype == torch.uint8 else values.float()).to(device)  # in this order: some devices have no float64

    def as_floats(self, values: Tensor) -> Tensor:
        """Samples from `take` as float32 in `value_range`."""
        if values.dtype != torch.uint8:
            return values
        if self.value_range == (-1.0, 1.0):
            return values.float().mul_(2 / 255).sub_(1)
        return values.float().div_(255)

    def standardised(self, scaling: Scaling) -> DataSet:
        """The same vectors standardised by `scaling` instead of the one they have."""
        values = self.tensor if self.scaling is None else self.scaling.undo(self.tensor)
        return replace(self, values=scaling.apply(values), scaling=scaling)

    def with_pixel_map(self, pixel_map: PixelMap | None) -> DataSet:
        """The same images brought to [0, 1] by another map; as they are where one of the maps is not known."""
        if pixel_map is None or self.pixel_map in (None, pixel_map):
            return self
        low, high = pixel_map
        users = from_unit(self.batch(slice(None)), self.pixel_map).double()
        return replace(self, values=((users - low) / (high - low)).float(), pixel_map=pixel_map)

    def sha256(self) -> str:
        """Hash of all values, shape and type, to recognise the same data again; of drawn images of their factors and of a thousand."""
        digest = hashlib.sha256(f"{self.values.dtype}{tuple(self.values.shape)}".encode())
        values = self.values
        if isinstance(values, DrawnImages):
            digest.update(str(values.grid).encode())
            values = values[torch.linspace(0, len(values) - 1, HASHED_DRAWN).long()]
        for block in values.split(BLOCK):  # block by block: a file that is mapped into memory is not copied as a whole
            digest.update(block.contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


def split_indices(data: DataSet, fraction: float, seed: int, samples: int | None = None) -> tuple[Tensor, Tensor]:
    """Disjoint index tensors (training, validation), ascending.

    The official split where the data set has one, else `fraction` of the samples drawn with `seed`.

    Arguments:
        samples: keep so many training samples, drawn with `seed`, and for validation at most a ninth as many (at least one), so that
            validating takes no longer beside training than it does by default; None keeps all. A smaller number keeps a part of what a
            larger one keeps.

    Raises:
        DataError: fewer than two samples, or fewer training samples than asked for.
    """
    n = len(data)
    if n < 2:
        raise DataError(
            f"'{data.name}' holds {n} sample{'' if n == 1 else 's'}; at least 2 are needed to train and validate.",
            "Give a data set with more samples.",
        )
    generator = torch.Generator().manual_seed(seed)
    if data.validation:
        train, validation = torch.arange(n - data.validation), torch.arange(n - data.validation, n)
    else:
        order = torch.randperm(n, generator=generator)
        held_out = min(max(1, round(n * fraction)), n - 1)
        train, validation = order[held_out:].sort().values, order[:held_out].sort().values
    if samples is None:
        return train, validation
    if samples > len(train):
        raise DataError(
            f"'{data.name}' has {len(train):,} samples to train on; found --samples {samples}.", "Leave --samples out to train on all."
        )
    return _some(train, samples, generator), _some(validation, max(1, samples // 9), generator)


def _some(index: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most so many of the indices, drawn, in their order."""
    return index[torch.randperm(len(index), generator=generator)[:count].sort().values]


def check_samples(data: DataSet) -> DataSet:
    """The data set itself, when something can be learned from it.

    Raises:
        DataError: fewer than two samples, or all samples are equal.
    """
    n = len(data)
    if n < 2:
        raise DataError(
            f"'{data.name}' holds {n} sample{'' if n == 1 else 's'}; at least 2 are needed.", "Give a data set with more samples."
        )
    if all(torch.equal(block, data.values[:1].expand_as(block)) for block in data.values.split(1000)):
        raise DataError(
            f"'{data.name}' does not vary: all {n} samples are equal.",
            "Check how the data were written; there is nothing to learn from them.",
        )
    return data


def name_of(path: Path) -> str:
    """A data set's name: a file's name without its endings or a folder's name, with '-' for all characters but A-Z a-z 0-9 . _ and -."""
    path = path.resolve()
    ending = re.search(r"\.(tar|csv)\.(gz|bz2|xz)$", path.name, re.IGNORECASE)
    stem = path.name if path.is_dir() else path.name[: ending.start()] if ending else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "data"
