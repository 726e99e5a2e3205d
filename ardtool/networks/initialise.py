"""The Keras constants of the authors' code: initialisation and BatchNorm.

Convolutions: He normal, truncated at two standard deviations; dense layers: Glorot uniform; biases zero. BatchNorm: momentum 0.99 in
Keras' sense (0.01 in torch's) and eps 1e-3. For transposed convolutions Keras counts the fan-in from the kernel's last axis but one,
which there holds the *output* channels; that is followed. Unlike the authors' code every layer is drawn from the run's seed.
"""

from __future__ import annotations

import math

from torch import nn

__all__ = ["ADAM_EPS", "KERAS_EPS", "KERAS_MOMENTUM", "initialise_like_keras"]

KERAS_MOMENTUM, KERAS_EPS = 0.01, 1e-3
ADAM_EPS = 1e-7
TRUNCATED_DEVIATION = 0.87962566103423978


def initialise_like_keras(network: nn.Module) -> None:
    """Draw every weight of a network anew from torch's current seed."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            channels = module.in_channels if isinstance(module, nn.Conv2d) else module.out_channels
            fan_in = channels * module.kernel_size[0] * module.kernel_size[1]
            deviation = math.sqrt(2 / fan_in) / TRUNCATED_DEVIATION
            nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
