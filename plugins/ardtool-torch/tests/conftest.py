"""A small autoencoder in a script, and exported."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

NET = """
import torch
from torch import nn

INPUT_SHAPE = 6
LATENT_SHAPE = 4


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoding = nn.Linear(6, 8)
        self.first = nn.Linear(4, 12)
        self.second = nn.Linear(12, 6)

    def encode(self, x):
        return self.encoding(x).chunk(2, dim=1)

    def decode(self, z):
        return self.second(torch.tanh(self.first(z)))


def build():
    return Net()
"""


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Writes net.py, and the weights of its module beside it; gives the script's path."""

    def make(source: str = NET, weights: str | None = "net.pt", wrap: Callable[[dict[str, Any]], Any] = lambda state: state) -> Path:
        path = tmp_path / "net.py"
        path.write_text(source)
        if weights is not None:
            names: dict[str, Any] = {}
            exec(source, names)
            torch.manual_seed(0)
            torch.save(wrap(names["build"]().state_dict()), tmp_path / weights)
        return path

    return make


class Canary:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def canary(tmp_path) -> Canary:
    return Canary(tmp_path / "executed")


class Halves(nn.Module):
    """A decoder or an encoder with the shapes asked for."""

    def __init__(self, inputs: int, outputs: int, chunks: int = 1) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, 12)
        self.second = nn.Linear(12, outputs)
        self.chunks = chunks

    def forward(self, value: torch.Tensor) -> Any:
        found = self.second(torch.tanh(self.first(value)))
        return found if self.chunks == 1 else found.chunk(self.chunks, dim=1)


@pytest.fixture
def export(tmp_path) -> Callable[..., nn.Module]:
    """Exports a module's half to a .pt2 file under tmp_path and gives the module."""

    def make(name: str, inputs: int, outputs: int, chunks: int = 1, batch: Any = None, kill: int | None = None) -> nn.Module:
        torch.manual_seed(0)
        module = Halves(inputs, outputs, chunks).eval()
        if kill is not None:
            with torch.no_grad():
                module.first.weight[:, kill] = 0
        shapes = None if batch is None else ({0: batch},)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        torch.export.save(torch.export.export(module, (torch.randn(2, inputs),), dynamic_shapes=shapes), tmp_path / name)
        return module

    return make


@pytest.fixture
def net_source() -> str:
    return NET
