"""A mixture of Gaussians fitted to codes after training, from which deterministic autoencoders are sampled.

    p(z) = Σ_k π_k N(z; μ_k, Σ_k),  ten components with full covariances by expectation-maximisation (scikit-learn)

Source: Ghosh et al., "From variational to deterministic autoencoders", arXiv 1903.12436, §4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Mixture", "square_root"]

COMPONENTS = 10
MOST_ITERATIONS = 2000


@dataclass(frozen=True)
class Mixture:
    """A mixture of K Gaussians over codes of L numbers, all float64.

    Attributes:
        weights: π with shape (K,), summing to 1.
        means: μ with shape (K, L).
        covariances: Σ with shape (K, L, L).
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    @classmethod
    def fit(cls, z: Tensor, seed: int) -> Mixture:
        """The mixture of codes with shape (N, L). Covariances get a millionth of the mean variance, so that none is singular; codes that
        do not vary, or are a single one, give one component of no extent."""
        from sklearn.mixture import GaussianMixture

        z = z.double().cpu()
        scale = z.var(dim=0, correction=0).mean().sqrt()
        if len(z) < 2 or scale <= torch.finfo(torch.float64).eps * z.abs().max():
            return cls(torch.ones(1, dtype=z.dtype), z.mean(dim=0, keepdim=True), z.new_zeros(1, z.shape[1], z.shape[1]))
        components = min(COMPONENTS, len(z))
        found = GaussianMixture(components, covariance_type="full", max_iter=MOST_ITERATIONS, random_state=seed).fit((z / scale).numpy())
        weights, means, covariances = map(torch.from_numpy, (found.weights_, found.means_, found.covariances_))
        return cls(weights, means * scale, covariances * scale**2)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws with shape (n, L), float64, in random order."""
        component = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=torch.float64)
        z = self.means[component]
        for k, root in enumerate(map(square_root, self.covariances)):
            chosen = component == k
            z[chosen] += noise[chosen] @ root.T
        return z

    def axes(self, index: list[int]) -> Mixture:
        """The marginal of some axes, in the order of `index`."""
        return Mixture(self.weights, self.means[:, index], self.covariances[:, index][:, :, index])

    def mapped(self, means: Tensor, readout: Tensor) -> Mixture:
        """The mixture of coordinates of z: its means there with shape (K, M), and the linear map (M, L) of deviations."""
        return Mixture(self.weights, means, readout @ self.covariances @ readout.T)


def square_root(covariance: Tensor) -> Tensor:
    """A matrix R with R Rᵀ = covariance; works where the covariance is singular."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()
