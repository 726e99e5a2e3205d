r"""Moments of the codes, streamed: batches are merged in any order and any size with the same result.

    n,   mean m = Σ z / n,   scatter S = Σ (z − m)(z − m)ᵀ
    merge:  n = n₁ + n₂,   m = m₁ + (n₂/n) δ,   S = S₁ + S₂ + (n₁ n₂ / n) δ δᵀ,   δ = m₂ − m₁

Above 1,024 elements, as latent maps have, only the diagonal of S is kept: the whole of it would be larger than most models. Everything is
float64. Source of the merge: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances", 1979.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["MOST_COVARIANCES", "CodeStatistics"]

MOST_COVARIANCES = 1024


@dataclass(frozen=True)
class CodeStatistics:
    """Count, mean and scatter of codes on L axes.

    Attributes:
        count: number of codes n.
        mean: with shape (L,), float64.
        scatter: sum of outer products of deviations from the mean with shape (L, L), or its diagonal (L,) where L > 1,024; float64.
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
        diagonal = z.shape[1] > MOST_COVARIANCES
        return cls(len(z), mean, centred.square().sum(dim=0) if diagonal else centred.T @ centred)

    @classmethod
    def from_moments(cls, count: int, mean: Tensor, covariance: Tensor) -> CodeStatistics:
        """The statistics behind a stored mean (L,) and covariance (L, L) or variance (L,)."""
        return cls(count, mean.double(), covariance.double() * count)

    def merged(self, other: CodeStatistics) -> CodeStatistics:
        """The statistics of the union of both sets of codes."""
        count = self.count + other.count
        delta = other.mean - self.mean
        between = delta.square() if self.is_diagonal else torch.outer(delta, delta)
        scatter = self.scatter + other.scatter + between * (self.count * other.count / count)
        return CodeStatistics(count, self.mean + delta * (other.count / count), scatter)

    @property
    def is_diagonal(self) -> bool:
        """Whether variances are known but no covariances."""
        return self.scatter.ndim == 1

    @property
    def covariance(self) -> Tensor:
        """Covariance with divisor n and shape (L, L); the variances (L,) where no covariances are known."""
        return self.scatter / self.count

    @property
    def variance(self) -> Tensor:
        """Variances about the mean with shape (L,)."""
        return self.covariance if self.is_diagonal else self.covariance.diagonal()

    @property
    def second_moment(self) -> Tensor:
        """Second moments about zero with shape (L,)."""
        return self.variance + self.mean.square()

    def axes(self, index: list[int]) -> CodeStatistics:
        """The same for some of the axes."""
        scatter = self.scatter[index] if self.is_diagonal else self.scatter[index][:, index]
        return CodeStatistics(self.count, self.mean[index], scatter)
