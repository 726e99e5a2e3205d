r"""GECO-L0-ARM-VAE: a VAE whose axes have gates, closed as long as the squared error stays below a target.

    L = Σ_l g_l KL_l + ‖g‖₀ + λ C,   C = ⟨Σ_d (x − x̂)²⟩ − τ,   x̂ = Dec(g ⊙ z),   g_l ~ Bernoulli(π_l),  π = σ(k γ)

    λ      softplus(ρ)² in [0, λ_max], ascending with m, the moving average (0.99) of C; or λ ← λ e^{η m}
    γ      by ARM: u ~ U(0, 1)^L, F_A at g = 1[u > σ(−kγ)], F_B at g = 1[u < σ(kγ)]:  ∂/∂γ_l = k (F_A − F_B)(u_l − ½), F = masked KL + λ C
           and, only while C ≤ 0, + k π_l (1 − π_l) from ‖g‖₀. Unbiased; the network's own gradient uses g_B alone
    gates  are open, and not trained, until C < 0 for the first time

`reconstruction` is the summed squared error, `kl` the masked KL in nats, `constraint` C (negative: met), `gates` Σ π. Closed axes feed an
exact 0 to the decoder; in the saved network the gates are folded into the decoder's first layer.

Source: De Boom et al., arXiv 2003.10901, with Rezende, Viola, arXiv 1810.00597 and Li, Ji, arXiv 1904.04432 (L0-ARM); λ's form and bounds
from the Ghent group's published classes. Their script is not public: this is our reading, and initial gates (π = 0.95) are our choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..autoencoder import Posterior
from ..networks.build import NetworkAutoencoder
from .gates import arm_gradient, fold_scale
from .multiplier import Multiplier
from .objective import Objective, OwnCount, Setup, option
from .vae import kl_to_standard

__all__ = ["Geco"]

TABLE_6 = {"mnist": 10.0, "celeba": 300.0, "cifar10": 25.0, "imagenet32": 15.0}
INITIAL_OPEN = 0.95
TARGET_SHARE = 0.1


@dataclass(frozen=True)
class Options:
    """Options of the GECO-L0-ARM-VAE."""

    tau: float | None = option(None, "Target τ of the summed squared error; else a tenth of that of the mean sample.", low=0)
    l0_weight: float = option(1.0, "Weight of the number of open gates.", low=0)
    gates: Literal["batch", "example"] = option("batch", "One draw of gates for a batch, or one for each sample.")
    sharpness: float = option(1.0, "k in π = σ(k γ).", low=0.01, high=100)
    gate_lr: float = option(1e-2, "Learning rate of the gates.", low=0, high=1)
    multiplier: Literal["softplus", "exponential"] = option("softplus", "How λ follows the constraint.")
    multiplier_lr: float = option(1e-3, "Learning rate of λ; η for exponential.", low=0, high=1)
    lambda_max: float = option(20.0, "Largest λ.", low=0)
    kl_norm: Literal["sum", "mean_open"] = option("sum", "Sum the KL over open axes, or take their mean.")


class Geco(Objective):
    """The GECO-L0-ARM-VAE objective with gates γ and the multiplier λ.

    Arguments:
        latent_dim: L.
        tau: τ.
        options: all other options.
    """

    summary_line = "VAE with gates on its axes, closed while the error meets a target"
    paper = "De Boom et al., arXiv 2003.10901"
    prefix = "geco"
    Options = Options
    table = MappingProxyType({name: {"tau": tau} | ({"epochs": 100} if name == "mnist" else {}) for name, tau in TABLE_6.items()})
    plateau = False

    def __init__(self, latent_dim: int, *, tau: float, options: Options | None = None) -> None:
        super().__init__()
        self.options, self.tau = options or Options(), tau
        start = math.log(INITIAL_OPEN / (1 - INITIAL_OPEN)) / self.options.sharpness
        self.gamma = nn.Parameter(torch.full((latent_dim,), start))
        self.multiplier = Multiplier(self.options.multiplier, self.options.multiplier_lr, self.options.lambda_max)
        self.reached: Tensor
        self.register_buffer("reached", torch.zeros(()))  # 1 once the constraint has been met

    @classmethod
    def made_for(cls, setup: Setup) -> Geco:
        tau = setup.options.tau
        return cls(setup.latent_dim, tau=TARGET_SHARE * setup.outputs * setup.data_variance if tau is None else tau, options=setup.options)

    def optimisers(self, model: NetworkAutoencoder, lr: float, **options: Any) -> list[torch.optim.Optimizer]:
        return [
            torch.optim.Adam(model.parameters(), lr=lr, **options),
            torch.optim.Adam([self.gamma], lr=self.options.gate_lr, **options),
            torch.optim.Adam([self.multiplier.rho], lr=self.options.multiplier_lr, **options),
        ]

    @property
    def open_gates(self) -> Tensor:
        """Which gates are open at inference, 0 or 1 with shape (L,): all until the constraint has been met."""
        return torch.where(self.reached > 0, (self.gamma > 0).float(), 1.0).detach()

    def losses(self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        posterior = model.encode(x)
        squared, kl = self._parts(model, x, posterior, posterior.sample(generator), self.open_gates)
        return self._terms(squared, kl)

    def step(
        self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator, optimisers: list[torch.optim.Optimizer]
    ) -> dict[str, Tensor]:
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        posterior = model.encode(x)
        z = posterior.sample(generator)
        rows = len(x) if self.options.gates == "example" else 1
        draws = torch.rand(rows, len(self.gamma), generator=generator, device=x.device)
        with torch.no_grad():
            probability = torch.sigmoid(self.options.sharpness * self.gamma)
            first, second = (torch.where(self.reached > 0, mask.float(), 1.0) for mask in (draws > 1 - probability, draws < probability))
        squared, kl = self._parts(model, x, posterior, z, second)
        terms = self._terms(squared, kl)
        (kl.mean() + self.multiplier.value * squared.mean()).backward()
        with torch.no_grad():
            constraint = self.batch.mean(terms["constraint"].detach())
            self._pull_gates(model, x, posterior, z, draws, first, (squared, kl), constraint)
            self.multiplier.push(constraint)
            self.reached.copy_(torch.maximum(self.reached, (constraint < 0).float()))
        for optimiser in optimisers:
            optimiser.step()
        return {name: value.detach() for name, value in terms.items()}

    def _pull_gates(
        self,
        model: NetworkAutoencoder,
        x: Tensor,
        posterior: Posterior,
        z: Tensor,
        draws: Tensor,
        gates: Tensor,
        second: tuple[Tensor, Tensor],
        constraint: Tensor,
    ) -> None:
        """The gradient of γ, zero until the constraint has been met."""
        first = self._parts(model, x, posterior, z, gates)
        value_first, value_second = (kl + self.multiplier.value * squared for squared, kl in (first, second))
        if self.options.gates == "batch":
            value_first, value_second = value_first.mean()[None], value_second.mean()[None]
        k = self.options.sharpness
        gradient = arm_gradient(value_first, value_second, draws, k)
        probability = torch.sigmoid(k * self.gamma)
        met = (constraint <= 0).float()
        gradient = gradient + met * self.options.l0_weight * k * probability * (1 - probability)
        self.gamma.grad = self.reached * gradient

    def _parts(self, model: NetworkAutoencoder, x: Tensor, posterior: Posterior, z: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Summed squared error and masked KL of every sample, both (N,)."""
        squared = (model.decode(gates * z) - x).square().flatten(1).sum(dim=1)
        kl = (gates * kl_to_standard(posterior)).sum(dim=1)
        if self.options.kl_norm == "mean_open":
            kl = kl / gates.expand(len(x), -1).sum(dim=1).clamp(min=1)
        return squared, kl

    def _terms(self, squared: Tensor, kl: Tensor) -> dict[str, Tensor]:
        constraint = squared.mean() - self.tau
        gates = torch.sigmoid(self.options.sharpness * self.gamma.detach()).sum()
        loss = kl.mean() + self.options.l0_weight * gates + self.multiplier.value * constraint
        mse = squared.detach().mean() / self._outputs
        return {"loss": loss, "reconstruction": squared.mean(), "kl": kl.mean(), "constraint": constraint, "gates": gates, "mse": mse}

    def prepare(self, model: NetworkAutoencoder) -> None:
        self._outputs = math.prod(model.input_shape)

    def finished(self, model: NetworkAutoencoder) -> NetworkAutoencoder:
        return fold_scale(model, self.open_gates)

    def own_count(self) -> OwnCount:
        met = float(self.multiplier.moving) <= 0 and float(self.reached) > 0
        reason = "" if met else f"the squared error is {float(self.multiplier.moving):.3g} above its target {self.tau:.3g}"
        return OwnCount("open gates", self.open_gates.nonzero()[:, 0].tolist(), met, reason)

    def summary(self) -> dict[str, float]:
        average, gates = float(self.multiplier.moving), float(self.open_gates.sum())
        return {"lambda": float(self.multiplier.value), "moving_constraint": average, "open_gates": gates}
