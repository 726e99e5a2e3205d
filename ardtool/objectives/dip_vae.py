r"""DIP-VAE-I and -II: a VAE whose aggregate codes are pulled to unit covariance.

    loss = ⟨rec⟩ + ⟨KL⟩ + λ_od Σ_{i≠j} S_ij² + λ_d Σ_i (S_ii − 1)²         minimised; all ordered pairs (i, j) are counted
    I    S = Cov(μ) of the batch, divided by B
    II   S = Cov(μ) + diag ⟨σ²⟩

`off_diagonal` and `diagonal` are logged before weighting and are ≥ 0. From a batch of 100 S has sampling noise, so they stay above 0.

Source: Kumar, Sattigeri, Balakrishnan, arXiv 1711.00848; λ_od = 10 with λ_d = 10 λ_od (I) or λ_od (II) is supp. Table 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from ..autoencoder import Posterior
from ..networks.build import NetworkAutoencoder
from .objective import Objective, Setup, option, reconstruction_error
from .vae import kl_to_standard

__all__ = ["DipVaeI", "DipVaeII", "covariance_penalties"]


@dataclass(frozen=True)
class OptionsI:
    """Options of DIP-VAE-I."""

    lambda_od: float = option(10.0, "Weight of squared covariances.", low=0)
    lambda_d: float = option(100.0, "Weight of squared deviations of variances from 1.", low=0)


@dataclass(frozen=True)
class OptionsII(OptionsI):
    """Options of DIP-VAE-II."""

    lambda_d: float = option(10.0, "Weight of squared deviations of variances from 1.", low=0)


class DipVaeI(Objective):
    """DIP-VAE-I.

    Arguments:
        lambda_od, lambda_d: weights of the two penalties.
        likelihood: `gaussian` or `bernoulli`.
    """

    summary_line = "VAE whose posterior means are pulled to unit covariance"
    paper = "Kumar et al., arXiv 1711.00848"
    prefix = "dip"
    Options = OptionsI
    takes = frozenset({"likelihood"})
    table = MappingProxyType({"": {"beta": 1.0}})
    with_variance = False

    def __init__(self, *, lambda_od: float, lambda_d: float, likelihood: str = "gaussian") -> None:
        super().__init__()
        self.lambda_od, self.lambda_d, self.likelihood = lambda_od, lambda_d, likelihood

    @classmethod
    def made_for(cls, setup: Setup) -> DipVaeI:
        options = setup.options
        return cls(lambda_od=options.lambda_od, lambda_d=options.lambda_d, likelihood=setup.settings["likelihood"])

    def losses(self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        posterior = model.encode(x)
        assert posterior.log_variance is not None, "the encoder is stochastic"
        reconstruction, mse = reconstruction_error(model, posterior.sample(generator), x, self.likelihood)
        kl = kl_to_standard(posterior).sum() / len(x)
        whole = Posterior(self.batch.rows(posterior.mean), self.batch.rows(posterior.log_variance))
        off_diagonal, diagonal = covariance_penalties(whole, with_variance=self.with_variance)
        loss = reconstruction + kl + self.lambda_od * off_diagonal + self.lambda_d * diagonal
        return {
            "loss": loss,
            "reconstruction": reconstruction,
            "kl": kl,
            "off_diagonal": off_diagonal,
            "diagonal": diagonal,
            "mse": mse,
        }

    def likelihood_beta(self, validation: Mapping[str, float]) -> float:
        return 1.0


class DipVaeII(DipVaeI):
    """DIP-VAE-II."""

    summary_line = "VAE whose codes are pulled to unit covariance"
    Options = OptionsII
    table = MappingProxyType({"": {"beta": 1.0, "lr": 5e-4}})  # at 2e-3 ardtool's own network gave black images on MNIST
    with_variance = True


def covariance_penalties(posterior: Posterior, *, with_variance: bool) -> tuple[Tensor, Tensor]:
    """Σ_{i≠j} S_ij² and Σ_i (S_ii − 1)², both scalars.

    Arguments:
        posterior: of a batch.
        with_variance: whether S includes the posterior variances (DIP-VAE-II).
    """
    centred = posterior.mean - posterior.mean.mean(dim=0)
    covariance = centred.T @ centred / len(centred)
    if with_variance:
        assert posterior.log_variance is not None, "the encoder is stochastic"
        covariance = covariance + torch.diag(posterior.log_variance.exp().mean(dim=0))
    variances = covariance.diagonal()
    return covariance.square().sum() - variances.square().sum(), (variances - 1).square().sum()
