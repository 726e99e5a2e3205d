r"""ARD-VAE: a VAE whose prior variances are estimated from encoded data.

    loss = ⟨Σ_d (x − x̂)²⟩ + β ⟨KL(q(z|x) ‖ p(z|D_z))⟩            minimised; ⟨⟩ is the mean over the batch, KL in nats
    p(z|D_z) = N(0, σ̂²),  σ̂² = b/a from the codes of X_α          Eq. 8, 9, 17, 18; no gradient flows through σ̂²
    p(z|D_z) = t_{2a}(0, σ̂)                                        with `prior="student-t"`, Eq. 11-14

β is a weight on that scale only: minimising the loss is maximising the ELBO of a Gaussian likelihood with variance β/2 per output.
β = "auto" keeps the decoder calibrated, β = 2 · running mean squared error per output, with a floor of one grey level (1/255) for
images and a thousandth of a standard deviation for vectors (Rybkin et al., arXiv 2006.13202). With `target_mse` β follows the
validation error until three quarters of the epochs are done and is then held, so that the count is read off a stationary objective:
the paper's rule "we tune β to achieve the desired reconstruction loss on the validation data" (§3.3). While β moves the learning
rate is not halved, since the loss it watches means something else every epoch. With `beta_warmup` β rises to its value over a share of
the epochs, by the same amount each: W / (W + 1) of it in the last of W epochs. Axes that a young decoder does not read yet are then not
given up for good (Sønderby et al., arXiv 1602.02282). The paper has no such thing, and it is off unless asked for.

Source: Saha, Joshi, Whitaker, arXiv 2501.10901, Eq. 16-18, Algorithms 1 and 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from ..autoencoder import Posterior
from ..latent.gaussian import kl_to_gaussian
from ..latent.precision import GammaPosterior, clamped_axes
from ..latent.student_t import kl_to_student_t
from ..networks.build import NetworkAutoencoder
from .objective import Objective, Setup, reconstruction_error

__all__ = ["ArdVae"]

MSE_MEMORY = 0.99
LARGEST_BETA = 1000.0  # times the data's variance: everything has collapsed long before
SEARCH_SHARE = 0.75
SEARCH_STEP = 1.5
PRIOR_SETTINGS = ("prior", "student_t_draws", "prior_a0", "prior_b0", "prior_mean", "rao_blackwell")
TABLE_6 = {"mnist": 0.5, "celeba": 1.0, "cifar10": 0.05, "imagenet32": 0.05, "dsprites": 5.0, "shapes3d": 5.0}


class ArdVae(Objective):
    """The ARD-VAE objective with its prior.

    Arguments:
        latent_dim: L.
        beta: weight of the KL, or "auto" for a calibrated decoder.
        data_variance: mean variance of the data per output, where "auto" starts.
        mse_floor: smallest error that "auto" calibrates to.
        target_mse: validation error per output to steer β to, or None.
        beta_warmup: share of the epochs over which β rises to its value, in [0, 0.5].
        epochs: of the run, which the share is one of.
        likelihood: `gaussian` or `bernoulli`.
        prior: `gaussian` (Eq. 17) or `student-t` (Eq. 11).
        student_t_draws: 0 for quadrature, else Monte Carlo draws.
        prior_a0, prior_b0, prior_mean: a⁰, b⁰, μ^α; the paper has 0 for all.
        rao_blackwell: estimate b from posterior means and variances instead of sampled codes.
    """

    summary_line = "VAE with a Gamma-Gaussian prior estimated from encoded data"
    paper = "Saha, Joshi, Whitaker, arXiv 2501.10901"
    takes = frozenset({"beta", "target_mse", "beta_warmup", "likelihood", "alpha_samples", "alpha_every", *PRIOR_SETTINGS})
    table = MappingProxyType({name: {"beta": beta} for name, beta in TABLE_6.items()})
    calibrates = True
    holds_out_codes = True
    sampler = "paper"

    def __init__(
        self,
        latent_dim: int,
        *,
        beta: float | Literal["auto"],
        data_variance: float,
        mse_floor: float,
        target_mse: float | None = None,
        beta_warmup: float = 0.0,
        epochs: int = 1,
        likelihood: str = "gaussian",
        prior: str = "gaussian",
        student_t_draws: int = 0,
        prior_a0: float = 0.0,
        prior_b0: float = 0.0,
        prior_mean: float = 0.0,
        rao_blackwell: bool = False,
    ) -> None:
        super().__init__()
        self.hyperprior = GammaPosterior.uninformed(latent_dim, prior_a0, prior_b0, prior_mean)
        self.calibrated = beta == "auto"
        self.mse_floor = mse_floor
        self.target_mse = target_mse
        self.epochs, self.warmup_epochs = epochs, round(beta_warmup * epochs)
        self.changing_share = SEARCH_SHARE if target_mse is not None else self.warmup_epochs / epochs
        self.largest_beta = LARGEST_BETA * data_variance
        self.likelihood = likelihood
        self.prior_kind = prior
        self.student_t_draws = student_t_draws
        self.rao_blackwell = rao_blackwell
        self.beta: Tensor
        self.running_mse: Tensor
        self.prior_a: Tensor
        self.prior_b: Tensor
        self.prior_variance: Tensor
        self.final_beta = 2 * data_variance if beta == "auto" else float(beta)
        self.register_buffer("beta", torch.tensor(self._warmed_up(0)))
        self.register_buffer("running_mse", torch.tensor(data_variance))
        self.register_buffer("prior_a", torch.tensor(1.0))
        self.register_buffer("prior_b", torch.ones(latent_dim))
        self.register_buffer("prior_variance", torch.ones(latent_dim))

    @classmethod
    def made_for(cls, setup: Setup) -> ArdVae:
        chosen = {name: setup.settings[name] for name in ("beta", "target_mse", "beta_warmup", "epochs", "likelihood", *PRIOR_SETTINGS)}
        return cls(setup.latent_dim, data_variance=setup.data_variance, mse_floor=setup.mse_floor, **chosen)

    def losses(self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        posterior = model.encode(x)
        reconstruction, mse = reconstruction_error(model, posterior.sample(generator), x, self.likelihood)
        kl = self.kl(posterior, generator).sum() / len(x)
        return {"loss": reconstruction + self.beta * kl, "reconstruction": reconstruction, "kl": kl, "mse": mse}

    def kl(self, posterior: Posterior, generator: torch.Generator | None = None) -> Tensor:
        """KL from the learned prior in nats, shape (N, L)."""
        assert posterior.log_variance is not None, "ARD-VAE encoders are stochastic"
        if self.prior_kind == "gaussian":
            return kl_to_gaussian(posterior.mean, posterior.log_variance, self.prior_variance)
        scale, draws = self.prior_variance.sqrt(), self.student_t_draws
        return kl_to_student_t(posterior.mean, posterior.log_variance, 2 * self.prior_a, scale, draws=draws, generator=generator)

    def step(
        self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator, optimisers: list[torch.optim.Optimizer]
    ) -> dict[str, Tensor]:
        terms = super().step(model, x, generator, optimisers)
        if self.calibrated:
            self.running_mse.lerp_(self.batch.mean(terms["mse"]), 1 - MSE_MEMORY)
            self.beta.copy_(2 * self.running_mse.clamp(min=self.mse_floor))
        return terms

    def update_prior(self, posterior: Posterior, generator: torch.Generator) -> None:
        assert posterior.log_variance is not None, "ARD-VAE encoders are stochastic"
        if self.rao_blackwell:
            estimate = self.hyperprior.updated_by_moments(posterior.mean, posterior.log_variance)
        else:
            estimate = self.hyperprior.updated(posterior.sample(generator))
        self.set_prior(estimate)

    def set_prior(self, estimate: GammaPosterior) -> None:
        """Use this Gamma posterior as the prior from now on."""
        self.prior_a.fill_(estimate.a)
        largest = torch.finfo(self.prior_b.dtype).max  # codes of an axis that drifts may overflow in float32
        self.prior_b.copy_(estimate.b.clamp(max=largest))
        self.prior_variance.copy_(estimate.variance)

    def is_stationary(self, progress: float) -> bool:
        return progress > self.changing_share

    def end_epoch(self, validation: dict[str, float], progress: float) -> None:
        if self.warmup_epochs:
            self.beta.fill_(self._warmed_up(round(progress * self.epochs)))
        if self.target_mse is None or progress > SEARCH_SHARE:
            return
        ratio = math.sqrt(self.target_mse / max(validation["mse"], 1e-12))  # the root damps: the error follows β with a delay
        self.beta.mul_(min(max(ratio, 1 / SEARCH_STEP), SEARCH_STEP)).clamp_(2 * self.mse_floor, self.largest_beta)

    def _warmed_up(self, epoch: int) -> float:
        """β of an epoch, counted from 0."""
        return self.final_beta * min(1.0, (epoch + 1) / (self.warmup_epochs + 1))

    def prior(self) -> GammaPosterior:
        return GammaPosterior(float(self.prior_a), self.prior_b.detach().cpu().double(), self.hyperprior.mean)

    def likelihood_beta(self, validation: Mapping[str, float]) -> float:
        return float(self.beta)

    def summary(self) -> dict[str, float]:
        low, high = clamped_axes(self.prior_variance)
        return {
            "beta": float(self.beta),
            "prior_variance_min": float(self.prior_variance.min()),
            "prior_variance_max": float(self.prior_variance.max()),
            "prior_clamped_low": float(low),
            "prior_clamped_high": float(high),
        }
