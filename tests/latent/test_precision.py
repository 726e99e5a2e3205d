"""The Gamma update (Eq. 8, 9, 18)."""

import torch
from scipy.stats import gamma

from ardtool.latent.precision import VARIANCE_RANGE, GammaPosterior


def test_known_codes():
    posterior = GammaPosterior.uninformed(1).updated(torch.tensor([[1.0], [-1.0], [2.0]]))
    assert posterior.a == 1.5
    assert posterior.b.tolist() == [3.0]
    assert posterior.variance.tolist() == [2.0]
    assert posterior.degrees_of_freedom == 3.0


def test_two_batches_equal_their_union():
    z = torch.randn(100, 5)
    at_once = GammaPosterior.uninformed(5, 0.5, 2.0, mean=0.3).updated(z)
    in_two = GammaPosterior.uninformed(5, 0.5, 2.0, mean=0.3).updated(z[:37]).updated(z[37:])
    assert at_once.a == in_two.a == 50.5
    torch.testing.assert_close(at_once.b, in_two.b)


def test_variance_is_the_second_moment_about_the_location():
    z = torch.randn(200, 3) + 2
    torch.testing.assert_close(GammaPosterior.uninformed(3).updated(z).variance, z.double().square().mean(0))
    torch.testing.assert_close(GammaPosterior.uninformed(3, mean=2.0).updated(z).variance, (z.double() - 2).square().mean(0))


def test_moments_and_samples_agree_in_expectation(generator):
    mean, log_variance = torch.randn(100_000, 2, generator=generator), torch.full((100_000, 2), -1.0)
    z = mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=generator)
    sampled = GammaPosterior.uninformed(2).updated(z).variance
    exact = GammaPosterior.uninformed(2).updated_by_moments(mean, log_variance).variance
    torch.testing.assert_close(sampled, exact, rtol=0.02, atol=0)  # standard error of a variance from 1e5 draws: 0.45 %


def test_a_dead_axis_is_clamped():
    variance = GammaPosterior.uninformed(2).updated(torch.tensor([[0.0, 1e9], [0.0, 1e9]])).variance
    assert variance.tolist() == list(VARIANCE_RANGE)


def test_the_posterior_of_the_precision_covers_the_truth(generator):
    """Gamma(a, b) is a calibrated posterior: the true precision lies in its central 90 % in about 90 % of data sets."""
    hits = 0
    for _ in range(300):
        z = 1.7 * torch.randn(20, 1, generator=generator)
        posterior = GammaPosterior.uninformed(1).updated(z)
        low, high = gamma.ppf([0.05, 0.95], posterior.a, scale=1 / posterior.b.item())
        hits += low < 1 / 1.7**2 < high
    assert 0.85 < hits / 300 < 0.95
