"""Tables of codes whose verdict is known, and of codes that no metric finds easy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ardtool.metrics.disentanglement.table import FactorTable

Seeded = Callable[..., torch.Generator]


@pytest.fixture
def seeded() -> Seeded:
    return lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture
def values() -> Callable[..., torch.Tensor]:
    """All combinations of factors, standardised, with shape (N, K)."""

    def make(*sizes: int) -> torch.Tensor:
        factors = torch.cartesian_prod(*map(torch.arange, sizes)).double()
        return (factors - factors.mean(dim=0)) / factors.std(dim=0, correction=0)

    return make


@pytest.fixture
def perfect(values: Callable[..., torch.Tensor]) -> Callable[..., FactorTable]:
    """A grid whose codes are its factors."""
    return lambda *sizes: FactorTable.of_grid(sizes, values(*sizes))


@pytest.fixture
def mixed(values: Callable[..., torch.Tensor], seeded: Seeded) -> FactorTable:
    """Factors of 4, 3 and 5 values behind five axes: one clean, one bent, one mixed, one noisy, and noise."""
    known, noise = values(4, 3, 5, 40)[:, :3], torch.randn(2400, 5, generator=seeded(1), dtype=torch.float64)
    mixed = torch.stack([known[:, 0], known[:, 1] ** 3, known[:, 1] + 0.6 * known[:, 2], known[:, 2], torch.zeros(2400)], dim=1)
    factors = torch.cartesian_prod(*map(torch.arange, (4, 3, 5, 40)))[:, :3]
    return FactorTable.of_samples(factors, mixed + torch.tensor([0.05, 1.0, 0.5, 2.0, 1.0]) * noise)
