"""Folders that pythae itself wrote."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pythae.models
import torch
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import nn

LATENT_DIM = 3


class OwnEncoder(BaseEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_variance = nn.Linear(36, LATENT_DIM), nn.Linear(36, LATENT_DIM)

    def forward(self, x: torch.Tensor) -> Any:
        return ModelOutput(embedding=self.mean(x.flatten(1)), log_covariance=self.log_variance(x.flatten(1)))


class OwnDecoder(BaseDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(LATENT_DIM, 36)

    def forward(self, z: torch.Tensor) -> Any:
        return ModelOutput(reconstruction=torch.sigmoid(self.layer(z)).reshape(-1, 1, 6, 6))


@pytest.fixture
def save(tmp_path) -> Callable[..., Path]:
    """Saves a model of a class of pythae, with its own networks or with ours; gives the folder."""

    def make(name: str = "VAE", own: bool = False, change: Callable[[Any], None] | None = None, **settings: Any) -> Path:
        torch.manual_seed(0)
        config_name = next(each for each in (f"{name}Config", f"{name}_Config") if hasattr(pythae.models, each))
        size = 32 if name == "MSSSIM_VAE" else 6
        config = getattr(pythae.models, config_name)(input_dim=(1, size, size), latent_dim=LATENT_DIM, **settings)
        networks = {"encoder": OwnEncoder(), "decoder": OwnDecoder()} if own else {}
        model = getattr(pythae.models, name)(config, **networks)
        if change is not None:
            with torch.no_grad():
                change(model)
        model.save(str(tmp_path / "model"))
        return tmp_path / "model"

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
