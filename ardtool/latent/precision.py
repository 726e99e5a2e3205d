r"""The hierarchical prior: each latent axis has a precision α with a Gamma distribution, updated from encoded data.

    p(z_l | α_l) = N(0, 1/α_l),   p(α_l) = Gamma(a⁰, b⁰)                                        (Eq. 4, 5)
    a_l = a⁰ + n/2,   b_l = b⁰ + ½ Σᵢ (z_lⁱ − μ^α)²                                              (Eq. 8, 9)
    σ̂_l² = b_l / a_l                                                                            (Eq. 18)

With a⁰ = b⁰ = 0 and μ^α = 0, the paper's choice, σ̂² is the second moment of the sampled codes about zero. It is clamped to
[1e-8, 1e8]: nothing anchors the scale of a collapsed axis, which may drift without bound in long runs.

Rao–Blackwell variant: b_l = b⁰ + ½ Σᵢ ((μ_lⁱ − μ^α)² + σ_l²ⁱ), the same expectation without the sampling noise of z.

Source: Saha, Joshi, Whitaker, arXiv 2501.10901, Eq. 4-9 and 18.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["VARIANCE_RANGE", "GammaPosterior", "clamped_axes"]

VARIANCE_RANGE = (1e-8, 1e8)


@dataclass(frozen=True)
class GammaPosterior:
    """Gamma(a, b) over the precision of every latent axis.

    Attributes:
        a: shape parameter, one number for all axes, ≥ 0; half the number of codes seen.
        b: rate parameters with shape (L,), ≥ 0.
        mean: μ^α, the location about which deviations were summed.
    """

    a: float
    b: Tensor
    mean: float = 0.0

    @classmethod
    def uninformed(cls, latent_dim: int, a0: float = 0.0, b0: float = 0.0, mean: float = 0.0) -> GammaPosterior:
        """The hyperprior Gamma(a⁰, b⁰) on L axes (Eq. 5)."""
        return cls(a0, torch.full((latent_dim,), b0, dtype=torch.float64), mean)

    def updated(self, z: Tensor) -> GammaPosterior:
        """After seeing codes z with shape (N, L) (Eq. 8, 9). Two batches one after the other equal their union."""
        deviations = (z.cpu().double() - self.mean).square().sum(dim=0)
        return GammaPosterior(self.a + len(z) / 2, self.b + deviations / 2, self.mean)

    def updated_by_moments(self, mean: Tensor, log_variance: Tensor) -> GammaPosterior:
        """The Rao–Blackwell update from posterior means and log variances with shape (N, L)."""
        deviations = ((mean.cpu().double() - self.mean).square() + log_variance.cpu().double().exp()).sum(dim=0)
        return GammaPosterior(self.a + len(mean) / 2, self.b + deviations / 2, self.mean)

    @property
    def variance(self) -> Tensor:
        """σ̂² = b / a with shape (L,) in float64, clamped to `VARIANCE_RANGE` (Eq. 18)."""
        return (self.b.double() / self.a).clamp(*VARIANCE_RANGE)

    @property
    def degrees_of_freedom(self) -> float:
        """ν = 2a of the marginal Student-t prior (Eq. 12)."""
        return 2 * self.a

    def axes(self, index: list[int]) -> GammaPosterior:
        """The same for some of the axes."""
        return GammaPosterior(self.a, self.b[index], self.mean)


def clamped_axes(variance: Tensor) -> tuple[int, int]:
    """How many axes of σ̂² with shape (L,) lie at the lower and the upper end of `VARIANCE_RANGE`, as float32 has them."""
    low, high = torch.tensor(VARIANCE_RANGE).tolist()
    return int((variance.float() <= low).sum()), int((variance.float() >= high).sum())
