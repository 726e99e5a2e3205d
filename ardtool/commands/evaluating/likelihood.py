"""Likelihood of data under a model with a posterior variance and a known likelihood: `elbo` with its terms, the tighter bound `iwae`, and
bits per dimension of 8-bit images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...latent.gaussian import gaussian_log_density, kl_to_gaussian
from ...latent.jacobian import inference_mode
from ...latent.student_t import kl_to_student_t, student_t_log_density
from ...metrics.likelihood import bits_per_dimension, dequantised, importance_bound, log_likelihood, optimal_variance
from ...networks.build import NetworkAutoencoder
from ..memory import decoding_rows
from .subject import Subject
from .values import Measured, MetricValue, over_samples

__all__ = ["elbo", "iwae", "kl_from_prior", "likelihood_problem"]

IWAE_SAMPLES, IWAE_BLOCK = 1_000, 50


def likelihood_problem(subject: Subject) -> str:
    """What a model lacks to have a likelihood of data; "" where nothing."""
    found = subject.model.metadata.get("likelihood") or {}
    if found.get("beta") is None and found.get("kind") != "bernoulli":
        return "a known likelihood"
    if subject.codes is None or subject.posterior.log_variance is None:
        return "a posterior variance"
    return ""


def elbo(subject: Subject) -> Measured:
    """The evidence lower bound of the likelihood that was trained, at one draw of z a sample, in nats; higher is better.

    Kingma, Welling 2014 (arXiv 1312.6114), Eq. 3.
    """
    kind, variances = _likelihoods(subject)
    trained = variances.get("trained")
    kl = kl_from_prior(subject).sum(dim=1)
    z = subject.posterior.sample(subject.generator())
    logits = _has_logits(subject)
    expected = subject.compared(z, lambda found, x: log_likelihood(found, x, kind, trained, logits=logits), "elbo", raw=logits)
    provenance = {"likelihood": kind, "draws": 1}
    details = {} if trained is None else {"variance": trained}
    return Measured(
        {
            "elbo": over_samples(expected - kl, "all", _nats(subject), "elbo", provenance, **details),
            "reconstruction": over_samples(expected, "all", _nats(subject), "elbo", provenance, **details),
            "kl": over_samples(kl, "all", "nats per sample", "elbo"),
        }
    )


def iwae(subject: Subject) -> Measured:
    """The importance-weighted bound of K draws on up to 1,000 samples, for the variance that was trained and for the best one; of 8-bit
    images also bits per dimension, which want uniform noise on the pixels."""
    kind, variances = _likelihoods(subject)
    is_bytes = kind == "gaussian" and subject.is_images and subject.data.values.dtype == torch.uint8
    likelihoods = _AllLikelihoods(subject, kind, variances, noisy=is_bytes)
    bounds = _bounds(subject, likelihoods)
    provenance = {"likelihood": kind, "draws": subject.request.iwae_draws}
    values: dict[str, MetricValue] = {}
    outputs, value_range = subject.data.values[:1].numel(), subject.data.value_range or (0.0, 1.0)
    for column, (name, noisy) in enumerate(likelihoods.columns):
        bound, suffix = bounds[:, column], "" if name == "trained" else f"_{name}_variance"
        details: dict[str, Any] = {} if variances[name] is None else {"variance": variances[name]}
        if noisy:
            bits = bits_per_dimension(bound, outputs, value_range)
            values[f"bits_per_dim{suffix}"] = over_samples(bits, "all", "bits, lower is better", "iwae", provenance, **details)
        else:
            values[f"iwae{suffix}"] = over_samples(bound, "all", _nats(subject), "iwae", provenance, **details)
    return Measured(values)


def kl_from_prior(subject: Subject) -> Tensor:
    """KL from the prior that was trained with, in nats, shape (N, L); the exact Student-t where that was it."""
    codes, posterior = subject.codes, subject.posterior
    assert codes is not None and posterior.log_variance is not None, "checked before"
    mean, log_variance = posterior.mean.double(), posterior.log_variance.double()
    if codes.prior is None:
        return kl_to_gaussian(mean, log_variance, mean.new_ones(codes.latent_dim))
    if _is_student_t(subject):
        return kl_to_student_t(mean, log_variance, codes.prior.degrees_of_freedom, codes.prior.variance.sqrt())
    return kl_to_gaussian(mean, log_variance, codes.prior.variance)


def _likelihoods(subject: Subject) -> tuple[str, dict[str, float | None]]:
    """The kind of likelihood, and its variances by name: `trained` is β/2, `optimal` the validation error of training."""
    found = subject.model.metadata["likelihood"]
    if found["kind"] == "bernoulli":
        return "bernoulli", {"trained": None}
    validation = (subject.model.metadata.get("training") or {}).get("validation") or {}
    best = {"optimal": optimal_variance(validation["mse"])} if validation.get("mse") else {}
    return "gaussian", {"trained": found["beta"] / 2, **best}


def _bounds(subject: Subject, likelihoods: _AllLikelihoods) -> Tensor:
    """The bounds of up to 1,000 samples with shape (N, J), by blocks with generators of their own, which processes share."""
    n = len(subject.index)
    rows = torch.arange(n) if n <= IWAE_SAMPLES else torch.randperm(n, generator=subject.generator(5))[:IWAE_SAMPLES].sort().values
    blocks = rows.split(IWAE_BLOCK)
    shard = subject.processes.shard(len(blocks))

    def own() -> Tensor:
        parts = []
        for number in range(shard.rows.start, shard.rows.stop):
            subject.progress("importance-weighted bound", number * IWAE_BLOCK, len(rows))
            posterior = subject.posterior.rows(blocks[number])
            assert posterior.log_variance is not None, "checked by `likelihood_problem`"
            parts.append(
                importance_bound(
                    posterior.mean,
                    posterior.log_variance,
                    likelihoods.of(blocks[number]),
                    _log_prior(subject),
                    draws=subject.request.iwae_draws,
                    generator=subject.generator(1_000 + number),
                    at_once=likelihoods.at_once,
                )
            )
        return torch.cat(parts)

    with inference_mode(subject.network):
        found = subject.processes.everywhere(own)
    return found[0] if shard.is_whole else torch.cat(found)


class _AllLikelihoods:
    """log p(x|z) under several likelihoods of the same reconstructions, with shape (M, J).

    Attributes:
        columns: (name of the variance, whether x has noise on its bytes) of each.
    """

    def __init__(self, subject: Subject, kind: str, variances: dict[str, float | None], *, noisy: bool) -> None:
        self.subject, self.kind, self.variances = subject, kind, variances
        self.columns = [(name, noise) for noise in ([False, True] if noisy else [False]) for name in variances]
        self.logits = _has_logits(subject)
        posterior = subject.posterior
        first = None if posterior.context is None else posterior.context[:1].to(subject.device)
        with inference_mode(subject.network):
            self.at_once = decoding_rows(subject.network, posterior.mean[:1].to(subject.device), first)

    def of(self, rows: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """For some of the measured samples: takes codes (M, L), and which of these rows each belongs to."""
        return lambda z, which: self(z, rows[which.cpu()])

    def __call__(self, z: Tensor, rows: Tensor) -> Tensor:
        subject = self.subject
        context = subject.posterior.context
        own = None if context is None else context[rows].to(subject.device)
        reconstruction = subject.decoder(self.logits)(z.to(subject.device), own)
        distinct, back = rows.unique_consecutive(return_inverse=True)
        x = subject.data.batch(subject.index[distinct], subject.device)
        samples = {False: x[back], True: self._with_noise(x, distinct)[back] if any(noise for _, noise in self.columns) else x}
        found = [
            log_likelihood(reconstruction, samples[noise], self.kind, self.variances[name], logits=self.logits)
            for name, noise in self.columns
        ]
        return torch.stack(found, dim=1).to(z.device)

    def _with_noise(self, x: Tensor, rows: Tensor) -> Tensor:
        """Noise that belongs to a sample: all its draws see the same."""
        value_range = self.subject.data.value_range or (0.0, 1.0)
        parts = [dequantised(one[None], self.subject.generator(6 + int(row)), value_range) for one, row in zip(x, rows, strict=True)]
        return torch.cat(parts)


def _log_prior(subject: Subject) -> Callable[[Tensor], Tensor]:
    """Log density of codes (M, L) in nats, shape (M,), under the prior that was trained with."""
    codes = subject.codes
    assert codes is not None, "checked by `likelihood_problem`"
    if codes.prior is None:
        ones = torch.ones(codes.latent_dim, dtype=torch.float64)
        return lambda z: gaussian_log_density(z, ones.to(z)).sum(dim=1)
    variance = codes.prior.variance
    if _is_student_t(subject):
        freedom = codes.prior.degrees_of_freedom
        return lambda z: student_t_log_density(z, freedom, variance.sqrt().to(z)).sum(dim=1)
    return lambda z: gaussian_log_density(z, variance.to(z)).sum(dim=1)


def _is_student_t(subject: Subject) -> bool:
    return subject.model.metadata.get("settings", {}).get("prior") == "student-t"


def _has_logits(subject: Subject) -> bool:
    """Whether a Bernoulli likelihood can be computed from logits, which lose nothing near 0 and 1."""
    return subject.model.metadata["likelihood"]["kind"] == "bernoulli" and isinstance(subject.network, NetworkAutoencoder)


def _nats(subject: Subject) -> str:
    return "nats per sample" if subject.model.scaling is None else "nats per sample of standardised data"
