"""What generated photographs are compared by where there is no Inception network: 128 features of a random convolutional network.

Random weights from a fixed seed; nothing is trained. (Random networks as features: Naeem et al., arXiv 2002.09797.) Distances by it are
called `fd[…]` and compare with each other only.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["features"]

WIDTHS, SEED = (3, 32, 64, 128), 0


def features(images: Tensor) -> Tensor:
    """Bytes (B, 3, 32, 32) to (B, 128)."""
    with torch.no_grad():
        return network().to(images.device)(2 * images.float() / 255 - 1).mean(dim=(2, 3))


@cache
def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(WIDTHS):
            convolution = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
            nn.init.kaiming_normal_(convolution.weight)
            layers += [convolution, nn.ReLU()]
    return nn.Sequential(*layers).eval()
