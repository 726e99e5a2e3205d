r"""VAE and β-VAE: a Gaussian encoder with the fixed prior N(0, I).

    loss = ⟨Σ_d (x − x̂)²⟩ + β ⟨KL⟩,   KL = ½ Σ_l (μ_l² + e^{v_l} − v_l − 1)        minimised; ⟨⟩ is the mean over the batch, KL in nats
    v = log σ², z = μ + e^{v/2} ε, one draw for each sample; β is 1 for vae, and 4 for beta-vae unless --beta says otherwise

`reconstruction` is ≥ 0 in squared-error units (or nats, with the Bernoulli likelihood); `kl` is ≥ 0 in nats, both before weighting.

Source: Kingma, Welling, arXiv 1312.6114; Higgins et al., "beta-VAE", ICLR 2017. The paper's tables have β = 1, read from its silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from ..autoencoder import Posterior
from ..latent.gaussian import kl_to_gaussian
from ..networks.build import NetworkAutoencoder
from .objective import Objective, Setup, reconstruction_error

__all__ = ["BetaVae", "Vae", "kl_to_standard"]


class Vae(Objective):
    """A VAE.

    Arguments:
        beta: weight of the KL.
        likelihood: `gaussian` or `bernoulli`.
    """

    summary_line = "VAE with the prior N(0, I)"
    paper = "Kingma, Welling, arXiv 1312.6114"
    takes = frozenset({"likelihood"})
    table = MappingProxyType({"mnist": {"beta": 1.0, "epochs": 100}, "": {"beta": 1.0}})

    def __init__(self, *, beta: float = 1.0, likelihood: str = "gaussian") -> None:
        super().__init__()
        self.beta = beta
        self.likelihood = likelihood

    @classmethod
    def made_for(cls, setup: Setup) -> Vae:
        return cls(beta=float(setup.settings["beta"]), likelihood=setup.settings["likelihood"])

    def losses(self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        posterior = model.encode(x)
        reconstruction, mse = reconstruction_error(model, posterior.sample(generator), x, self.likelihood)
        kl = kl_to_standard(posterior).sum() / len(x)
        return {"loss": reconstruction + self.beta * kl, "reconstruction": reconstruction, "kl": kl, "mse": mse}

    def likelihood_beta(self, validation: Mapping[str, float]) -> float:
        return self.beta


class BetaVae(Vae):
    """A β-VAE: a VAE whose KL has a weight of one's choice."""

    summary_line = "VAE with a weight on the KL"
    paper = "Higgins et al., ICLR 2017"
    takes = frozenset({"beta", "likelihood"})
    table = MappingProxyType({"": {"beta": 4.0}})


def kl_to_standard(posterior: Posterior) -> Tensor:
    """KL(N(μ, e^v) ‖ N(0, 1)) in nats, ≥ 0, with shape (N, L)."""
    assert posterior.log_variance is not None, "the encoder is stochastic"
    return kl_to_gaussian(posterior.mean, posterior.log_variance, torch.ones((), device=posterior.mean.device))
