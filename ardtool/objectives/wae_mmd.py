r"""WAE-MMD: a deterministic autoencoder whose codes are matched to N(0, I) by their maximum mean discrepancy.

    loss = ρ ⟨Σ_d (x − x̂)²⟩ + λ MMD          minimised; ρ = 0.05, λ is called β in supp. Table 6
    MMD  = Σ_{i≠j} [k(z_i, z_j) + k(z'_i, z'_j)] / (n (n − 1)) − 2 Σ_{i,j} k(z_i, z'_j) / n²       unbiased, so it may be negative
    k    = Σ_c C / (C + ‖a − b‖²),  C = 2 L c,  c ∈ {0.1, 0.2, 0.5, 1, 2, 5, 10}                    inverse multiquadratics
    z'   ~ N(0, I), as many as the batch has, drawn for each step

`reconstruction` is the summed squared error before ρ, `mmd` has no unit.

Source: Tolstikhin et al., "Wasserstein auto-encoders", arXiv 1711.01558, and their code's constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from ..networks.build import NetworkAutoencoder
from .objective import Objective, Setup, option, reconstruction_error

__all__ = ["WaeMmd", "kernel", "maximum_mean_discrepancy"]

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
TABLE_6 = {"mnist": 10.0, "celeba": 100.0, "cifar10": 100.0, "imagenet32": 100.0, "": 10.0}


@dataclass(frozen=True)
class Options:
    """Options of the WAE."""

    weight: float = option(10.0, "Weight λ of the discrepancy.", low=0)
    reconstruction: float = option(0.05, "Weight ρ of the summed squared error.", low=0)


class WaeMmd(Objective):
    """The WAE-MMD objective.

    Arguments:
        weight: λ.
        reconstruction: ρ.
    """

    summary_line = "deterministic autoencoder whose codes are matched to N(0, I) by MMD"
    paper = "Tolstikhin et al., arXiv 1711.01558"
    prefix = "wae"
    Options = Options
    table = MappingProxyType({name: {"weight": weight} for name, weight in TABLE_6.items()})
    stochastic = False
    fewest_samples = 2

    def __init__(self, *, weight: float, reconstruction: float = 0.05) -> None:
        super().__init__()
        self.weight, self.reconstruction = weight, reconstruction

    @classmethod
    def made_for(cls, setup: Setup) -> WaeMmd:
        return cls(weight=setup.options.weight, reconstruction=setup.options.reconstruction)

    def losses(self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        z = model.encode(x).mean
        error, mse = reconstruction_error(model, z, x, "gaussian")
        prior = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
        discrepancy = maximum_mean_discrepancy(self.batch.rows(z), self.batch.rows(prior))
        loss = self.reconstruction * error + self.weight * discrepancy
        return {"loss": loss, "reconstruction": error, "mmd": discrepancy, "mse": mse}


def kernel(first: Tensor, second: Tensor) -> Tensor:
    """k with shape (N, M) between points (N, L) and (M, L), in (0, 7]."""
    squares = first.square().sum(dim=1)[:, None] + second.square().sum(dim=1) - 2 * first @ second.T
    distances = squares.clamp(min=0)
    constants = [2 * first.shape[1] * scale for scale in SCALES]
    return torch.stack([constant / (constant + distances) for constant in constants]).sum(dim=0)


def maximum_mean_discrepancy(z: Tensor, prior: Tensor) -> Tensor:
    """The U-statistic between two sets of n ≥ 2 points with shape (n, L), a scalar."""
    n = len(z)
    others = ~torch.eye(n, dtype=torch.bool, device=z.device)
    within = (kernel(z, z) + kernel(prior, prior)) * others
    return within.sum() / (n * (n - 1)) - 2 * kernel(z, prior).sum() / n**2
