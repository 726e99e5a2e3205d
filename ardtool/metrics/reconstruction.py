r"""Reconstruction error and likelihood, sample by sample.

Gaussian likelihood of variance σ_x² = β/2 per output, the one that minimising ⟨SSE⟩ + β⟨KL⟩ trains:
    log p(x|z) = −SSE/β − (D/2) log(πβ)
Bernoulli:
    log p(x|z) = Σ_d x log x̂ + (1 − x) log(1 − x̂),   from the logits l of x̂ where they are known: Σ_d x l − log(1 + e^l)
ELBO = E_q log p(x|z) − KL, in nats per sample, higher is better (Eq. 1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["elbo", "mean_and_stderr", "squared_error"]

SMALLEST_PROBABILITY = 1e-7


def squared_error(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Sum of squared errors over all outputs of each sample with shape (N,), ≥ 0."""
    return (reconstruction - x).square().flatten(1).sum(dim=1)


def elbo(reconstruction: Tensor, x: Tensor, likelihood: str, beta: float | None, *, logits: bool = False) -> Tensor:
    """Expected log-likelihood of each sample with shape (N,), in nats; subtract the KL for the ELBO.

    Arguments:
        reconstruction: means of the likelihood with shape (N, *input_shape).
        likelihood: `gaussian` (needs beta) or `bernoulli`.
        beta: weight of the KL in training; the Gaussian's variance is beta/2.
        logits: for `bernoulli`, whether `reconstruction` holds logits, which lose nothing near 0 and 1, instead of probabilities.
    """
    if likelihood == "bernoulli" and logits:
        return (x * reconstruction - torch.nn.functional.softplus(reconstruction)).flatten(1).sum(dim=1)
    if likelihood == "bernoulli":
        p = reconstruction.clamp(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
        return (x * p.log() + (1 - x) * torch.log1p(-p)).flatten(1).sum(dim=1)
    assert beta is not None, "a Gaussian likelihood has a variance"
    outputs = x[0].numel()
    return -squared_error(reconstruction, x) / beta - 0.5 * outputs * math.log(math.pi * beta)


def mean_and_stderr(per_sample: Tensor) -> tuple[float, float]:
    """Mean and standard error of per-sample values with shape (N,); the error of a single sample is infinite."""
    values = per_sample.double()
    stderr = float(values.std() / len(values) ** 0.5) if len(values) > 1 else math.inf
    return float(values.mean()), stderr
