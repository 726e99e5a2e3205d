r"""Moments of the codes, streamed: batches are merged in any order and any size with the same result.

    n,   mean m = Σ z / n,   scatter S = Σ (z − m)(z − m)ᵀ
    merge:  n = n₁ + n₂,   m = m₁ + (n₂/n) δ,   S = S₁ + S₂ + (n₁ n₂ / n) δ δᵀ,   δ = m₂ − m₁

Everything is float64. Source of the merge: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances", 1979.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CodeStatistics"]


@dataclass(frozen=True)
class CodeStatistics:
    """Count, mean and scatter of codes on L axes.

    Attributes:
        count: number of codes n.
        mean: with shape (L,), float64.
        scatter: sum of outer products of deviations from the mean with shape (L, L), float64.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, z: Tensor) -> CodeStatistics:
        """The statistics of codes z with shape (N, L), N ≥ 1."""
        double = z.cpu().double()
        mean = double.mean(dim=0)
        centred = double - mean
        return cls(len(z), mean, centred.T @ centred)

    @classmethod
    def from_moments(cls, count: int, mean: Tensor, covariance: Tensor) -> CodeStatistics:
        """The statistics behind a stored mean (L,) and covariance (L, L)."""
        return cls(count, mean.double(), covariance.double() * count)

    def merged(self, other: CodeStatistics) -> CodeStatistics:
        """The statistics of the union of both sets of codes."""
        count = self.count + other.count
        delta = other.mean - self.mean
        scatter = self.scatter + other.scatter + torch.outer(delta, delta) * (self.count * other.count / count)
        return CodeStatistics(count, self.mean + delta * (other.count / count), scatter)

    @property
    def covariance(self) -> Tensor:
        """Covariance with divisor n and shape (L, L)."""
        return self.scatter / self.count

    @property
    def variance(self) -> Tensor:
        """Variances about the mean with shape (L,)."""
        return self.covariance.diagonal()

    @property
    def second_moment(self) -> Tensor:
        """Second moments about zero with shape (L,)."""
        return self.variance + self.mean.square()

    def axes(self, index: list[int]) -> CodeStatistics:
        """The same for some of the axes."""
        return CodeStatistics(self.count, self.mean[index], self.scatter[index][:, index])
