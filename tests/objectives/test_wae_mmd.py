"""WAE-MMD: the discrepancy on sets of points whose value is known."""

import pytest
import torch
from scipy.stats import chi2

from ardtool.objectives.wae_mmd import SCALES, WaeMmd, kernel, maximum_mean_discrepancy

N, L = 100, 16


def normal(seed: int, n: int = N, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(n, L, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_of(values) -> tuple[float, float]:
    """Mean and its standard error."""
    found = torch.tensor([float(value) for value in values])
    return float(found.mean()), float(found.std() / len(found) ** 0.5)


def test_a_point_has_the_value_seven_with_itself():
    z = normal(0, 5)
    torch.testing.assert_close(kernel(z, z).diagonal(), torch.full((5,), 7.0, dtype=torch.float64))


def test_equal_sets_have_their_closed_form():
    z = normal(0)
    off = float(kernel(z, z).sum()) - 7 * N
    found = float(maximum_mean_discrepancy(z, z))
    assert found == pytest.approx(2 * (off / (N * (N - 1)) - (off + 7 * N) / N**2), rel=1e-9)
    assert found == pytest.approx(-0.068, abs=0.002)
    assert float(maximum_mean_discrepancy(torch.zeros(N, L), torch.zeros(N, L))) == pytest.approx(0, abs=1e-5)


def test_two_sets_of_one_distribution_have_mean_zero():
    mean, error = mean_of(maximum_mean_discrepancy(normal(2 * seed), normal(2 * seed + 1)) for seed in range(200))
    assert abs(mean) < 3 * error and error < 0.002


def expected_kernel(scale: float) -> float:
    """E k of two points whose squared distance is scale · χ² with L degrees of freedom, by quadrature."""
    constants = [2 * L * each for each in SCALES]
    return float(chi2(L).expect(lambda distance: sum(constant / (constant + scale * distance) for constant in constants)))


@pytest.mark.parametrize(("scale", "one_draw"), [(0.0, 1.84), (2.0, 0.56)])
def test_other_distributions_stand_out(scale, one_draw):
    """Codes scale · N(0, I) against N(0, I): the mean is a quadrature, and a value known from one draw lies within three deviations."""
    expected = expected_kernel(2 * scale**2) + expected_kernel(2) - 2 * expected_kernel(1 + scale**2)
    values = [maximum_mean_discrepancy(normal(2 * seed, scale=scale), normal(2 * seed + 1)) for seed in range(200)]
    mean, error = mean_of(values)
    assert abs(mean - expected) < 3 * error
    assert abs(one_draw - expected) < 3 * error * len(values) ** 0.5


def test_symmetric_and_the_same_for_any_order_and_rotation():
    z, prior = normal(0), normal(1)
    rotation = torch.linalg.qr(normal(2, L)).Q
    value = maximum_mean_discrepancy(z, prior)
    for first, second in ((prior, z), (z[torch.randperm(N)], prior), (z @ rotation, prior @ rotation)):
        torch.testing.assert_close(maximum_mean_discrepancy(first, second), value)


def test_the_loss_adds_both_terms(terms):
    found = terms(WaeMmd(weight=10.0))
    torch.testing.assert_close(found["loss"], 0.05 * found["reconstruction"] + 10 * found["mmd"])


def test_the_weights_are_those_of_table_6():
    assert [WaeMmd.values_for(name)["weight"] for name in ("mnist", "celeba", "cifar10", "imagenet32")] == [10, 100, 100, 100]
