"""Penalties that keep a decoder smooth: the norm of its kernels, and that of its Jacobian."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..networks.build import NetworkAutoencoder

__all__ = ["decoded_with_penalty", "jacobian_penalty", "kernel_norm", "weighted_layers"]


def kernel_norm(model: NetworkAutoencoder) -> Tensor:
    """Σ w² over the kernels of the decoder's (transposed) convolutions, or of its dense layers where it has none; no biases."""
    layers = list(weighted_layers(model))
    kernels = [layer.weight for layer in layers if not isinstance(layer, nn.Linear)] or [layer.weight for layer in layers]
    return torch.stack([kernel.square().sum() for kernel in kernels]).sum()


def jacobian_penalty(decoded: Tensor, z: Tensor, form: str, generator: torch.Generator) -> Tensor:
    """The gradient penalty on the decoder, a scalar ≥ 0, differentiable.

    Arguments:
        decoded: outputs (N, ...) that depend on the codes.
        z: codes (N, L) that require a gradient.
        form: `squared-output`: mean over samples and axes of (∂ Σ_d x̂_d² / ∂z_l)²; `hutchinson`: mean over samples of ‖Jᵀ r‖².
        generator: source of r.
    """
    if form == "hutchinson":
        probes = torch.randn(decoded.shape, generator=generator, device=decoded.device, dtype=decoded.dtype)
        (pulled,) = torch.autograd.grad(decoded, z, probes, create_graph=True)
        return pulled.square().sum(dim=1).mean()
    (pulled,) = torch.autograd.grad(decoded.square().sum(), z, create_graph=True)
    return pulled.square().mean()


def decoded_with_penalty(model: NetworkAutoencoder, z: Tensor, form: str, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, their reconstructions, and the penalty; in validation, where no graph is kept, too."""
    keeps = torch.is_grad_enabled()
    with torch.enable_grad():
        codes = z if z.requires_grad else z.detach().requires_grad_()
        decoded = model.decode(codes)
        penalty = jacobian_penalty(decoded, codes, form, generator)
    return (codes, decoded, penalty) if keeps else (codes.detach(), decoded.detach(), penalty.detach())


def weighted_layers(model: NetworkAutoencoder) -> Iterator[nn.Linear | nn.Conv2d | nn.ConvTranspose2d]:
    """The decoder's layers with weights."""
    return (layer for layer in model.decoder.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d))
