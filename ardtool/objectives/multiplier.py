r"""The multiplier λ of a constraint C ≤ 0, ascending with a moving average m of C.

    softplus      λ = softplus(ρ)², and ρ follows the gradient −m ∂λ/∂ρ by its optimiser
    exponential   λ ← λ e^{η m}

Both stay in [0, λ_max]. Source: Rezende, Viola, arXiv 1810.00597; the first form and its bounds from the Ghent group's published classes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Multiplier"]

MEMORY = 0.99
FIRST_RHO = math.log(math.e - 1)  # softplus(ρ)² = 1: both kinds start at λ = 1


class Multiplier(nn.Module):
    """λ with its average m.

    Arguments:
        kind: `softplus` or `exponential`.
        rate: η of the exponential kind.
        largest: λ_max.
    """

    def __init__(self, kind: Literal["softplus", "exponential"], rate: float, largest: float) -> None:
        super().__init__()
        self.kind, self.rate, self.largest = kind, rate, largest
        self.rho = nn.Parameter(torch.tensor(0.0 if kind == "exponential" else FIRST_RHO))
        self.moving: Tensor
        self.steps: Tensor
        self.register_buffer("moving", torch.zeros(()))
        self.register_buffer("steps", torch.zeros(()))

    @property
    def value(self) -> Tensor:
        """λ, a scalar in [0, λ_max], without a gradient."""
        free = self.rho.exp() if self.kind == "exponential" else nn.functional.softplus(self.rho).square()
        return free.detach().clamp(max=self.largest)

    @torch.no_grad()
    def push(self, constraint: Tensor) -> None:
        """Take up C of a batch: set the gradient of ρ (softplus) or ρ itself (exponential); nothing pushes λ beyond its bound."""
        self.moving.copy_(torch.where(self.steps > 0, MEMORY * self.moving + (1 - MEMORY) * constraint, constraint))
        self.steps += 1
        leaves = (self.value >= self.largest) & (self.moving > 0)
        if self.kind == "exponential":
            self.rho += torch.where(leaves, 0.0, self.rate * self.moving)
            self.rho.clamp_(max=math.log(max(self.largest, 1e-30)))
            return
        slope = 2 * nn.functional.softplus(self.rho) * torch.sigmoid(self.rho)
        self.rho.grad = torch.where(leaves, 0.0, -self.moving * slope)
