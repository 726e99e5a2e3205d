"""A table of samples: what is known about each of N samples (K factors) and its code (L axes), and how metrics draw from it.

A full grid is the table of all combinations of its factors, the last one fastest. Drawing a random row is then the same as drawing every
factor independently and uniformly, and drawing rows that share factor k is the same as holding that factor, so grids and tables need one
way of drawing. They differ in one thing: a grid is drawn from with replacement, as the protocols say. A plain table is a sample itself,
often a small one; observations are different rows of it, so that no classifier is tested on what it was fitted to.

Factors that do not vary are left out: their entropy is 0, and no classifier can be fitted to one class. Columns of numbers that are not
whole and have fewer than 10 samples per value are continuous; their values are replaced by ten bins of equally many samples.

Source of the draws: Locatello et al., "Challenging common assumptions in the unsupervised learning of disentangled representations", 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from ...errors import DataError
from .encoded import EncodedOnce

__all__ = ["FactorTable"]

QUANTILE_BINS = 10
SAMPLES_PER_VALUE = 10  # fewer on average, and the factor is continuous
NUMBERS_AT_ONCE = 2**23  # of codes, where groups are reduced: 64 MB as float64


@dataclass(frozen=True)
class FactorTable:
    """N samples with K ≥ 2 known factors and codes on L axes.

    Attributes:
        names: of the factors.
        factors: int64 with shape (N, K); those of one factor are 0 … V − 1.
        codes: of the samples.
        complete: whether the samples are all combinations of the factors, each once.
        binned: the factors that were continuous.
        axes: indices of the axes that are looked at, or None for all. No axis at all is the same as one that is always 0.
    """

    names: tuple[str, ...]
    factors: Tensor
    codes: EncodedOnce
    complete: bool
    binned: tuple[str, ...] = ()
    axes: Tensor | None = None

    @classmethod
    def of_grid(cls, sizes: Sequence[int], codes: EncodedOnce | Tensor, names: Sequence[str] = ()) -> FactorTable:
        """All combinations of factors with so many values each, the last factor fastest.

        Arguments:
            codes: of the combinations in this order; a tensor with shape (N, L), or codes on demand.

        Raises:
            DataError: fewer than two factors have more than one value, or there are not as many codes as combinations.
        """
        names = _named(names, len(sizes))
        count = math.prod(sizes)
        _check_count(codes, count)
        rows, stride, columns = torch.arange(count), count, {}
        for name, size in zip(names, sizes, strict=True):
            stride //= size
            if size > 1:
                columns[name] = rows // stride % size
        return cls._of(columns, codes, complete=True)

    @classmethod
    def of_samples(cls, factors: Tensor, codes: EncodedOnce | Tensor, names: Sequence[str] = ()) -> FactorTable:
        """A table of samples with factors (N, K) of any numeric type.

        Arguments:
            codes: of the samples; a tensor with shape (N, L), or codes on demand.

        Raises:
            DataError: fewer than two factors vary, a value is not finite, or there are not as many codes as samples.
        """
        names = _named(names, factors.shape[1])
        _check_count(codes, len(factors))
        columns, binned = {}, []
        for name, values in zip(names, factors.cpu().T, strict=True):
            if not bool(values.isfinite().all()):
                raise DataError(f"The factor '{name}' has values that are not finite.", "Remove these samples.")
            labels, continuous = _labels(values)
            if bool((labels > 0).any()):
                columns[name] = labels
                binned += [name] if continuous else []
        return cls._of(columns, codes, complete=False, binned=tuple(binned))

    @classmethod
    def _of(cls, columns: dict[str, Tensor], codes: EncodedOnce | Tensor, *, complete: bool, binned: tuple[str, ...] = ()) -> FactorTable:
        if len(columns) < 2:
            found = ", ".join(columns) or "none"
            raise DataError(
                f"Disentanglement is measured on at least two factors that vary; found {found}.", "Give data with known factors."
            )
        held = codes if isinstance(codes, EncodedOnce) else EncodedOnce.of(codes)
        return cls(tuple(columns), torch.stack(list(columns.values()), dim=1), held, complete, binned)

    def __len__(self) -> int:
        return len(self.factors)

    def on(self, axes: Sequence[int] | Tensor) -> FactorTable:
        """The same table on some of its codes' axes, in this order, with the same codes behind it."""
        return replace(self, axes=torch.as_tensor(axes, dtype=torch.int64))

    def draw(self, *counts: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Rows of independent observations: as many sets of int64 with shape (n,) as counts.

        A plain table gives each row at most once; where it has too few, all sets shrink in proportion.

        Raises:
            DataError: a factor has one value only in the first set, so that nothing can be fitted to it.
        """
        total = sum(counts)
        if self.complete:
            rows = torch.randint(len(self), (total,), generator=generator)
        else:
            rows = torch.randperm(len(self), generator=generator)[:total]
        ends = [round(sum(counts[:stop]) * len(rows) / total) for stop in range(len(counts) + 1)]
        sets = tuple(rows[start:end] for start, end in pairwise(ends))
        first = self.factors[sets[0]]
        for name, constant in zip(self.names, (first == first[:1]).all(dim=0).tolist(), strict=True):
            if constant:
                message = f"The factor '{name}' has one value only in the {len(first):,} samples to fit; at least two are needed."
                raise DataError(message, "Give more samples.")
        return sets

    def draw_sharing(self, factor: Tensor, size: int, *, generator: torch.Generator) -> Tensor:
        """Groups of rows with shape (G, size), int64: all rows of group g have the same value of `factor[g]`.

        A group's first row is random, the others are random among those that share its value, itself included. Values that one sample alone
        has are left out.

        Arguments:
            factor: with shape (G,), int64 from 0 to K − 1.

        Raises:
            DataError: no two samples share a value of one of these factors.
        """
        rows = torch.empty(len(factor), size, dtype=torch.int64)
        for k in factor.unique().tolist():
            mine = factor == k
            rows[mine] = self._groups(k, int(mine.sum()), size, generator)
        return rows

    def _groups(self, k: int, groups: int, size: int, generator: torch.Generator) -> Tensor:
        """Groups that share factor k. Rows are sorted by its value, so that those of one value are a block."""
        values, order = self.factors[:, k].sort(stable=True)
        counts = torch.bincount(values)
        shared = (counts[values] > 1).nonzero()[:, 0]
        if not len(shared):
            message = f"No two of the {len(self):,} samples have the same value of the factor '{self.names[k]}'."
            raise DataError(message, "Give more samples, or leave this factor out.")
        first = shared[torch.randint(len(shared), (groups, 1), generator=generator)]
        value = values[first]
        begin = (counts.cumsum(0) - counts)[value]
        others = torch.rand(groups, size - 1, generator=generator, dtype=torch.float64) * counts[value]
        return order[torch.cat([first, begin + others.long()], dim=1)]

    def prepare(self, *rows: Tensor) -> None:
        """Have all samples that are needed encoded in one go; without axes none is."""
        if self.axes is None or len(self.axes):
            self.codes.require(torch.cat([part.flatten() for part in rows]))

    def codes_of(self, rows: Tensor) -> Tensor:
        """Codes with shape (*rows.shape, A) on the axes that are looked at, float32."""
        if self.axes is None:
            return self.codes[rows]
        if not len(self.axes):
            return torch.zeros(*rows.shape, 1)
        return self.codes[rows][..., self.axes]

    def per_group(self, rows: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
        """What becomes of the codes of every group, some groups at a time to bound memory.

        Arguments:
            rows: with shape (G, …).
            reduce: takes codes with shape (g, …, A) of g groups, float64, and gives results with shape (g, …).
        """
        numbers = rows[0].numel() * self.codes_of(rows[:1].flatten()[:1]).shape[-1]
        return torch.cat([reduce(self.codes_of(part).double()) for part in rows.split(max(1, NUMBERS_AT_ONCE // numbers))])


def _named(names: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(names) or tuple(f"factor {k}" for k in range(count))


def _check_count(codes: EncodedOnce | Tensor, count: int) -> None:
    if len(codes) != count:
        raise DataError(f"There are {len(codes):,} codes for {count:,} samples with factors.", "Give one code for every sample.")


def _labels(values: Tensor) -> tuple[Tensor, bool]:
    """Values (N,) as whole numbers from 0, and whether they were continuous and are now quantile bins."""
    distinct, labels = values.unique(return_inverse=True)
    fractions = values.is_floating_point() and bool((distinct != distinct.round()).any())
    if not fractions or len(values) >= SAMPLES_PER_VALUE * len(distinct):
        return labels, False
    inner = torch.quantile(values.double(), torch.arange(1, QUANTILE_BINS, dtype=torch.float64) / QUANTILE_BINS)
    return torch.bucketize(values.double(), inner).unique(return_inverse=True)[1], True
