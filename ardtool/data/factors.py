"""Data whose every image follows from known factors: the grid of all combinations, and images that are drawn when they are asked for.

A grid numbers its combinations with the last factor fastest, as the files of dSprites and 3D Shapes do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["DrawnImages", "FactorGrid"]


@dataclass(frozen=True)
class FactorGrid:
    """All combinations of K factors.

    Attributes:
        names: the factors' names.
        sizes: how many values each has; a factor of one value is constant.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def __len__(self) -> int:
        return math.prod(self.sizes)

    @property
    def values(self) -> dict[str, int]:
        """How many values each factor has, by name."""
        return dict(zip(self.names, self.sizes, strict=True))

    @property
    def varying(self) -> tuple[int, ...]:
        """The factors that have more than one value."""
        return tuple(factor for factor, size in enumerate(self.sizes) if size > 1)

    def factors_of(self, index: Tensor) -> Tensor:
        """Factor values with shape (N, K), int64, of combinations with shape (N,).

        Raises:
            DataError: an index is outside the grid.
        """
        index = index.long()
        if len(index) and not (int(index.min()) >= 0 and int(index.max()) < len(self)):
            raise DataError(f"The data have {len(self):,} images; found the index {int(index.max())}.", "Indices start at 0.")
        return self.digits_of(index)

    def digits_of(self, index: Tensor) -> Tensor:
        """Factor values as by `factors_of`, of indices that are known to be in the grid: to check them would wait for a GPU."""
        import torch

        columns = []
        for size in reversed(self.sizes):
            columns.append(index % size)
            index = index // size
        return torch.stack(columns[::-1], dim=1)

    def index_of(self, factors: Tensor) -> Tensor:
        """Combinations with shape (N,), int64, of factor values with shape (N, K).

        Raises:
            DataError: another number of factors, or a value that the factor does not have.
        """
        self.check(factors)
        index = factors.new_zeros(len(factors)).long()
        for column, size in zip(factors.long().T, self.sizes, strict=True):
            index = index * size + column
        return index

    def check(self, factors: Tensor) -> None:
        """Raise `DataError` unless these are factor values with shape (N, K)."""
        if factors.ndim != 2 or factors.shape[1] != len(self.sizes):
            raise DataError(f"The data have {len(self.sizes)} factors; found values with shape {tuple(factors.shape)}.", str(self))
        for name, size, column in zip(self.names, self.sizes, factors.T, strict=True):
            if len(column) and not (int(column.min()) >= 0 and int(column.max()) < size):
                wrong = next(int(value) for value in column if not 0 <= int(value) < size)
                raise DataError(f"The factor '{name}' has the values 0 to {size - 1}; found {wrong}.", str(self))

    def __str__(self) -> str:
        return ", ".join(f"{name} ({size})" for name, size in self.values.items())


@dataclass(frozen=True)
class DrawnImages:
    """The images of a grid, each drawn whenever it is asked for; takes the place of a tensor with shape (N, C, H, W).

    Attributes:
        grid: their factors.
        image_shape: (C, H, W).
        draw: uint8 images with shape (B, C, H, W) of factor values (B, K) of the grid, on the device that these are on.
    """

    grid: FactorGrid
    image_shape: tuple[int, int, int]
    draw: Callable[[Tensor], Tensor]

    ndim = 4

    def __len__(self) -> int:
        return len(self.grid)

    @property
    def dtype(self) -> torch.dtype:
        import torch

        return torch.uint8

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return (len(self), *self.image_shape)

    def take(self, index: Tensor | slice, device: torch.device | str = "cpu") -> Tensor:
        """The images of some indices, drawn on a device."""
        import torch

        chosen = torch.arange(*index.indices(len(self))) if isinstance(index, slice) else self._whole(index)
        return self.draw(self.grid.factors_of(chosen).to(device))

    def drawn(self, index: Tensor) -> Tensor:
        """The images of indices that are known to be in the grid, drawn where these are, without waiting for the device."""
        return self.draw(self.grid.digits_of(index))

    def _whole(self, index: Tensor) -> Tensor:
        """An index as a tensor takes it, counted from 0."""
        import torch

        if index.dtype == torch.bool:
            return index.nonzero()[:, 0]
        return torch.where(index < 0, index + len(self), index)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        return self.take(index)

    def split(self, size: int) -> Iterator[Tensor]:
        """All images, so many at a time."""
        return (self[slice(start, start + size)] for start in range(0, len(self), size))
