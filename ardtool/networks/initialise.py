"""Initialisations: the Keras constants of the ARD-VAE authors' code, and TensorFlow's Glorot draws of the rivals' code.

Keras: convolutions He normal, truncated at two standard deviations; dense layers Glorot uniform; biases zero. BatchNorm: momentum 0.99 in
Keras' sense (0.01 in torch's) and eps 1e-3. For transposed convolutions Keras counts the fan-in from the kernel's last axis but one,
which there holds the *output* channels; that is followed. Unlike the authors' code every layer is drawn from the run's seed.

Glorot: Var w = 2 / (fan_in + fan_out), uniform on ±√(6 / (fan_in + fan_out)) or normal, truncated at two standard deviations.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

__all__ = ["ADAM_EPS", "KERAS_EPS", "KERAS_MOMENTUM", "glorot_normal", "glorot_uniform", "initialise_like_keras"]

KERAS_MOMENTUM, KERAS_EPS = 0.01, 1e-3
ADAM_EPS = 1e-7
TRUNCATED_DEVIATION = 0.87962566103423978
WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def initialise_like_keras(network: nn.Module) -> None:
    """Draw every weight of a network anew from torch's current seed."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            channels = module.in_channels if isinstance(module, nn.Conv2d) else module.out_channels
            fan_in = channels * module.kernel_size[0] * module.kernel_size[1]
            _truncated_normal(module.weight, math.sqrt(2 / fan_in))
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def glorot_uniform(network: nn.Module) -> None:
    """TensorFlow's default for every layer, drawn anew from torch's current seed: Glorot uniform weights, zero biases."""
    for module in network.modules():
        if isinstance(module, WEIGHTED):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def glorot_normal(network: nn.Module) -> None:
    """Dense layers with Glorot normal weights and Glorot uniform biases, drawn anew from torch's current seed.

    A layer of TensorFlow 1 that is given no initialiser for its n biases draws them as its default weights, with n for both fans:
    uniformly on ±√(3 / n).
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            _truncated_normal(module.weight, math.sqrt(2 / (module.in_features + module.out_features)))
            limit = math.sqrt(3 / module.out_features)
            nn.init.uniform_(module.bias, -limit, limit)


def _truncated_normal(weight: Tensor, deviation: float) -> None:
    """A normal distribution cut at two standard deviations that has this standard deviation after the cut."""
    uncut = deviation / TRUNCATED_DEVIATION
    nn.init.trunc_normal_(weight, std=uncut, a=-2 * uncut, b=2 * uncut)
