"""Gates and masks on latent axes: the gradient of Bernoulli gates, and scales folded into a decoder."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..networks.build import NetworkAutoencoder

__all__ = ["arm_gradient", "fold_scale"]


def arm_gradient(first: Tensor, second: Tensor, draws: Tensor, sharpness: float) -> Tensor:
    """The ARM estimate of ∂ E F / ∂γ with shape (L,).

    Arguments:
        first, second: F at gates 1[u > σ(−kγ)] and at 1[u < σ(kγ)], with shape (R,).
        draws: u with shape (R, L).
        sharpness: k.
    """
    return (sharpness * (first - second)[:, None] * (draws - 0.5)).mean(dim=0)


def fold_scale(model: NetworkAutoencoder, scale: Tensor) -> NetworkAutoencoder:
    """A copy of the network that decodes z as this one decodes scale ⊙ z, with scale of shape (L,)."""
    folded = copy.deepcopy(model)
    first = folded.decoder[0]
    assert isinstance(first, nn.Linear), "decoders start with a dense layer"
    with torch.no_grad():
        first.weight.mul_(scale)
    return folded
