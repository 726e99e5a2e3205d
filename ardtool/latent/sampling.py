r"""Drawing codes from a model: five ways, inactive axes held at the aggregate mean m.

    prior          z = ε                  for methods that fit their codes to N(0, I)
    paper          z = m + ε √σ̂²          as the authors generate. σ̂² is a second moment about zero, so m² counts twice; kept for
                                          comparison with the paper, default for ARD models
    centred        z = m + ε √Var(z)      the variance of the sampled codes about their mean, axis by axis
    full-gaussian  z ~ N(m, Cov(z)); above 1,024 elements the covariance of R sampled reference codes z_r, never formed:
                                          z = m + Σ_r ε_r (z_r − z̄) / √R
    gmm            a mixture of 10 Gaussians with full covariances, see mixture.py: the one in the file, fitted to the training codes, for
                   methods that sample from it; else one fitted to sampled reference codes

Source of `paper`: the authors' generation script, see arXiv 2501.10901 §4; of `gmm`: Ghosh et al., "From variational to deterministic
autoencoders", arXiv 1903.12436.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import ConfigError
from .codes import LatentCodes
from .mixture import Mixture, square_root
from .statistics import MOST_COVARIANCES

__all__ = ["Sampler", "check_sampler", "draw_codes"]

Sampler = Literal["prior", "paper", "centred", "full-gaussian", "gmm"]


def check_sampler(sampler: str | None) -> None:
    """Raise `ConfigError` for what is none of the ways above, nor None for the one that the model's method has."""
    if sampler is not None and sampler not in get_args(Sampler):
        raise ConfigError(f"--sampler is '{sampler}'; expected one of {', '.join(get_args(Sampler))}.", "Leave it out for the usual one.")


def draw_codes(codes: LatentCodes, n: int, sampler: Sampler, active: list[int], generator: torch.Generator) -> Tensor:
    """Draw n codes with shape (n, L), float32.

    Arguments:
        codes: moments, prior and reference batch of the model.
        sampler: see the module.
        active: elements that vary; all others stay at the aggregate mean.
        generator: source of randomness on the CPU.

    Raises:
        ConfigError: `gmm` on more than 1,024 elements.
    """
    mean = codes.statistics.mean.double()
    draws = {
        "prior": lambda: _noise(n, codes, generator),
        "paper": lambda: mean + codes.axis_variance.cpu().sqrt() * _noise(n, codes, generator),
        "centred": lambda: mean + codes.statistics.variance.sqrt() * _noise(n, codes, generator),
        "full-gaussian": lambda: mean + _correlated(n, codes, generator),
        "gmm": lambda: _mixture(codes, n, generator),
    }
    z = draws[sampler]()
    held = [axis for axis in range(codes.latent_dim) if axis not in set(active)]
    z[:, held] = mean[held]
    return z.float()


def _noise(n: int, codes: LatentCodes, generator: torch.Generator) -> Tensor:
    return torch.randn(n, codes.latent_dim, generator=generator, dtype=torch.float64)


def _correlated(n: int, codes: LatentCodes, generator: torch.Generator) -> Tensor:
    """Noise with the covariance of the codes, (n, L)."""
    if not codes.statistics.is_diagonal:
        return _noise(n, codes, generator) @ square_root(codes.statistics.covariance).T
    reference = codes.reference.sample(generator).double()
    deviations = (reference - reference.mean(dim=0)) / len(reference) ** 0.5
    return torch.randn(n, len(reference), generator=generator, dtype=torch.float64) @ deviations


def _mixture(codes: LatentCodes, n: int, generator: torch.Generator) -> Tensor:
    if codes.statistics.is_diagonal:
        raise ConfigError(
            f"--sampler gmm fits full covariances; the code's {codes.latent_dim:,} elements are more than {MOST_COVARIANCES:,}.",
            "Use --sampler full-gaussian.",
        )
    mixture = codes.mixture
    if mixture is None:
        seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
        mixture = Mixture.fit(codes.reference.sample(generator), seed)
    return mixture.sample(n, generator)
