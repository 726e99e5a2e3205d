"""A code that equals the factors of dSprites: what the metrics give at best on that grid."""

from __future__ import annotations

import pytest
import torch

from ardtool.metrics.disentanglement.dci import dci
from ardtool.metrics.disentanglement.encoded import EncodedOnce
from ardtool.metrics.disentanglement.factor_vae import factor_vae
from ardtool.metrics.disentanglement.mig import mig
from ardtool.metrics.disentanglement.table import FactorTable

SIZES = (1, 3, 6, 40, 32, 32)  # colour does not vary


@pytest.fixture(scope="module")
def codes() -> EncodedOnce:
    factors = torch.cartesian_prod(*map(torch.arange, SIZES)).float()[:, 1:]
    standardised = (factors - factors.mean(dim=0)) / factors.std(dim=0)
    return EncodedOnce(len(factors), lambda index: standardised[index])


@pytest.fixture(scope="module")
def table(codes: EncodedOnce) -> FactorTable:
    return FactorTable.of_grid(SIZES, codes)


def test_few_of_the_codes_are_needed(table, codes, seeded):
    found = mig(table, generator=seeded())
    assert found.value == pytest.approx(0.90, abs=0.01)
    assert codes.encoded <= 10_000


def test_trees_find_each_factor_on_its_axis(table, seeded):
    found = dci(table, generator=seeded(), train_samples=1500, test_samples=500, trees=5)
    assert (found.disentanglement, found.completeness) == pytest.approx((1, 1), abs=0.02)


def test_the_axis_of_a_factor_varies_least_where_it_is_held(table, seeded):
    assert factor_vae(table, generator=seeded()).value == 1
