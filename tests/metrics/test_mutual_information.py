"""Mutual information against closed forms: equal, independent, noisy, merged and rescaled codes."""

from __future__ import annotations

import math

import pytest
import torch

from ardtool.metrics.mutual_information import BINS, factor_entropies, mutual_information


def grid(*sizes: int) -> torch.Tensor:
    """Every combination of factor values once, with shape (N, K)."""
    return torch.cartesian_prod(*(torch.arange(size) for size in sizes)).reshape(-1, len(sizes))


def test_codes_equal_to_the_factors_know_all_of_their_own_and_nothing_of_the_others():
    factors = grid(3, 10, 20)
    expected = torch.diag(torch.tensor([3.0, 10.0, 20.0]).double().log())
    torch.testing.assert_close(mutual_information(factors.double(), factors), expected)


def test_a_binary_channel_that_errs():
    """A factor of two values, told wrongly by a quarter of the codes: I = log 2 − H(1/4)."""
    factors = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])[:, None]
    codes = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0])[:, None].float()
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert float(mutual_information(codes, factors)) == pytest.approx(math.log(2) - entropy, abs=1e-12)


def test_twenty_bins_merge_forty_values_in_pairs():
    """Of log 40 nats, log 2 are lost where two values share a bin. Inner edges are multiples of 1.95: no value lies on one."""
    factors = grid(40)
    assert float(mutual_information(factors.double(), factors)) == pytest.approx(math.log(BINS), abs=1e-12)


def test_a_code_on_an_edge_lies_in_the_bin_above_and_the_largest_in_the_last():
    """Codes 0 … 20 have the edges 1 … 19: bins {0}, {1}, …, {18}, {19, 20}."""
    factors = grid(21)
    expected = math.log(21) - 2 / 21 * math.log(2)
    assert float(mutual_information(factors.double(), factors)) == pytest.approx(expected, abs=1e-12)


def test_scale_sign_offset_and_names_of_values_do_not_matter(generator: torch.Generator):
    codes = torch.randn(2000, 3, generator=generator, dtype=torch.float64)
    factors = (2 * codes + torch.randn(2000, 3, generator=generator, dtype=torch.float64)).round().clamp(-3, 3).long()
    expected = mutual_information(codes, factors)
    assert expected.diagonal().min() > 0.5
    torch.testing.assert_close(mutual_information(3 * codes + 7, factors), expected)
    torch.testing.assert_close(mutual_information(-codes, factors), expected)
    torch.testing.assert_close(mutual_information(codes, 5 - 100 * factors), expected)
    torch.testing.assert_close(mutual_information(codes[:, [2, 0, 1]], factors[:, [1, 2, 0]]), expected[[2, 0, 1]][:, [1, 2, 0]])


def test_constant_codes_and_constant_factors_know_nothing():
    factors = torch.tensor([[0, 1], [0, 2], [0, 3]])
    assert mutual_information(torch.full((3, 1), 0.3), factors).tolist() == [[0.0, 0.0]]
    assert mutual_information(torch.rand(3, 1), factors)[0, 0] == 0.0


def test_independent_codes_show_the_bias_of_the_estimate(generator: torch.Generator):
    """(B − 1)(V − 1)/(2N) on average; 19 · 4 / 20,000 = 0.0038 for uniform codes."""
    codes = torch.rand(10_000, 50, generator=generator)
    factors = torch.randint(5, (10_000, 1), generator=generator)
    found = mutual_information(codes, factors)
    assert float(found.mean()) == pytest.approx(19 * 4 / 20_000, rel=0.15)  # 50 axes: a standard error of 2.3 %


def test_entropies():
    factors = torch.tensor([[7, 0, 0], [7, 1, 0], [7, 2, 0], [7, 3, 1]])
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    torch.testing.assert_close(factor_entropies(factors), torch.tensor([0.0, math.log(4), quarter], dtype=torch.float64))


def test_agrees_with_scikit_learn(generator: torch.Generator):
    import numpy as np
    from sklearn.metrics import mutual_info_score

    codes = torch.randn(3000, 4, generator=generator, dtype=torch.float64)
    factors = torch.cat([codes[:, :2].round().long(), torch.randint(9, (3000, 1), generator=generator)], dim=1)
    found = mutual_information(codes, factors)
    for axis in range(4):
        edges = np.histogram(codes[:, axis].numpy(), BINS)[1]
        bins = np.digitize(codes[:, axis].numpy(), edges[:-1])
        for factor in range(3):
            assert float(found[axis, factor]) == pytest.approx(mutual_info_score(factors[:, factor].numpy(), bins), abs=1e-12)


def test_no_axes_and_no_factors():
    assert mutual_information(torch.empty(5, 0), torch.zeros(5, 2, dtype=torch.int64)).shape == (0, 2)
    assert mutual_information(torch.rand(5, 2), torch.zeros(5, 0, dtype=torch.int64)).shape == (2, 0)
