"""A data set in memory: one contiguous tensor, indexed by batches, with what is known about it.

Images stay uint8 until a batch is taken, vectors are float32. No per-sample Python runs while training.
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

__all__ = ["DataSet", "Scaling", "check_samples", "name_of", "split_indices"]


@dataclass(frozen=True)
class Scaling:
    """Standardisation of columns: x' = (x - mean) / scale, so that results do not depend on units.

    Attributes:
        mean: column means with shape (D,).
        scale: column standard deviations with shape (D,); 1 for a constant column.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, values: Tensor) -> Scaling:
        """Means and standard deviations (ddof 0, in float64) of values with shape (N, D)."""
        double = values.double()
        scale = double.std(dim=0, correction=0)
        smallest = double.abs().amax(dim=0) * 1e-7
        scale = torch.where(scale > smallest, scale, torch.ones_like(scale))
        return cls(double.mean(dim=0).float(), scale.float())

    def apply(self, values: Tensor) -> Tensor:
        """Standardised values."""
        return (values - self.mean) / self.scale

    def undo(self, values: Tensor) -> Tensor:
        """Values in the user's own units."""
        return values * self.scale + self.mean


@dataclass(frozen=True)
class DataSet:
    """N samples and their description.

    Attributes:
        name: the name in run folders and reports, without blanks.
        values: uint8 or float32 images with shape (N, C, H, W), or float32 vectors with shape (N, D).
        value_range: the range that pixel values have in a batch, (0, 1) or (-1, 1); None for vectors.
        factors: known factors of variation with shape (N, K), or None.
        factor_names: their K names.
        validation: how many samples at the end are the official validation split; 0 for "draw one".
        notes: what was done to the raw files, one sentence each, to be shown to the user.
        settings: training settings that suit these data, names of `TrainConfig` fields; the user's own come first.
    """

    name: str
    values: Tensor
    value_range: tuple[float, float] | None = None
    factors: Tensor | None = None
    factor_names: tuple[str, ...] = ()
    validation: int = 0
    notes: tuple[str, ...] = ()
    scaling: Scaling | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_images(self) -> bool:
        return self.values.ndim == 4

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.values.shape[1:])

    def batch(self, index: Tensor | slice, device: torch.device | str = "cpu") -> Tensor:
        """Samples as float32 in `value_range` on a device, with shape (B, *shape)."""
        values = self.values[index].to(device)
        if values.dtype != torch.uint8:
            return values
        if self.value_range == (-1.0, 1.0):
            return values.float().mul_(2 / 255).sub_(1)
        return values.float().div_(255)

    def standardised(self, scaling: Scaling) -> DataSet:
        """The same vectors standardised by `scaling`."""
        return replace(self, values=scaling.apply(self.values), scaling=scaling)

    def sha256(self) -> str:
        """Hash of all values, shape and type, to recognise the same data again."""
        digest = hashlib.sha256(f"{self.values.dtype}{tuple(self.values.shape)}".encode())
        digest.update(self.values.contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


def split_indices(data: DataSet, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Disjoint index tensors (training, validation).

    The official split where the data set has one, else `fraction` of the samples drawn with `seed`.

    Raises:
        DataError: fewer than two samples.
    """
    n = len(data)
    if n < 2:
        raise DataError(
            f"'{data.name}' holds {n} sample{'' if n == 1 else 's'}; at least 2 are needed to train and validate.",
            "Give a data set with more samples.",
        )
    if data.validation:
        return torch.arange(n - data.validation), torch.arange(n - data.validation, n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    held_out = min(max(1, round(n * fraction)), n - 1)
    return order[held_out:].sort().values, order[:held_out].sort().values


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
    """A data set's name: a file's stem or a folder's name, with '-' for all characters but A-Z a-z 0-9 . _ and -."""
    path = path.resolve()
    stem = path.name if path.is_dir() else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "data"
