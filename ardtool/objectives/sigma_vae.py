r"""σ-VAE: a VAE whose decoder learns its own noise, so that no weight is chosen.

    loss = ⟨rec⟩ + ⟨KL⟩,   rec = Σ_d (x − x̂)² / 2σ² + D log σ + D/2 log 2π         minimised; all terms in nats, rec may be negative
    shared     log σ is one parameter of the network, 0 at first
    optimal    σ² = mean over the batch and all outputs of (x − x̂)², whose gradient vanishes by the envelope theorem
    log σ      ← floor + softplus(log σ − floor), the floor one grey level of 8-bit images

It is a β-VAE on summed squared errors with β = 2 σ².

Source: Rybkin, Daniilidis, Levine, arXiv 2006.13202.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..networks.build import NetworkAutoencoder
from .objective import Objective, Setup, option, reconstruction_error
from .vae import kl_to_standard

__all__ = ["SigmaVae", "gaussian_nll"]


@dataclass(frozen=True)
class Options:
    """Options of the σ-VAE."""

    variance: Literal["optimal", "shared"] = option("optimal", "σ of each batch in closed form (optimal), or a learned one (shared).")


class SigmaVae(Objective):
    """The σ-VAE objective.

    Arguments:
        outputs: D.
        floor: smallest σ, in the data's units.
        variance: `optimal` or `shared`.
    """

    summary_line = "VAE with a calibrated decoder"
    paper = "Rybkin et al., arXiv 2006.13202"
    prefix = "sigma"
    Options = Options

    def __init__(self, outputs: int, *, floor: float, variance: str = "optimal") -> None:
        super().__init__()
        self.outputs, self.floor, self.variance = outputs, math.log(floor), variance
        self.log_sigma = nn.Parameter(torch.zeros(()), requires_grad=variance == "shared")

    @classmethod
    def made_for(cls, setup: Setup) -> SigmaVae:
        return cls(setup.outputs, floor=math.sqrt(setup.mse_floor), variance=setup.options.variance)

    def optimisers(self, model: NetworkAutoencoder, lr: float, **options: Any) -> list[torch.optim.Optimizer]:
        own = [value for value in self.parameters() if value.requires_grad]
        return [torch.optim.Adam([*model.parameters(), *own], lr=lr, **options)]

    def losses(self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        posterior = model.encode(x)
        error, mse = reconstruction_error(model, posterior.sample(generator), x, "gaussian")
        shared = self.variance == "shared"
        free = self.log_sigma if shared else 0.5 * (self.batch.mean(error) / self.outputs).clamp(min=1e-30).log()
        log_sigma = self.floor + nn.functional.softplus(free - self.floor)
        reconstruction = gaussian_nll(error, log_sigma, self.outputs)
        kl = kl_to_standard(posterior).sum() / len(x)
        return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl, "sigma": log_sigma.exp(), "mse": mse}

    def likelihood_beta(self, validation: Mapping[str, float]) -> float:
        return 2 * validation["sigma"] ** 2


def gaussian_nll(error: Tensor, log_sigma: Tensor, outputs: int) -> Tensor:
    """Negative log-likelihood in nats of D outputs with summed squared error `error` under N(x̂, σ²)."""
    return 0.5 * error * torch.exp(-2 * log_sigma) + outputs * (log_sigma + 0.5 * math.log(2 * math.pi))
