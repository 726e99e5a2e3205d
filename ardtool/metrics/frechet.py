r"""The Fréchet distance between two sets of features, each taken for a Gaussian: FID where the features are Inception's.

    d² = ‖m₁ − m₂‖² + Tr S₁ + Tr S₂ − 2 Tr (S₁ S₂)^½,   m mean, S covariance with divisor n − 1, in float64

d² ≥ 0, in squared units of the features, lower is better. The product S₁ S₂ is not symmetric and often singular, so that its square root
is never taken. With any R such that S₁ = R Rᵀ,

    Tr (S₁ S₂)^½ = Σ √eig(Rᵀ S₂ R)         a symmetric matrix; eigenvalues that rounding makes negative count as 0
                 = Σ singular values of A Bᵀ,   A, B centred features over √(n − 1); for fewer samples than features

Standard error, by the delta method. One more sample x on side 1 moves d² by φ₁(x)/n₁, where T maps N(m₁, S₁) to N(m₂, S₂) optimally:

    φ₁(x) = 2 (m₁ − m₂)ᵀ(x − m₁) + (x − m₁)ᵀ(I − T)(x − m₁),   T = R (Rᵀ S₁ R)^(−½) Rᵀ with S₂ = R Rᵀ
    stderr² = Var φ₁ / n₁ + Var φ₂ / n₂

Bias. d² of finite samples is too large by O(1/n). Between two samples of one Gaussian whose covariance has eigenvalues λ, to that order,

    E d² = Σ_i λ_i (1/n₁ + 1/n₂) + ½ Σ_ij λ_i λ_j (1 + δ_ij)/(λ_i + λ_j) (1/(n₁ − 1) + 1/(n₂ − 1))

which is d(d + 1)/2n + 2d/n for S = I and n₁ = n₂ = n. Two halves of the reference measure the same for any distribution.

Source: Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", arXiv 1706.08500;
Dowson, Landau, "The Fréchet distance between multivariate normal distributions", 1982; the limit n → ∞ by a line in 1/n: Chong, Forsyth,
"Effectively unbiased FID and Inception score", arXiv 1911.07023. Standard error and bias are derived from the second-order expansion of d².
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import DataError
from ..latent.mixture import square_root
from .features import check_features, check_pair, double, double_parts

__all__ = [
    "FrechetDistance",
    "GaussianStatistics",
    "frechet",
    "frechet_at_infinity",
    "frechet_distance",
    "frechet_distance_of_few",
    "gaussian_bias",
    "influence",
    "split_half_bias",
    "trace_of_root",
]

SINGULAR = 1e-12
FRACTIONS = (1 / 2, 5 / 8, 3 / 4, 7 / 8, 1)


@dataclass(frozen=True)
class GaussianStatistics:
    """Count, mean and scatter of D features, which merge in any order.

    Attributes:
        count: number of samples n.
        mean: with shape (D,), float64.
        scatter: sum of outer products of deviations from the mean with shape (D, D), float64.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> GaussianStatistics:
        """The statistics of features with shape (N, D), N ≥ 1, on their device; read a part at a time.

        Raises:
            DataError: a feature is NaN or infinite.
        """
        check_features(features)
        parts = map(cls._of_part, double_parts(features))
        merged = next(parts)
        for part in parts:
            merged = merged.merged(part)
        return merged

    @classmethod
    def _of_part(cls, features: Tensor) -> GaussianStatistics:
        mean = features.mean(dim=0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    @classmethod
    def from_moments(cls, count: int, mean: Tensor, covariance: Tensor) -> GaussianStatistics:
        """The statistics behind a published mean (D,) and covariance (D, D) with divisor n − 1."""
        return cls(count, mean.double(), covariance.double() * (count - 1))

    def merged(self, other: GaussianStatistics) -> GaussianStatistics:
        """The statistics of the union of both sets."""
        count = self.count + other.count
        delta = other.mean - self.mean
        scatter = (self.scatter + other.scatter).addr_(delta, delta, alpha=self.count * other.count / count)
        return GaussianStatistics(count, self.mean + delta * (other.count / count), scatter)

    def on(self, device: torch.device) -> GaussianStatistics:
        """The same on another device."""
        return GaussianStatistics(self.count, self.mean.to(device), self.scatter.to(device))

    @property
    def covariance(self) -> Tensor:
        """Covariance with divisor n − 1 and shape (D, D).

        Raises:
            DataError: for a single sample.
        """
        if self.count < 2:
            raise DataError("A covariance of features needs at least two samples, found 1.", "Give more samples.")
        return self.scatter / (self.count - 1)


@dataclass(frozen=True)
class FrechetDistance:
    """A Fréchet distance with what is known about its error.

    Attributes:
        value: d², in squared units of the features; lower is better, 0 is the least.
        stderr: standard error of d² about its own expectation at these counts, which is above the distance between the distributions. Up
            to 1.5 times too large where the distributions are equal. Counts the reference only where its features were given.
        bias: what to expect of d² at these counts if the distributions were equal; a value not far above it tells little.
    """

    value: float
    stderr: float
    bias: float


def frechet(*, generated: Tensor, reference: Tensor | GaussianStatistics, generator: torch.Generator) -> FrechetDistance:
    """Fréchet distance of generated features with shape (N, D) from a reference.

    Arguments:
        reference: features with shape (M, D) on the same device, M ≥ 4; or statistics alone: the bias is then that of Gaussian features.
        generator: halves the reference's features for the bias.

    Raises:
        DataError: too few samples on a side, features that are not finite, or different numbers of them.
    """
    if isinstance(reference, GaussianStatistics):
        return _from_known(generated, reference)
    check_pair(generated, reference)
    first, second = GaussianStatistics.of(generated), GaussianStatistics.of(reference)
    few = max(first.count, second.count) < len(first.mean)
    value = frechet_distance_of_few(generated, reference) if few else frechet_distance(first, second)
    stderr = _stderr(influence(generated, first, second), influence(reference, second, first))
    return FrechetDistance(value, stderr, split_half_bias(reference, first.count, generator))


def _from_known(generated: Tensor, reference: GaussianStatistics) -> FrechetDistance:
    check_features(generated, "generated")
    first = GaussianStatistics.of(generated)
    second = reference.on(first.mean.device)
    value = frechet_distance(first, second)
    return FrechetDistance(value, _stderr(influence(generated, first, second)), gaussian_bias(second, first.count))


def frechet_distance(first: GaussianStatistics, second: GaussianStatistics) -> float:
    """d² of two sets from their statistics, whichever comes first, ≥ 0; of equal sets about 1e-13 Tr S, by rounding.

    Raises:
        DataError: a side has fewer than two samples, or the numbers of features differ.
    """
    if len(first.mean) != len(second.mean):
        raise DataError(
            f"The statistics are of {len(first.mean)} and of {len(second.mean)} features.", "Compute both with the same network."
        )
    return _distance(first, second, trace_of_root(first.covariance, second.covariance))


def frechet_distance_of_few(first: Tensor, second: Tensor) -> float:
    """Squared Fréchet distance d² ≥ 0 of Gaussians fitted to features with shapes (N, D) and (M, D), N and M ≥ 2.

    Cheaper and more exact than `frechet_distance` for N and M below D: the trace of the root comes from the N×M products of centred rows.
    """
    one, two = GaussianStatistics.of(first), GaussianStatistics.of(second)
    factors = [(double(x) - s.mean) / (s.count - 1) ** 0.5 for x, s in ((first, one), (second, two))]
    return _distance(one, two, float(torch.linalg.svdvals(factors[0] @ factors[1].T).sum()))


def _distance(first: GaussianStatistics, second: GaussianStatistics, root: float) -> float:
    means = (first.mean - second.mean).square().sum()
    return max(0.0, float(means + first.covariance.trace() + second.covariance.trace()) - 2 * root)


def trace_of_root(first: Tensor, second: Tensor) -> float:
    """Tr (S₁ S₂)^½ of two covariances with shape (D, D), which may be singular."""
    root = square_root(first)
    return float(torch.linalg.eigvalsh(root.T @ second @ root).clamp(min=0).sqrt().sum())


def influence(features: Tensor, own: GaussianStatistics, other: GaussianStatistics) -> Tensor:
    """φ of every sample of one side with shape (N,), float64: n times what it adds to d², up to a constant.

    Arguments:
        features: with shape (N, D).
        own, other: statistics of these features, and of the other side.
    """
    root = square_root(other.covariance)
    values, vectors = torch.linalg.eigh(root.T @ own.covariance @ root)
    known = values > SINGULAR * values.max()  # T is not defined where a side does not vary
    factor = root @ (vectors[:, known] * values[known].pow(-0.25))
    parts = []
    for part in double_parts(features):
        centred = part - own.mean
        parts.append(2 * centred @ (own.mean - other.mean) + centred.square().sum(dim=1) - (centred @ factor).square().sum(dim=1))
    return torch.cat(parts)


def _stderr(*sides: Tensor) -> float:
    return sum(float(phi.var()) / len(phi) for phi in sides) ** 0.5


def gaussian_bias(reference: GaussianStatistics, generated_count: int) -> float:
    """E d² of `generated_count` samples of the same Gaussian as the reference, to the order 1/n.

    Too small: by 3 % for 64 equal eigenvalues and 1,000 samples, 10 % for 2,048 and 10,000, a third for fewer samples than features, a
    quarter for heavy tails.
    """
    values = torch.linalg.eigvalsh(reference.covariance).clamp(min=0)
    values = values[values > SINGULAR * values.max()]
    pairs = values[:, None] * values / (values[:, None] + values)
    covariances = float(pairs.sum() + pairs.trace()) / 2
    n, m = generated_count, reference.count
    return float(values.sum()) * (1 / n + 1 / m) + covariances * (1 / (n - 1) + 1 / (m - 1))


def split_half_bias(reference: Tensor, generated_count: int, generator: torch.Generator) -> float:
    """E d² of `generated_count` more samples of the reference's distribution, from two random halves of it with shape (M, D).

    The distance of the halves is scaled by (1/n + 1/m) of the counts.

    Raises:
        DataError: for fewer than four samples.
    """
    if len(reference) < 4:
        raise DataError(f"The bias needs at least four reference samples, found {len(reference)}.", "Give more samples.")
    half = len(reference) // 2
    order = torch.randperm(len(reference), generator=generator).to(reference.device)
    first, second = (GaussianStatistics.of(reference[part]) for part in (order[:half], order[half : 2 * half]))
    return frechet_distance(first, second) * (1 / generated_count + 1 / len(reference)) / (2 / half)


def frechet_at_infinity(*, generated: Tensor, reference: Tensor, generator: torch.Generator) -> float:
    """d² without its bias: where a line through d² over 1/n, at five sizes from half of the smaller side to all of it, meets 1/n = 0.

    May be slightly negative for equal distributions, and spreads up to three times as far as d² itself. Arguments and errors as for
    `frechet`.
    """
    check_pair(generated, reference)
    most = min(len(generated), len(reference))
    orders = [torch.randperm(len(x), generator=generator).to(x.device) for x in (generated, reference)]
    sizes = [int(most * fraction) for fraction in FRACTIONS]
    distances = []
    for size in sizes:
        distances.append(
            frechet_distance(*(GaussianStatistics.of(x[i[:size]]) for x, i in zip((generated, reference), orders, strict=True)))
        )
    line = torch.tensor([[1, 1 / size] for size in sizes], dtype=torch.float64)
    return float(torch.linalg.lstsq(line, torch.tensor(distances, dtype=torch.float64)[:, None]).solution[0])
