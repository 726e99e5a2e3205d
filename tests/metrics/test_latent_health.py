"""Codes with a known verdict: dead, doubled, correlated, shifted axes; closed forms of Gaussians."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from ardtool.errors import ConfigError
from ardtool.latent.axes import LatentAxes
from ardtool.latent.statistics import MOST_COVARIANCES, CodeStatistics
from ardtool.metrics.latent_health import (
    Correlations,
    active_units,
    aggregate_gap,
    code_correlations,
    kl_summary,
    pairwise_information,
    relative_unit_activity,
    total_correlation,
    unit_activity,
)

F64 = torch.float64


def pair(rho: float, scale: float = 1.0) -> torch.Tensor:
    return torch.tensor([[1.0, rho * scale], [rho * scale, scale**2]], dtype=F64)


def whitened(samples: int, axes: int) -> torch.Tensor:
    """Codes with mean 0 and covariance I, exactly."""
    z = torch.randn(samples, axes, dtype=F64)
    return torch.linalg.qr(z - z.mean(dim=0))[0] * samples**0.5


# --- active units ---


def test_constant_means_are_not_active():
    mean = torch.full((30, 4), 0.1)
    assert active_units(unit_activity(mean)) == 0
    assert active_units(relative_unit_activity(mean, torch.zeros(30, 4))) == 0


def test_an_axis_just_above_and_one_just_below_a_hundredth():
    mean = whitened(200, 3) * torch.tensor([0.09, 0.11, 2.0])
    torch.testing.assert_close(unit_activity(mean), torch.tensor([0.0081, 0.0121, 4.0], dtype=F64))
    assert active_units(unit_activity(mean)) == 2


def test_the_threshold_itself_is_not_active():
    """Means at ±¼ have a variance of 1/16, exactly."""
    activity = unit_activity(torch.tensor([[0.25], [-0.25]]))
    assert float(activity) == 0.0625
    assert active_units(activity, 0.0625) == 0 and active_units(activity, 0.0625 - 1e-12) == 1


def test_relative_activity_is_one_minus_the_posterior_share():
    mean, log_variance = whitened(500, 2) * torch.tensor([0.3, 1.5]), torch.randn(500, 2, dtype=F64)
    total = mean.var(dim=0, correction=0) + log_variance.exp().mean(dim=0)
    found = relative_unit_activity(mean, log_variance)
    torch.testing.assert_close(found, 1 - log_variance.exp().mean(dim=0) / total)


def test_relative_activity_is_free_of_scale_and_the_absolute_one_is_not():
    mean, log_variance = torch.randn(100, 3, dtype=F64), torch.randn(100, 3, dtype=F64)
    scale = torch.tensor([1e-4, 1.0, 300.0], dtype=F64)
    scaled = relative_unit_activity(mean * scale, log_variance + 2 * scale.log())
    torch.testing.assert_close(scaled, relative_unit_activity(mean, log_variance))
    assert active_units(scaled) == 3 and active_units(unit_activity(mean * scale)) == 2


def test_deterministic_codes_are_wholly_active_where_they_move():
    mean = torch.cat([torch.randn(50, 2), torch.full((50, 1), 0.3)], dim=1)
    assert relative_unit_activity(mean, None).tolist() == [1, 1, 0]


def test_a_channel_is_the_mean_of_its_elements():
    mean, axes = whitened(100, 4) * torch.tensor([1.0, 0.0, 0.1, 0.0]), LatentAxes((2, 1, 2))
    torch.testing.assert_close(unit_activity(mean, axes), torch.tensor([0.5, 0.005], dtype=F64))
    found = relative_unit_activity(mean, torch.full((100, 4), math.log(0.5)), axes)
    torch.testing.assert_close(found, torch.tensor([0.5, 0.005 / 0.505], dtype=F64))
    assert active_units(unit_activity(mean, axes)) == 1


# --- KL ---


def test_kl_axis_by_axis():
    kl = torch.tensor([[1.0, 0.0, 0.004], [3.0, 0.0, 0.008]])
    found = kl_summary(kl)
    torch.testing.assert_close(found.per_axis, torch.tensor([2.0, 0.0, 0.006], dtype=F64), rtol=1e-6, atol=0)
    assert float(found.stderr[0]) == 1 and found.used == 1
    channels = kl_summary(torch.tensor([[0.008, 0.008, 0.0, 0.03]]), LatentAxes((2, 1, 2)))
    torch.testing.assert_close(channels.per_axis, torch.tensor([0.016, 0.03], dtype=F64), rtol=1e-6, atol=0)
    assert channels.used == 1  # 0.008 nats an element, and 0.015
    assert channels.stderr.tolist() == [math.inf] * 2  # of a single sample


# --- correlation ---


@pytest.mark.parametrize("rho", [0.0, 0.3, -0.9])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_total_correlation_of_two_axes(rho, scale):
    assert total_correlation(pair(rho, scale)) == pytest.approx(-0.5 * math.log(1 - rho**2), abs=1e-12)
    found = code_correlations(pair(rho, scale))
    assert (found.mean, found.largest) == (pytest.approx(abs(rho)), pytest.approx(abs(rho)))


def test_total_correlation_is_the_kl_from_independent_axes():
    root = torch.randn(4, 4, dtype=F64)
    covariance = root @ root.T + 0.1 * torch.eye(4, dtype=F64)
    joint, zero = MultivariateNormal(torch.zeros(4, dtype=F64), covariance), torch.zeros(4, dtype=F64)
    expected = float(kl_divergence(joint, MultivariateNormal(zero, covariance.diagonal().diag())))
    assert total_correlation(covariance) == pytest.approx(expected)


def test_dead_axes_are_left_out_and_doubled_ones_are_infinite():
    z = torch.randn(100, 3, dtype=F64)
    dead = CodeStatistics.of(torch.cat([z, torch.full((100, 2), 1e3 / 3)], dim=1)).covariance
    alive = CodeStatistics.of(z).covariance
    assert total_correlation(dead) == pytest.approx(total_correlation(alive))
    found, expected = code_correlations(dead), code_correlations(alive)
    assert (found.mean, found.largest) == pytest.approx((expected.mean, expected.largest))
    doubled = CodeStatistics.of(torch.cat([z, -2 * z[:, :1]], dim=1)).covariance
    assert total_correlation(doubled) == math.inf
    assert code_correlations(doubled).largest == pytest.approx(1)


def test_fewer_codes_than_axes_always_depend_on_each_other():
    assert total_correlation(CodeStatistics.of(torch.randn(5, 5, dtype=F64)).covariance) == math.inf


@pytest.mark.parametrize("axes", [0, 1])
def test_one_axis_or_none_has_no_pair(axes):
    covariance = torch.zeros(2, 2, dtype=F64)
    covariance[:axes, :axes] = 3
    assert total_correlation(covariance) == 0
    assert code_correlations(covariance) == Correlations(0.0, 0.0)


def test_mean_and_largest_correlation():
    covariance = torch.eye(3, dtype=F64)
    covariance[0, 1] = covariance[1, 0] = -0.6
    found = code_correlations(covariance)
    assert (found.mean, found.largest) == (pytest.approx(0.2), pytest.approx(0.6))


def test_independent_axes_have_the_bias_that_the_module_names():
    """E TC = L (L − 1) / 4N to first order; 60 draws of N = 500, L = 8 have a standard error of a tenth of it or less."""
    found = torch.tensor([total_correlation(CodeStatistics.of(torch.randn(500, 8)).covariance) for _ in range(60)])
    assert abs(float(found.mean()) - 56 / 2000) < 4 * float(found.std()) / 60**0.5


def test_variances_alone_tell_no_correlations():
    statistics = CodeStatistics.of(torch.randn(3, MOST_COVARIANCES + 1))
    for measure in (total_correlation, code_correlations):
        with pytest.raises(ConfigError, match=r"Only the variances of the code's 1,025 elements are known; correlations need covariances"):
            measure(statistics.covariance)


# --- mutual information ---


def test_mutual_information_of_equal_axes_is_their_entropy():
    grid = torch.arange(20).repeat(30).double()
    assert pairwise_information(torch.stack([grid, -3 * grid + 1], dim=1)) == pytest.approx(math.log(20))


def test_mutual_information_of_all_combinations_is_zero():
    grid = torch.cartesian_prod(torch.arange(20), torch.arange(20), torch.arange(3)).double()
    assert pairwise_information(grid) == pytest.approx(0, abs=1e-12)


def test_mutual_information_is_the_mean_over_pairs():
    """Axes a, a, b with a and b independent, and a constant: one pair of six shares log 20."""
    grid = torch.cartesian_prod(torch.arange(20), torch.arange(5)).double()
    z = torch.stack([grid[:, 0], grid[:, 0], grid[:, 1], torch.full((100,), 2.0)], dim=1)
    assert pairwise_information(z) == pytest.approx(math.log(20) / 6)
    assert pairwise_information(z[:, :1]) == 0


def test_mutual_information_of_gaussians_is_less_than_its_closed_form_and_near_it():
    z = torch.randn(50_000, 2, dtype=F64)
    z[:, 1] = 0.8 * z[:, 0] + 0.6 * z[:, 1]
    exact = -0.5 * math.log(1 - 0.64)
    assert 0.9 * exact < pairwise_information(z) < exact + 19**2 / 100_000


# --- aggregate posterior and prior ---


def statistics_of(mean: torch.Tensor, covariance: torch.Tensor) -> CodeStatistics:
    return CodeStatistics.from_moments(1000, mean, covariance)


def test_no_gap_where_codes_are_the_prior():
    prior = torch.tensor([0.3, 5.0], dtype=F64)
    found = aggregate_gap(statistics_of(torch.zeros(2), prior.diag()), prior)
    assert abs(found.kl) < 1e-12 and found.wasserstein < 1e-7


def test_the_kl_is_that_of_torch_and_the_sum_of_its_parts():
    root, mean, prior = torch.randn(3, 3, dtype=F64), torch.randn(3, dtype=F64), torch.rand(3, dtype=F64) + 0.2
    covariance = root @ root.T + 0.1 * torch.eye(3, dtype=F64)
    found = aggregate_gap(statistics_of(mean, covariance), prior)
    codes, wanted = MultivariateNormal(mean, covariance), MultivariateNormal(torch.zeros(3, dtype=F64), prior.diag())
    assert found.kl == pytest.approx(float(kl_divergence(codes, wanted)))
    assert found.kl != pytest.approx(float(kl_divergence(wanted, codes)))
    assert found.kl == pytest.approx(float(found.marginal.sum()) + found.total_correlation)


def test_the_kl_is_a_lower_bound_for_codes_of_any_shape():
    """Uniform codes of variance 1: their KL from N(0, 1) is ½ log 2π + ½ − log 2√3 = 0.18 nats, that of the Gaussian of their moments 0."""
    z = (torch.arange(10_000, dtype=F64)[:, None] + 0.5) / 10_000 * 12**0.5 - 3**0.5
    assert abs(aggregate_gap(CodeStatistics.of(z), torch.ones(1)).kl) < 1e-6


def test_codes_of_n_samples_have_the_gap_that_the_module_names():
    """E KL = L (L + 3) / 4N to first order."""
    found = torch.tensor([aggregate_gap(CodeStatistics.of(torch.randn(500, 8)), torch.ones(8)).kl for _ in range(60)])
    assert abs(float(found.mean()) - 88 / 2000) < 4 * float(found.std()) / 60**0.5


def test_wasserstein_of_moved_and_stretched_codes():
    """Axes of mean m and deviation s against N(0, σ̂²): m² + (s − σ̂)² in units of σ̂², whatever the rotation among equal axes."""
    prior = torch.tensor([4.0, 4.0], dtype=F64)
    stretched = torch.tensor([1.0, 36.0], dtype=F64).diag()
    moved = torch.tensor([3.0, 0.0], dtype=F64)
    turn = torch.linalg.qr(torch.randn(2, 2, dtype=F64))[0]
    expected = (1.5**2 + (0.5 - 1) ** 2 + (3 - 1) ** 2) ** 0.5
    assert aggregate_gap(statistics_of(moved, stretched), prior).wasserstein == pytest.approx(expected)
    assert aggregate_gap(statistics_of(turn @ moved, turn @ stretched @ turn.T), prior).wasserstein == pytest.approx(expected)


def test_the_gap_is_free_of_the_scale_of_axes():
    z, scale = torch.randn(50, 3, dtype=F64), torch.tensor([1e-3, 1.0, 50.0], dtype=F64)
    found, scaled = (aggregate_gap(CodeStatistics.of(z * s), s**2) for s in (torch.ones(3, dtype=F64), scale))
    assert scaled.kl == pytest.approx(found.kl) and scaled.wasserstein == pytest.approx(found.wasserstein)


def test_a_dead_axis_of_a_deterministic_encoder():
    """The codes have no density: the KL is infinite. Moving them onto the prior costs one standard deviation."""
    found = aggregate_gap(statistics_of(torch.zeros(2), torch.tensor([1.0, 0.0]).diag()), torch.ones(2))
    assert found.kl == math.inf and found.wasserstein == pytest.approx(1)
