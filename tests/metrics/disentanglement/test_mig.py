"""MIG: perfect, doubled, single, dead and noisy axes, the ceiling of 20 bins, and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ardtool.metrics.disentanglement.mig import mig, mutual_information_gaps
from ardtool.metrics.disentanglement.table import FactorTable

SIZES = (3, 10, 20)


def test_a_perfect_code_gives_1_up_to_the_bias_of_independent_axes(perfect, seeded):
    """The second best axis is independent and shows about (V − 1)(V' − 1)/2N nats instead of 0."""
    found = mig(perfect(*SIZES), generator=seeded())
    bias = torch.tensor([2 * 19, 9 * 19, 19 * 9]) / 20_000 / torch.tensor(SIZES).log()
    torch.testing.assert_close(found.gaps, (1 - bias).double(), rtol=0, atol=float(bias.max()))
    assert found.value == found.gaps.mean()
    torch.testing.assert_close(found.information.diagonal(), found.entropies)


def test_twenty_bins_hold_40_values_in_pairs_and_some_of_32(perfect, seeded):
    """ln 20 of ln 40 nats are left; of 32 values in bins of width 31/20, twelve pairs share one: ln 32 − 24/32 ln 2."""
    found = mig(perfect(40, 32).on([0]), generator=seeded())
    assert float(found.gaps[0]) == pytest.approx(math.log(20) / math.log(40), abs=0.005)
    found = mig(perfect(40, 32).on([1]), generator=seeded())
    assert float(found.gaps[1]) == pytest.approx(1 - 24 / 32 * math.log(2) / math.log(32), abs=0.005)


def test_doubled_axes_leave_no_gap(values, seeded):
    known = values(*SIZES)
    found = mig(FactorTable.of_grid(SIZES, torch.cat([known, known], dim=1)), generator=seeded())
    assert found.value == pytest.approx(0, abs=1e-12)


def test_noise_leaves_no_gap(seeded):
    noise = FactorTable.of_grid((3, 10, 20, 100), torch.randn(60_000, 6, generator=seeded(1)))
    assert mig(noise, generator=seeded()).value < 0.01


def test_a_single_axis_is_compared_with_a_dead_one(values, seeded):
    known = values(*SIZES)
    single = mig(FactorTable.of_grid(SIZES, known[:, :1]), generator=seeded())
    beside = mig(FactorTable.of_grid(SIZES, torch.cat([known[:, :1], torch.ones(600, 1)], dim=1)), generator=seeded())
    torch.testing.assert_close(single.gaps, beside.gaps)
    assert float(single.gaps[0]) == pytest.approx(1)


def test_codes_that_say_nothing_give_0(perfect, seeded):
    for table in (perfect(*SIZES).on([]), FactorTable.of_grid(SIZES, torch.full((600, 2), 0.3))):
        assert mig(table, generator=seeded()).value == pytest.approx(0, abs=1e-12)


def test_order_sign_offset_and_scale_of_axes_do_not_matter(mixed, seeded):
    expected = mig(mixed, generator=seeded())
    codes = mixed.codes_of(torch.arange(len(mixed)))
    changed = FactorTable.of_samples(mixed.factors, (codes * torch.tensor([2.0, -4.0, 0.5, 1.0, -8.0]) + 1)[:, [3, 1, 4, 0, 2]])
    found = mig(changed, generator=seeded())
    assert 0.1 < expected.value < 0.9
    torch.testing.assert_close(found.gaps, expected.gaps, rtol=0.005, atol=0)  # the offset rounds: a code on an edge may change its bin
    assert mig(mixed, generator=seeded()).value == expected.value


def test_gaps_of_a_matrix():
    information = torch.tensor([[1.0, 0.2], [0.25, 0.6], [0.5, 0.1]])
    torch.testing.assert_close(mutual_information_gaps(information, torch.tensor([2.0, 1.0])), torch.tensor([0.25, 0.4]))


def in_loops(codes: np.ndarray, factors: np.ndarray) -> float:
    """The protocol axis by axis, with entropies from counts: I = H(bin) + H(value) − H(bin, value)."""

    def entropy(labels: list) -> float:
        shares = np.array([labels.count(label) for label in set(labels)]) / len(labels)
        return float(-(shares * np.log(shares)).sum())

    gaps = []
    for k in range(factors.shape[1]):
        value = factors[:, k].tolist()
        known = []
        for axis in range(codes.shape[1]):
            edges = np.histogram(codes[:, axis], 20)[1]
            bins = np.digitize(codes[:, axis], edges[:-1]).tolist()
            known.append(entropy(bins) + entropy(value) - entropy(list(zip(bins, value, strict=True))))
        known.sort()
        gaps.append((known[-1] - known[-2]) / entropy(value))
    return float(np.mean(gaps))


def test_agrees_with_loops(mixed, seeded):
    found = mig(mixed, generator=seeded(), samples=1500)
    (rows,) = mixed.draw(1500, generator=seeded())
    assert found.samples == 1500
    assert found.value == pytest.approx(in_loops(mixed.codes_of(rows).double().numpy(), mixed.factors[rows].numpy()), abs=1e-9)
