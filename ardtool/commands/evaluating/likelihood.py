"""Likelihood of data under a model with a posterior variance and a known likelihood: `elbo` with its two terms."""

from __future__ import annotations

from torch import Tensor

from ...errors import ConfigError
from ...latent.gaussian import kl_to_gaussian
from ...latent.student_t import kl_to_student_t
from ...metrics.likelihood import log_likelihood
from ...networks.build import NetworkAutoencoder
from .subject import Subject
from .values import Measured, over_samples

__all__ = ["elbo", "likelihood_problem"]


def likelihood_problem(subject: Subject) -> str:
    """Why the model has no likelihood of data; "" where it has one."""
    found = subject.model.metadata.get("likelihood") or {}
    if found.get("beta") is None and found.get("kind") != "bernoulli":
        return "a known likelihood"
    if subject.codes is None or subject.posterior.log_variance is None:
        return "a posterior variance"
    return ""


def elbo(subject: Subject) -> Measured:
    """The evidence lower bound of the likelihood that was trained, at one draw of z a sample; higher is better."""
    missing = likelihood_problem(subject)
    if missing:
        raise ConfigError(f"elbo needs a model with {missing}.", "Use --metrics mse.")
    likelihood = subject.model.metadata["likelihood"]
    kind, beta = likelihood["kind"], likelihood.get("beta")
    kl = kl_from_prior(subject)
    z = subject.posterior.sample(subject.generator())
    logits = has_logits(subject)
    expected = subject.compared(z, lambda found, x: log_likelihood(found, x, kind, None if beta is None else beta / 2, logits=logits), "elbo", raw=logits)
    unit = "nats per sample" if subject.model.scaling is None else "nats per sample of standardised data"
    provenance = {"likelihood": kind, "draws": 1}
    variance = {} if kind == "bernoulli" else {"variance": beta / 2}
    return Measured(
        {
            "elbo": over_samples(expected - kl, "all", unit, "elbo", provenance, **variance),
            "reconstruction": over_samples(expected, "all", unit, "elbo", provenance, **variance),
            "kl": over_samples(kl, "all", "nats per sample", "elbo"),
        }
    )


def has_logits(subject: Subject) -> bool:
    """Whether a Bernoulli likelihood can be computed from logits, which lose nothing near 0 and 1."""
    return subject.model.metadata["likelihood"]["kind"] == "bernoulli" and isinstance(subject.network, NetworkAutoencoder)


def kl_from_prior(subject: Subject) -> Tensor:
    """KL from the prior that was trained with, in nats per sample, shape (N,); the exact Student-t where that was it."""
    codes, posterior = subject.codes, subject.posterior
    assert codes is not None and posterior.log_variance is not None, "checked before"
    mean, log_variance = posterior.mean.double(), posterior.log_variance.double()
    if codes.prior is None:
        return kl_to_gaussian(mean, log_variance, mean.new_ones(codes.latent_dim)).sum(dim=1)
    if subject.model.metadata.get("settings", {}).get("prior") == "student-t":
        return kl_to_student_t(mean, log_variance, codes.prior.degrees_of_freedom, codes.prior.variance.sqrt()).sum(dim=1)
    return kl_to_gaussian(mean, log_variance, codes.prior.variance).sum(dim=1)
