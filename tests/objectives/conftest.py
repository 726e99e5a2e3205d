"""A small network and a batch for all objectives."""

import pytest
import torch

from ardtool.networks.build import NetworkAutoencoder, architecture_record, build_network


@pytest.fixture
def model() -> NetworkAutoencoder:
    return build_network(architecture_record("auto", (1, 8, 8), 3, value_range=(0.0, 1.0)), 0)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def terms(model, x):
    """The terms of an objective on that batch, with the same noise every time."""
    return lambda objective: objective.losses(model, x, torch.Generator().manual_seed(0))
