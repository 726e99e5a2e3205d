r"""Drawing codes from a model: four ways, inactive axes held at the aggregate mean m.

    paper          z = m + ε √σ̂²          as the authors generate. σ̂² is a second moment about zero, so m² counts twice; kept for
                                          comparison with the paper, default for ARD models
    centred        z = m + ε √Var(z)      the variance of the sampled codes about their mean, axis by axis
    full-gaussian  z ~ N(m, Cov(z))
    gmm            a mixture of 10 Gaussians with full covariance fitted to sampled reference codes (scikit-learn)

Source of `paper`: the authors' generation script, see arXiv 2501.10901 §4; of `gmm`: Ghosh et al., "From variational to deterministic
autoencoders", arXiv 1903.12436.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .codes import LatentCodes

__all__ = ["Sampler", "draw_codes"]

Sampler = Literal["paper", "centred", "full-gaussian", "gmm"]
MIXTURE_COMPONENTS = 10


def draw_codes(codes: LatentCodes, n: int, sampler: Sampler, active: list[int], generator: torch.Generator) -> Tensor:
    """Draw n codes with shape (n, L), float32.

    Arguments:
        codes: moments, prior and reference batch of the model.
        sampler: see the module.
        active: axes that vary; all others stay at the aggregate mean.
        generator: source of randomness on the CPU.
    """
    mean = codes.statistics.mean.double()
    draws = {
        "paper": lambda: mean + codes.axis_variance.cpu().sqrt() * _noise(n, codes, generator),
        "centred": lambda: mean + codes.statistics.variance.sqrt() * _noise(n, codes, generator),
        "full-gaussian": lambda: mean + _noise(n, codes, generator) @ _square_root(codes.statistics.covariance).T,
        "gmm": lambda: _mixture(codes, n, generator),
    }
    z = draws[sampler]()
    held = [axis for axis in range(codes.latent_dim) if axis not in set(active)]
    z[:, held] = mean[held]
    return z.float()


def _noise(n: int, codes: LatentCodes, generator: torch.Generator) -> Tensor:
    return torch.randn(n, codes.latent_dim, generator=generator, dtype=torch.float64)


def _square_root(covariance: Tensor) -> Tensor:
    """A matrix R with R Rᵀ = covariance; works where the covariance is singular."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()


def _mixture(codes: LatentCodes, n: int, generator: torch.Generator) -> Tensor:
    from sklearn.mixture import GaussianMixture

    seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
    reference = codes.reference.sample(generator).double()
    components = min(MIXTURE_COMPONENTS, len(reference))
    mixture = GaussianMixture(components, covariance_type="full", max_iter=2000, random_state=seed).fit(reference.numpy())
    z = torch.from_numpy(mixture.sample(n)[0])
    return z[torch.randperm(n, generator=generator)]
