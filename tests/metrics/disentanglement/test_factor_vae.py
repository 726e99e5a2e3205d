"""The FactorVAE metric: perfect, permuted, constant, doubled and single axes, what makes an axis active, and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ardtool.metrics.disentanglement.factor_vae import FactorVae, factor_vae
from ardtool.metrics.disentanglement.table import FactorTable

FEW = {"train_votes": 1000, "test_votes": 500, "variance_samples": 2000}
SIZES = (4, 3, 5)


def test_a_perfect_code_gives_1(perfect, seeded):
    found = factor_vae(perfect(*SIZES), generator=seeded(), **FEW)
    assert found.value == found.train_accuracy == 1
    assert found.active.tolist() == [True, True, True]
    assert int(found.votes.sum()) == 1000 and torch.equal(found.votes, found.votes.diagonal().diag())


def test_a_constant_factor_costs_nothing(values, seeded):
    """Held as a sixth factor it would leave a sixth of the votes to chance."""
    table = FactorTable.of_grid((1, *SIZES), values(*SIZES))
    assert factor_vae(table, generator=seeded(), **FEW).value == 1


def test_order_sign_and_scale_of_axes_do_not_matter(mixed, seeded):
    expected = factor_vae(mixed, generator=seeded(), **FEW)
    codes = mixed.codes_of(torch.arange(len(mixed)))
    order = [3, 1, 4, 0, 2]
    changed = FactorTable.of_samples(mixed.factors, (codes * torch.tensor([2.0, -4.0, 0.5, 1.0, -8.0]))[:, order])
    found = factor_vae(changed, generator=seeded(), **FEW)
    assert 0.5 < expected.value < 1
    assert found.value == expected.value
    assert torch.equal(found.votes, expected.votes[order])


def test_codes_that_say_nothing_give_0(perfect, seeded):
    constant = FactorTable.of_grid(SIZES, torch.full((60, 4), 0.7))
    for table, threshold in ((constant, 0.05), (constant, 0.0), (perfect(*SIZES).on([]), 0.0)):
        found = factor_vae(table, generator=seeded(), threshold=threshold, **FEW)
        assert found.value == found.train_accuracy == 0
        assert not found.active.any() and not found.votes.any()


def test_doubled_axes_cost_nothing(values, seeded):
    known = values(*SIZES)
    assert factor_vae(FactorTable.of_grid(SIZES, torch.cat([known, known], dim=1)), generator=seeded(), **FEW).value == 1


def test_a_single_axis_gets_the_largest_share_of_votes(perfect, seeded):
    found = factor_vae(perfect(*SIZES).on([1]), generator=seeded(), **FEW)
    assert found.train_accuracy == found.votes.max() / 1000
    assert found.value == pytest.approx(1 / 3, abs=5 * (2 / 9 / 500) ** 0.5)


def test_noise_is_at_chance(seeded):
    noise = FactorTable.of_grid(SIZES * 2, torch.randn(3600, 6, generator=seeded(1)))
    assert factor_vae(noise, generator=seeded()).value == pytest.approx(1 / 6, abs=5 * (5 / 36 / 5000) ** 0.5)


def test_the_threshold_is_a_standard_deviation(values, seeded):
    scaled = values(*SIZES) * torch.tensor([1.0, 0.06, 0.04])
    table = FactorTable.of_grid(SIZES, scaled)
    found = factor_vae(table, generator=seeded(), **FEW)
    assert found.active.tolist() == [True, True, False]
    torch.testing.assert_close(found.std, torch.tensor([1, 0.06, 0.04], dtype=torch.float64), rtol=0.1, atol=0)
    assert found.value < 0.75  # two thirds, and what chance gives of the last
    assert factor_vae(table, generator=seeded(), threshold=0, **FEW).value == 1


def test_a_scale_tells_small_axes_from_dead_ones(values, seeded):
    """The last axis has the prior's scale 1 and hardly any signal; all others carry all of theirs in 0.01."""
    noise = torch.randn(60, 1, generator=seeded(1), dtype=torch.float64)
    table = FactorTable.of_grid(SIZES, torch.cat([0.01 * values(*SIZES), 0.02 * noise], dim=1))
    assert factor_vae(table, generator=seeded(), **FEW).value == 0
    found = factor_vae(table, generator=seeded(), scale=torch.tensor([0.01, 0.01, 0.01, 1.0]), **FEW)
    assert found.active.tolist() == [True, True, True, False]
    assert found.value == 1


def test_a_seed_repeats_the_result(mixed, seeded):
    assert factor_vae(mixed, generator=seeded(3), **FEW).value == factor_vae(mixed, generator=seeded(3), **FEW).value


def test_a_table_with_bins_is_measured_too(seeded):
    factors = torch.rand(2000, 4, generator=seeded(1))
    found = factor_vae(FactorTable.of_samples(factors, 3 * factors), generator=seeded(), **FEW)
    assert found.value == 1
    assert found.variance_samples == 2000


def in_loops(codes: np.ndarray, factor: np.ndarray, observed: np.ndarray, rows: np.ndarray, train: int) -> tuple[float, float]:
    """The protocol vote by vote: test and training accuracy."""
    variances = [np.var(codes[observed, axis], ddof=1) for axis in range(codes.shape[1])]
    active = [axis for axis, variance in enumerate(variances) if np.sqrt(variance) >= 0.05]
    table = np.zeros((len(active), factor.max() + 1))
    votes = []
    for k, group in zip(factor, rows, strict=True):
        ratios = [np.var(codes[group, axis], ddof=1) / variances[axis] for axis in active]
        votes.append((int(np.argmin(ratios)), k))
    for axis, k in votes[:train]:
        table[axis, k] += 1
    right = [np.argmax(table[axis]) == k for axis, k in votes]
    return float(np.mean(right[train:])), float(np.mean(right[:train]))


def test_agrees_with_loops(mixed, seeded):
    found: FactorVae = factor_vae(mixed, generator=seeded(), **FEW)
    generator = seeded()
    (observed,) = mixed.draw(2000, generator=generator)
    factor = torch.randint(3, (1500,), generator=generator)
    rows = mixed.draw_sharing(factor, 64, generator=generator)
    codes = mixed.codes_of(torch.arange(len(mixed))).double().numpy()
    assert (found.value, found.train_accuracy) == in_loops(codes, factor.numpy(), observed.numpy(), rows.numpy(), 1000)
