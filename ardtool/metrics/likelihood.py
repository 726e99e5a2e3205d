r"""Log-likelihoods of reconstructions, the importance-weighted bound on log p(x), and bits per dimension.

Likelihoods of one sample x with D outputs, in nats, higher is better:

    gaussian   log p(x|z) = −SSE / 2σ_x² − (D/2) log 2πσ_x²
    bernoulli  log p(x|z) = Σ_d x log x̂ + (1 − x) log(1 − x̂),   from the logits l of x̂ where they are known: Σ_d x l − log(1 + e^l)

σ_x² = β/2 is what minimising ⟨SSE⟩ + β⟨KL⟩ trains; σ_x² = mean squared error per output is what makes the mean likelihood largest.
E_q log p(x|z) − KL(q ‖ prior) is the ELBO. With K draws z_k ~ q(z|x) = N(μ, e^v) of a sample the bound is

    L_K(x) = log (1/K) Σ_k p(x|z_k) p(z_k) / q(z_k|x),        E L_1 = ELBO ≤ E L_K ≤ E L_{K+1} ≤ log p(x)

Bits per dimension: x' = low + (high − low) (v + u) / 256 of a byte v with u ~ U[0, 1) has a density whose integral over the cell of v is
the probability of v; a cell is (high − low) / 256 wide in each dimension, so by Jensen's inequality at most

    −log p(x') / (D log 2) + log₂(256 / (high − low))        + 8 for x in [0, 1], + 7 for x in [−1, 1]

bits are needed for one output, lower is better. Without the noise, constant outputs let σ_x → 0 raise the density without bound.

Sources: Burda, Grosse, Salakhutdinov, arXiv 1509.00519 (L_K); Theis, van den Oord, Bethge, arXiv 1511.01844 (uniform noise).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import ConfigError, DataError
from ..latent.chunks import in_blocks
from .reconstruction import squared_error

__all__ = [
    "bits_per_dimension",
    "dequantised",
    "gaussian_log_likelihood",
    "importance_bound",
    "log_likelihood",
    "optimal_variance",
]

SMALLEST_PROBABILITY = 1e-7
LEVELS = 256
LEVEL_TOLERANCE = 0.01  # of the distance of two levels: what float32 leaves of v / 255
DRAWS_AT_ONCE = 500


def log_likelihood(reconstruction: Tensor, x: Tensor, likelihood: str, variance: float | None, *, logits: bool = False) -> Tensor:
    """Log-likelihood of each sample with shape (N,), in nats.

    Arguments:
        reconstruction: means of the likelihood with shape (N, *input_shape).
        x: samples of the same shape; in [0, 1] for `bernoulli`.
        likelihood: `gaussian` (needs `variance`) or `bernoulli`.
        variance: σ_x² of the Gaussian, > 0; β/2 for the likelihood that was trained.
        logits: for `bernoulli`, whether `reconstruction` holds logits, which lose nothing near 0 and 1, instead of probabilities.
    """
    if likelihood == "bernoulli" and logits:
        return (x * reconstruction - torch.nn.functional.softplus(reconstruction)).flatten(1).sum(dim=1)
    if likelihood == "bernoulli":
        p = reconstruction.clamp(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
        return (x * p.log() + (1 - x) * torch.log1p(-p)).flatten(1).sum(dim=1)
    assert variance is not None, "a Gaussian likelihood has a variance"
    return gaussian_log_likelihood(squared_error(reconstruction, x), x[0].numel(), variance)


def gaussian_log_likelihood(error: Tensor, outputs: int, variance: float) -> Tensor:
    """Log density in nats of D outputs under N(x̂, σ_x²), with the shape of `error`.

    Arguments:
        error: squared errors summed over all outputs, ≥ 0.
        outputs: D.
        variance: σ_x², > 0.
    """
    return -error / (2 * variance) - 0.5 * outputs * math.log(2 * math.pi * variance)


def optimal_variance(mse: float) -> float:
    """The σ_x² with the largest mean Gaussian log-likelihood: the mean squared error per output itself.

    Arguments:
        mse: mean over samples and outputs of (x − x̂)², from validation data and reconstructions of drawn codes, in the units of x.

    Raises:
        DataError: the error is not positive, and the likelihood has no largest value.
    """
    if not (math.isfinite(mse) and mse > 0):
        raise DataError(
            f"The mean squared error is {mse:g}; expected a positive number, without which the likelihood has no largest value.",
            "Use the variance that was trained.",
        )
    return mse


@torch.no_grad()
def importance_bound(
    mean: Tensor,
    log_variance: Tensor,
    likelihood: Callable[[Tensor, Tensor], Tensor],
    prior: Callable[[Tensor], Tensor],
    *,
    draws: int,
    generator: torch.Generator,
    at_once: int = DRAWS_AT_ONCE,
) -> Tensor:
    """The bound L_K on the log density of each sample, in nats, float64; its mean over samples is what is reported.

    Sums are float64 and streamed: at most `at_once` codes are decoded at a time, and 500 draws of noise held. What is drawn does not
    depend on `at_once`; consecutive samples with the same generator, joined, are one call.

    Arguments:
        mean, log_variance: the posterior with shape (N, L). Any q gives a bound, that of x without dequantisation noise too.
        likelihood: takes codes z with shape (M, L), of the dtype and on the device of `mean`, and the samples they belong to, indices
            with shape (M,). Gives log p(x|z) in nats with shape (M,), or (M, J) for J likelihoods of the same reconstructions.
        prior: log density in nats, shape (M,), of float64 codes with shape (M, L): for instance `gaussian_log_density` or
            `student_t_log_density` summed over axes.
        draws: K ≥ 1.
        generator: source of the draws.
        at_once: how many codes fit into memory, ≥ 1.

    Returns:
        Nats with shape (N,), or (N, J) for J likelihoods.

    Raises:
        ConfigError: for fewer than one draw.
    """
    if draws < 1:
        raise ConfigError(
            f"The importance-weighted bound needs at least 1 draw per sample, not {draws}.", "Use 100, or 5000 for a final number."
        )
    bounds = []
    for rows in torch.arange(len(mean), device=mean.device).split(max(1, min(at_once, DRAWS_AT_ONCE) // draws)):
        total = None
        for start in range(0, draws, DRAWS_AT_ONCE):
            shape = (min(DRAWS_AT_ONCE, draws - start), mean.shape[1])
            noise = torch.stack([torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float64) for _ in rows])
            noise = noise.to(mean.device)
            block = (len(rows), max(1, at_once // len(rows)))

            def weights(part: slice, some: slice, rows: Tensor = rows, noise: Tensor = noise) -> Tensor:
                return _log_weights(mean, log_variance, likelihood, prior, rows[part], noise[part, some]).logsumexp(dim=1)

            for part, _, found in in_blocks(len(rows), shape[0], block, weights):
                if total is None:
                    total = found.new_full((len(rows), *found.shape[1:]), -math.inf)
                total[part] = torch.logaddexp(total[part], found)
        assert total is not None, "there is at least one draw"
        bounds.append(total - math.log(draws))
    return torch.cat(bounds)


def _log_weights(
    mean: Tensor,
    log_variance: Tensor,
    likelihood: Callable[[Tensor, Tensor], Tensor],
    prior: Callable[[Tensor], Tensor],
    rows: Tensor,
    noise: Tensor,
) -> Tensor:
    """log p(x|z) p(z) / q(z|x) of n samples and k draws with noise (n, k, L): shape (n, k) or (n, k, J)."""
    log_variances = log_variance[rows].double()[:, None]
    z = (mean[rows].double()[:, None] + (log_variances / 2).exp() * noise).flatten(0, 1)
    log_q = -0.5 * (math.log(2 * math.pi) + log_variances + noise.square()).sum(dim=2)
    log_p = likelihood(z.to(mean.dtype), rows.repeat_interleave(noise.shape[1])).to(log_q)
    ratio = prior(z) - log_q.flatten()
    return (log_p + (ratio if log_p.ndim == 1 else ratio[:, None])).unflatten(0, noise.shape[:2])


def dequantised(x: Tensor, generator: torch.Generator, value_range: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Images of bytes with uniform noise: low + (high − low) (v + u) / 256, of the shape and dtype of x.

    Arguments:
        x: pixels low + (high − low) v / 255 with whole v from 0 to 255.
        generator: source of u.
        value_range: low and high.

    Raises:
        DataError: some pixel is between two of the 256 levels, or outside them.
    """
    low, high = value_range
    levels = (x.double() - low) / (high - low) * (LEVELS - 1)
    v = levels.round()
    if bool(((levels - v).abs() > LEVEL_TOLERANCE).any()) or bool((v < 0).any()) or bool((v >= LEVELS).any()):
        raise DataError(
            f"Some pixels are none of the {LEVELS} levels from {low:g} to {high:g}; bits per dimension are those of 8-bit images.",
            "Leave bits per dimension out for these data.",
        )
    noise = torch.rand(x.shape, generator=generator, device=generator.device, dtype=torch.float64).to(x.device)
    return (low + (high - low) * (v + noise) / LEVELS).to(x.dtype)


def bits_per_dimension(bound: Tensor, outputs: int, value_range: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Bits for one output of an 8-bit image, lower is better: an upper bound, of the shape of `bound`.

    Arguments:
        bound: lower bound on the log density of dequantised samples, in nats; a Bernoulli likelihood of grey values is no density.
        outputs: D.
        value_range: low and high of the pixels.
    """
    low, high = value_range
    return -bound / (outputs * math.log(2)) + math.log2(LEVELS / (high - low))
