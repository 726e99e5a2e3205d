r"""β-TCVAE: a VAE with a further weight on the total correlation of the aggregate posterior.

    loss = ⟨rec⟩ + ⟨KL⟩ + (β − 1) TC          minimised; the KL analytic, so that β = 1 is the VAE exactly
    TC   = E_q [log q(z) − Σ_l log q(z_l)]     ≥ 0, in nats

With A_jil = log N(z_jl; μ_il, σ_il²) over a batch of B and N training samples, q is estimated by

    minibatch-weighted     log q(z_j) ≈ LSE_i Σ_l A_jil − log(N B),   log q(z_jl) ≈ LSE_i A_jil − log(N B)
    stratified             log q(z_j) ≈ LSE_i (log w_ji + Σ_l A_jil), the same for q(z_jl), with
                           w_jj = 1/N,  w_{j,j+1} = (N − M)/(N M),  w_ji = 1/M elsewhere, M = B − 1: rows sum to 1

The weighted TC is logged and minimised without its constant (L − 1) log(N B), which changes no gradient, so it may be negative. Unless
--beta says otherwise, β is 5 for dSprites and 3D Shapes and 2 for other data.

Source: Chen et al., arXiv 1802.04942; the analytic form as in Locatello et al., arXiv 1811.12359. Of the stratified weights a widely
copied implementation puts 1/N into the first column of every row instead of the diagonal; here it is on the diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from ..networks.build import NetworkAutoencoder
from .objective import Objective, Setup, option, reconstruction_error
from .vae import kl_to_standard

__all__ = ["BetaTcVae", "log_densities", "stratified_log_weights", "total_correlation"]

Estimator = Literal["weighted", "stratified"]
TABLE_6 = {"mnist": 2.0, "celeba": 2.0, "cifar10": 2.0, "imagenet32": 2.0, "dsprites": 5.0, "shapes3d": 5.0, "": 2.0}
EPOCHS = {"mnist": {"epochs": 100}}


@dataclass(frozen=True)
class Options:
    """Options of the β-TCVAE."""

    estimator: Estimator = option("weighted", "How q(z) is estimated: weighted or stratified.")


class BetaTcVae(Objective):
    """The β-TCVAE objective.

    Arguments:
        beta: weight of the total correlation; 1 is the VAE.
        samples: N.
        likelihood: `gaussian` or `bernoulli`.
    """

    summary_line = "VAE with a weight on the total correlation of its codes"
    paper = "Chen et al., arXiv 1802.04942"
    prefix = "tcvae"
    Options = Options
    takes = frozenset({"beta", "likelihood"})
    table = MappingProxyType({name: {"beta": beta} | EPOCHS.get(name, {}) for name, beta in TABLE_6.items()})

    def __init__(self, *, beta: float, samples: int, estimator: Estimator = "weighted", likelihood: str = "gaussian") -> None:
        super().__init__()
        self.beta, self.samples, self.likelihood = beta, samples, likelihood
        self.estimator: Estimator = estimator
        self.fewest_samples = 2 if estimator == "stratified" else 1

    @classmethod
    def made_for(cls, setup: Setup) -> BetaTcVae:
        beta, likelihood = float(setup.settings["beta"]), setup.settings["likelihood"]
        return cls(beta=beta, samples=setup.training_samples, estimator=setup.options.estimator, likelihood=likelihood)

    def losses(self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        posterior = model.encode(x)
        assert posterior.log_variance is not None, "the encoder is stochastic"
        z = posterior.sample(generator)
        reconstruction, mse = reconstruction_error(model, z, x, self.likelihood)
        kl = kl_to_standard(posterior).sum() / len(x)
        codes = map(self.batch.rows, (z, posterior.mean, posterior.log_variance))
        correlation = total_correlation(log_densities(*codes), self.samples, self.estimator)
        loss = reconstruction + kl + (self.beta - 1) * correlation
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl, "total_correlation": correlation, "mse": mse}

    def likelihood_beta(self, validation: Mapping[str, float]) -> float:
        return 1.0  # the KL's weight; β is that of the total correlation


def log_densities(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """A_jil = log N(z_jl; μ_il, e^{v_il}) of codes under all posteriors of a batch, each with shape (B, L): shape (B, B, L)."""
    deviation = z[:, None] - mean
    return -0.5 * (math.log(2 * math.pi) + log_variance + deviation.square() * torch.exp(-log_variance))


def total_correlation(densities: Tensor, samples: int, estimator: Estimator) -> Tensor:
    """TC in nats, a scalar; without its constant where it is minibatch-weighted.

    Arguments:
        densities: A with shape (B, B, L).
        samples: N, the size of the training set; B where it is smaller.
        estimator: see the module.
    """
    joint = densities.sum(dim=2)
    if estimator == "weighted":
        return (joint.logsumexp(dim=1) - densities.logsumexp(dim=1).sum(dim=1)).mean()
    weights = stratified_log_weights(len(densities), samples, dtype=densities.dtype, device=densities.device)
    return ((weights + joint).logsumexp(dim=1) - (weights[:, :, None] + densities).logsumexp(dim=1).sum(dim=1)).mean()


def stratified_log_weights(batch: int, samples: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Tensor:
    """log w with shape (B, B), whose exponentials sum to 1 in every row; B ≥ 2. Made on the device, so that no step waits for a copy."""
    others, samples = batch - 1, max(samples, batch)
    rows, columns = torch.arange(batch, device=device)[:, None], torch.arange(batch, device=device)
    weights = torch.full((batch, batch), -math.log(others), dtype=dtype, device=device)
    weights.masked_fill_(columns == (rows + 1) % batch, math.log((samples - others) / (samples * others)))
    return weights.masked_fill_(columns == rows, -math.log(samples))
