r"""Whether codes are used, independent, and where the prior expects them.

    A_l = Var_x(μ_l)                                    active unit: A_l > 0.01, for priors N(0, I)
    A_l / Var(z_l) = 1 − E[σ_l²] / Var(z_l)             relative active unit: > 0.01, free of the scale of the axis, for all priors
    TC = ½ (Σ_l log Σ_ll − log det Σ)                   total correlation of a Gaussian with covariance Σ, in nats, ≥ 0; 0 iff uncorrelated
    I(l, m) = Σ p(b, c) log (p(b, c) / p(b) p(c))       of two axes in 20 bins each, as for MIG, in nats, ≥ 0

Active units say what the encoder writes; the ACTIVE count of `relevance` says what the decoder reads.

The gap between aggregate posterior and prior is that of the Gaussian with the mean m and covariance S of sampled codes from N(0, diag σ̂²):

    KL = TC(S) + Σ_l KL(N(m_l, S_ll) ‖ N(0, σ̂_l²))                                                        in nats
    W₂² = Σ_l (m_l / σ̂_l)² + Σ_i (√λ_i − 1)²,   λ the eigenvalues of diag(1/σ̂) S diag(1/σ̂)               in standard deviations of the prior

Of the KL that training measures, E_x KL(q(z|x) ‖ p) = information of codes about samples + KL(q(z) ‖ p), the second part is what sampling
from p suffers from. It is KL(q(z) ‖ N(m, S)) + KL(N(m, S) ‖ p) exactly, because p is Gaussian: what is given here is a lower bound that
sees mean, scale and correlation but no shape, in closed form, with no draws and no kernel width to choose. The KL is infinite where S is
singular, as of a deterministic encoder with a dead axis; W₂ is finite there.

Estimates from N codes are too large: for independent axes by about L (L − 1) / 4N nats (TC), L (L + 3) / 4N (KL) and 19² / 2N (mutual
information).

Sources: Burda, Grosse, Salakhutdinov, arXiv 1509.00519 (active units); Locatello et al., arXiv 1811.12359 (TC and mutual information of
codes); Hoffman, Johnson, "ELBO surgery", 2016 (the decomposition of the KL).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError
from ..latent.axes import LatentAxes
from ..latent.gaussian import kl_to_gaussian
from ..latent.relevance import COLLAPSED_KL
from ..latent.statistics import CodeStatistics
from .mutual_information import equal_width_bins, mutual_information

__all__ = [
    "AggregateGap",
    "Correlations",
    "KlSummary",
    "active_units",
    "aggregate_gap",
    "code_correlations",
    "kl_summary",
    "pairwise_information",
    "relative_unit_activity",
    "total_correlation",
    "unit_activity",
]

ACTIVE_UNIT = 0.01
CONSTANT = 1e-20  # a variance that is this share of the largest is what rounding leaves of a constant


def unit_activity(mean: Tensor, axes: LatentAxes | None = None) -> Tensor:
    """A with shape (A,), float64, ≥ 0, in squared units of the codes: variances of posterior means with divisor N.

    Arguments:
        mean: posterior means with shape (N, L).
        axes: what counts as an axis, of several elements the mean over them; None for every element.
    """
    variance = mean.double().var(dim=0, correction=0)
    return variance if axes is None else axes.mean(variance)


def relative_unit_activity(mean: Tensor, log_variance: Tensor | None, axes: LatentAxes | None = None) -> Tensor:
    """The share of an axis' variance that posterior means have, with shape (A,), from 0 to 1; 0 for a constant axis.

    Arguments:
        mean, log_variance: the posterior with shape (N, L); without a variance every axis that moves has 1.
        axes: as for `unit_activity`.
    """
    activity = unit_activity(mean, axes)
    within = torch.zeros_like(activity)
    if log_variance is not None:
        within = log_variance.double().exp().mean(dim=0)
        within = within if axes is None else axes.mean(within)
    return torch.where(activity > 0, activity / (activity + within), 0.0)


def active_units(activity: Tensor, threshold: float = ACTIVE_UNIT) -> int:
    """How many axes have an activity, absolute or relative, strictly above the threshold."""
    return int((activity > threshold).sum())


@dataclass(frozen=True)
class KlSummary:
    """KL of posteriors from the prior, axis by axis, in nats.

    Attributes:
        per_axis: means over samples with shape (A,).
        stderr: their standard errors with shape (A,); infinite for a single sample.
        used: how many axes have more than 0.01 nats, an element where they have several.
    """

    per_axis: Tensor
    stderr: Tensor
    used: int


def kl_summary(kl: Tensor, axes: LatentAxes | None = None) -> KlSummary:
    """Which axes the KL is spent on.

    Arguments:
        kl: of each sample and element in nats with shape (N, L), as `kl_to_gaussian` and `kl_to_student_t` give it.
        axes: what counts as an axis, of several elements their sum; None for every element.
    """
    axes = axes or LatentAxes((kl.shape[1],))
    nats = axes.sum(kl.double())
    mean = nats.mean(dim=0)
    stderr = nats.std(dim=0) / len(nats) ** 0.5 if len(nats) > 1 else torch.full_like(mean, math.inf)
    return KlSummary(mean, stderr, int((mean / axes.size > COLLAPSED_KL).sum()))


def total_correlation(covariance: Tensor) -> float:
    """TC of the Gaussian in nats, ≥ 0; infinite where axes that vary depend on each other linearly, as they do for N ≤ L codes.

    Constant axes are left out. The scale of axes does not matter.

    Arguments:
        covariance: of codes with shape (L, L).

    Raises:
        ConfigError: only variances are known.
    """
    eigenvalues = torch.linalg.eigvalsh(_correlation_matrix(covariance))
    if len(eigenvalues) and float(eigenvalues[0]) <= len(eigenvalues) * torch.finfo(torch.float64).eps:
        return math.inf
    return max(0.0, -0.5 * float(eigenvalues.log().sum()))


@dataclass(frozen=True)
class Correlations:
    """Absolute correlations of pairs of axes, from 0 to 1; 0 where there is no pair.

    Attributes:
        mean, largest: over all pairs of axes that vary.
    """

    mean: float
    largest: float


def code_correlations(covariance: Tensor) -> Correlations:
    """Correlations of codes with a covariance of shape (L, L); constant axes are left out.

    Raises:
        ConfigError: only variances are known.
    """
    correlation = _correlation_matrix(covariance)
    rows, columns = torch.triu_indices(*correlation.shape, offset=1)
    pairs = correlation[rows, columns].abs()
    return Correlations(float(pairs.mean()), float(pairs.max())) if len(pairs) else Correlations(0.0, 0.0)


def _correlation_matrix(covariance: Tensor) -> Tensor:
    """Correlations of the axes that vary, float64."""
    if covariance.ndim != 2:
        raise ConfigError(
            f"Only the variances of the code's {len(covariance):,} elements are known; correlations need covariances.",
            "Leave this metric out.",
        )
    covariance = covariance.double()
    variance = covariance.diagonal()
    moving = (variance > CONSTANT * variance.max()).nonzero()[:, 0]
    scale = variance[moving].rsqrt()
    return covariance[moving][:, moving] * scale * scale[:, None]


def pairwise_information(z: Tensor) -> float:
    """Mean mutual information of all pairs of axes in nats, ≥ 0; 0 where there is no pair.

    It takes L² histograms of N codes: give the axes that matter. A single outlier moves all bins of its axis.

    Arguments:
        z: codes with shape (N, L), finite.
    """
    axes = z.shape[1]
    if axes < 2:
        return 0.0
    information = mutual_information(z, equal_width_bins(z))
    return float(information.triu(diagonal=1).sum()) / (axes * (axes - 1) / 2)


@dataclass(frozen=True)
class AggregateGap:
    """How far the Gaussian of sampled codes is from the prior N(0, diag σ̂²).

    Attributes:
        kl: KL(codes ‖ prior) in nats, ≥ 0; divide by L for nats per latent.
        marginal: the part of each axis alone with shape (L,), in nats, ≥ 0.
        total_correlation: the part that is due to correlations, in nats, ≥ 0.
        wasserstein: W₂ in standard deviations of the prior, ≥ 0.
    """

    kl: float
    marginal: Tensor
    total_correlation: float
    wasserstein: float


def aggregate_gap(statistics: CodeStatistics, prior_variance: Tensor) -> AggregateGap:
    """The gap between the aggregate posterior and the prior; see the module for what it is and what it does not see.

    Arguments:
        statistics: moments of sampled codes on L axes.
        prior_variance: σ̂² with shape (L,), > 0; ones for N(0, I).

    Raises:
        ConfigError: only variances of the codes are known.
    """
    prior = prior_variance.double().cpu()
    correlation = total_correlation(statistics.covariance)
    marginal = kl_to_gaussian(statistics.mean[None], statistics.variance.log()[None], prior)[0]
    scale = prior.rsqrt()
    eigenvalues = torch.linalg.eigvalsh(statistics.covariance * scale * scale[:, None]).clamp(min=0)
    squared = (statistics.mean * scale).square().sum() + (eigenvalues.sqrt() - 1).square().sum()
    return AggregateGap(float(marginal.sum()) + correlation, marginal, correlation, float(squared.sqrt()))
