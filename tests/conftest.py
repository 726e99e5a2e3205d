"""Fixtures for all tests: a fixed seed, and the real data where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real MNIST and CIFAR-10 files: $ARDTOOL_TEST_DATA, else ../shared/data beside the checkout."""
    folder = Path(os.environ.get("ARDTOOL_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set ARDTOOL_TEST_DATA")
    return folder
