r"""Gaussian posteriors against Gaussian priors.

    log N(z; 0, σ̂²) = −½ (log 2π + log σ̂² + z² / σ̂²),   per latent axis, in nats.
    KL(N(μ, σ²) ‖ N(0, σ̂²)) = ½ (log σ̂² − v − 1 + (μ² + eᵛ) / σ̂²),   v = log σ²,   per latent axis, in nats.

This is Eq. 17 of the paper, with ½ log σ̂² where the authors' code adds ½ σ̂²: the gradients are equal, the logged number is not.
σ̂² is a constant of the step: no gradient flows through it.

Source: Saha, Joshi, Whitaker, "ARD-VAE: A Statistical Formulation to Find the Relevant Latent Dimensions of Variational
Autoencoders", arXiv 2501.10901, Eq. 17.
"""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["gaussian_log_density", "kl_to_gaussian"]


def gaussian_log_density(z: Tensor, variance: Tensor) -> Tensor:
    """Log density of N(0, variance), axis by axis, in nats.

    Arguments:
        z: codes with shape (..., L).
        variance: with shape (L,), > 0.
    """
    return -0.5 * (math.log(2 * math.pi) + variance.log() + z.square() / variance)


def kl_to_gaussian(mean: Tensor, log_variance: Tensor, prior_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, prior_variance), axis by axis (paper Eq. 17).

    Arguments:
        mean: posterior means with shape (N, L).
        log_variance: posterior log variances with shape (N, L).
        prior_variance: σ̂² with shape (L,), > 0; no gradient flows into it.

    Returns:
        Nats with shape (N, L), ≥ 0, zero iff posterior and prior are equal.
    """
    prior = prior_variance.detach()
    return 0.5 * (prior.log() - log_variance - 1 + (mean.square() + log_variance.exp()) / prior)
