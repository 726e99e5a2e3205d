"""The β-VAE metric: perfect, constant and small axes, and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ardtool.metrics.disentanglement.beta_vae import beta_vae
from ardtool.metrics.disentanglement.table import FactorTable

FEW = {"train_votes": 1000, "test_votes": 500}
SIZES = (4, 3, 5)


def test_a_perfect_code_gives_1(perfect, seeded):
    found = beta_vae(perfect(*SIZES), generator=seeded(), **FEW)
    assert found.value == found.train_accuracy == found.standardised == found.standardised_train_accuracy == 1
    assert found.converged and found.standardised_converged


def test_codes_that_say_nothing_are_at_chance(perfect, seeded):
    """The regression then names the factor of most votes; factors are equally frequent, so this is 1/K."""
    for table in (perfect(*SIZES).on([]), FactorTable.of_grid(SIZES, torch.full((60, 2), 0.3))):
        found = beta_vae(table, generator=seeded(), train_votes=3000, test_votes=3000, batch=2)
        most = torch.bincount(torch.randint(3, (6000,), generator=seeded())[:3000]).max() / 3000
        assert found.train_accuracy == pytest.approx(float(most))
        assert found.value == found.standardised == pytest.approx(1 / 3, abs=5 * (2 / 9 / 3000) ** 0.5)


def test_small_axes_count_once_they_are_standardised(values, perfect, seeded):
    tiny = beta_vae(FactorTable.of_grid(SIZES, 2**-14 * values(*SIZES)), generator=seeded(), **FEW)
    usual = beta_vae(perfect(*SIZES), generator=seeded(), **FEW)
    assert tiny.value < 0.7
    assert tiny.standardised == usual.standardised == 1


def test_a_dead_axis_is_harmless(values, seeded):
    table = FactorTable.of_grid(SIZES, torch.cat([values(*SIZES), torch.ones(60, 1)], dim=1))
    assert beta_vae(table, generator=seeded(), **FEW).standardised == 1


def test_a_seed_repeats_the_result(mixed, seeded):
    assert beta_vae(mixed, generator=seeded(3), **FEW) == beta_vae(mixed, generator=seeded(3), **FEW)


def test_agrees_with_loops(mixed, seeded):
    found = beta_vae(mixed, generator=seeded(), batch=3, **FEW)
    generator = seeded()
    factor = torch.randint(3, (1500,), generator=generator)
    pairs = mixed.draw_sharing(factor.repeat_interleave(3), 2, generator=generator).tolist()
    codes = mixed.codes_of(torch.arange(len(mixed))).double().numpy()
    features = []
    for vote in range(1500):
        distances = [np.abs(codes[one] - codes[other]) for one, other in pairs[3 * vote : 3 * vote + 3]]
        features.append(sum(distances) / 3)
    regression = LogisticRegression().fit(features[:1000], factor[:1000])
    assert 0.5 < found.value < 1
    assert found.value == pytest.approx(regression.score(features[1000:], factor[1000:]), abs=0.002)  # one vote may lie on the border
