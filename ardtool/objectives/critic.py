"""What adversarial methods share: critics of codes, their gradient penalty, and draws from the prior they compare with."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["critic_network", "gradient_penalty", "standard_normal_like"]

HIDDEN_LAYERS = 4


def critic_network(latent_dim: int, units: int) -> nn.Sequential:
    """A dense network of four hidden layers with ReLU from codes (N, L) to one number each, (N, 1)."""
    widths = [latent_dim, *[units] * HIDDEN_LAYERS]
    layers = [layer for inputs, outputs in pairwise(widths) for layer in (nn.Linear(inputs, outputs), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(units, 1))


def gradient_penalty(critic: nn.Module, codes: Tensor, prior: Tensor, shares: Tensor) -> Tensor:
    """⟨(‖∇T‖ − 1)²⟩, a scalar ≥ 0, at prior + shares (codes − prior), for codes and prior of shape (N, L) and shares of shape (N, 1).

    Source: Gulrajani et al., arXiv 1704.00028, Eq. 3, without its weight.
    """
    with torch.enable_grad():
        between = (prior + shares * (codes - prior)).requires_grad_()
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        return (torch.linalg.vector_norm(slope, dim=1) - 1).square().mean()


def standard_normal_like(z: Tensor, generator: torch.Generator) -> Tensor:
    """As many draws from N(0, I) as there are codes."""
    return torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
