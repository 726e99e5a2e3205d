"""What generated digits are compared by where there is no Inception network: the 84 hidden outputs of a LeNet-5 that reads digits.

It is trained here, on the 60,000 labelled training digits for three epochs from a fixed seed, and kept in the cache. Distances by it are
called `fd[…]` and compare with each other only. Pixels are padded from 28 to 32, as ardtool has them.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["features"]

EPOCHS, BATCH, RATE, SEED = 3, 128, 1e-3, 0


def features(images: Tensor) -> Tensor:
    """Bytes (B, 1, 32, 32) to (B, 84)."""
    network = reader()
    with torch.no_grad():
        return network[:-1](images.to(next(network.parameters()).device).float() / 255)


def lenet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


@cache
def reader() -> nn.Sequential:
    from ardtool.data.cache_file import cache_folder

    path = (cache_folder() or Path.home()) / "paper" / "digit_reader.pt"
    network = lenet()
    if path.exists():
        network.load_state_dict(torch.load(path, weights_only=True))
        return network.eval()
    images, labels = digits(train=True)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(SEED)
        network = lenet()
        optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
        for _ in range(EPOCHS):
            for part in torch.randperm(len(images)).split(BATCH):
                optimiser.zero_grad()
                nn.functional.cross_entropy(network(images[part]), labels[part]).backward()
                optimiser.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    torch.save(network.state_dict(), draft)
    draft.replace(path)
    return network.eval()


def digits(*, train: bool) -> tuple[Tensor, Tensor]:
    """Padded to 32 × 32, in [0, 1], and their labels."""
    from torchvision.datasets import MNIST

    held: Any = MNIST(os.environ["ARDTOOL_DATA"], train=train)
    return nn.functional.pad(held.data[:, None].float() / 255, (2, 2, 2, 2)), held.targets


def accuracy() -> float:
    """Share of the 10,000 test digits that the network reads right."""
    images, labels = digits(train=False)
    with torch.no_grad():
        return float((reader()(images).argmax(dim=1) == labels).float().mean())


if __name__ == "__main__":
    print(f"{100 * accuracy():.2f} % of the test digits are read right")
