r"""What counts as one latent axis: a number of a vector; a channel of a map, or one of its elements.

Codes are stored flat with L elements each, whatever their shape: `(L,)` vectors, or `(C, H, W)` maps with L = C·H·W. A of them axes:

    vectors, and maps by element    A = L, every element an axis
    maps by channel                 A = C, the H·W elements of a channel together

Quantities of elements become quantities of axes by sums (scores, KL) or means (variances) over the elements of an axis:

    s_c = Σ_{e in c} w_e σ²_e,     σ²_c = mean_{e in c} σ²_e,     w_c = s_c / σ²_c
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

from ..errors import ConfigError

__all__ = ["GRANULARITIES", "Granularity", "LatentAxes"]

Granularity = Literal["channel", "element"]
GRANULARITIES = ("channel", "element")


@dataclass(frozen=True)
class LatentAxes:
    """The axes of codes of one shape.

    Attributes:
        shape: of one code, (L,) or (C, H, W).
        granularity: whether the axes of a map are its channels or its elements; of no effect on vectors.
    """

    shape: tuple[int, ...]
    granularity: Granularity = "channel"

    def __post_init__(self) -> None:
        if self.granularity not in GRANULARITIES:
            raise ConfigError(
                f"--granularity is '{self.granularity}'; expected channel or element.", "channel is the usual choice for maps."
            )

    @property
    def elements(self) -> int:
        """L, the numbers in one code."""
        return prod(self.shape)

    @property
    def is_grouped(self) -> bool:
        """Whether an axis is more than one element."""
        return len(self.shape) > 1 and self.granularity == "channel"

    @property
    def count(self) -> int:
        """A, the number of axes."""
        return self.shape[0] if self.is_grouped else self.elements

    @property
    def size(self) -> int:
        """Elements of one axis."""
        return self.elements // self.count

    @property
    def noun(self) -> str:
        """What an axis is called: `axis`, `channel` or `element`."""
        return "axis" if len(self.shape) == 1 else self.granularity

    def groups(self) -> Tensor:
        """The axis of every element with shape (L,), int64."""
        return torch.arange(self.count).repeat_interleave(self.size)

    def elements_of(self, axes: Sequence[int]) -> list[int]:
        """Elements of some axes, axis by axis in the order given."""
        return [axis * self.size + offset for axis in axes for offset in range(self.size)]

    def sum(self, values: Tensor) -> Tensor:
        """Sums over the elements of every axis: (..., L) to (..., A)."""
        return values.unflatten(-1, (self.count, self.size)).sum(dim=-1) if self.is_grouped else values

    def mean(self, values: Tensor) -> Tensor:
        """Means over the elements of every axis: (..., L) to (..., A)."""
        return values.unflatten(-1, (self.count, self.size)).mean(dim=-1) if self.is_grouped else values

    def keeping(self, axes: Sequence[int]) -> LatentAxes:
        """The axes of codes of which only some axes are left."""
        shape = (len(axes), *self.shape[1:]) if self.is_grouped else (len(axes),)
        return LatentAxes(shape, self.granularity)
