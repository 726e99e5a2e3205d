"""Likelihoods, the importance-weighted bound on a linear Gaussian model whose density is known, and bits per dimension."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, MultivariateNormal, Normal

from ardtool.errors import ConfigError, DataError
from ardtool.latent.gaussian import gaussian_log_density
from ardtool.latent.student_t import student_t_log_density
from ardtool.metrics.likelihood import (
    bits_per_dimension,
    dequantised,
    gaussian_log_likelihood,
    importance_bound,
    log_likelihood,
    optimal_variance,
)
from ardtool.metrics.reconstruction import squared_error

F64 = torch.float64
SIGMA = 0.5


def test_gaussian_and_bernoulli_are_those_of_torch():
    reconstruction, x = torch.rand(4, 2, 3, dtype=F64), torch.rand(4, 2, 3, dtype=F64)
    expected = Normal(reconstruction, 0.3**0.5).log_prob(x).flatten(1).sum(dim=1)
    torch.testing.assert_close(log_likelihood(reconstruction, x, "gaussian", 0.3), expected)
    x = x.round()
    expected = Bernoulli(reconstruction).log_prob(x).flatten(1).sum(dim=1)
    torch.testing.assert_close(log_likelihood(reconstruction, x, "bernoulli", None), expected)
    torch.testing.assert_close(log_likelihood(reconstruction.logit(), x, "bernoulli", None, logits=True), expected)


def test_logits_lose_nothing_where_probabilities_round_to_0_and_1():
    logits, x = torch.tensor([[60.0, -60.0, 0.0]]), torch.tensor([[0.0, 1.0, 1.0]])
    assert float(log_likelihood(logits, x, "bernoulli", None, logits=True)) == pytest.approx(-120 - math.log(2))


def test_half_of_beta_is_the_variance_that_summed_squared_errors_train():
    """SSE + β·KL and −(log-likelihood − KL), times β, differ by a constant."""
    beta, x = 0.3, torch.zeros(2, 3, dtype=F64)
    reconstruction = torch.tensor([[0.0, 0, 0], [1, 2, 3]], dtype=F64)
    found = log_likelihood(reconstruction, x, "gaussian", beta / 2)
    assert float(found[0] - found[1]) * beta == pytest.approx(14)


def test_the_mean_squared_error_is_the_best_variance():
    error = torch.rand(50, dtype=F64) * 7
    best = optimal_variance(float(error.mean()) / 3)

    def mean(variance):
        return float(gaussian_log_likelihood(error, 3, variance).mean())

    assert mean(best) > max(mean(best * 1.01), mean(best * 0.99))
    assert mean(best) == pytest.approx(-1.5 * (1 + math.log(2 * math.pi * best)))  # the error is D σ² on average


@pytest.mark.parametrize(("mse", "text"), [(0.0, "0"), (math.nan, "nan")])
def test_exact_reconstructions_have_no_best_variance(mse, text):
    with pytest.raises(DataError, match=f"The mean squared error is {text}; expected a positive number"):
        optimal_variance(mse)


class Linear:
    """x = W z + σ ε with z ~ N(0, diag τ²) and orthogonal columns of W (5 × 2): posterior and density of x are known.

    The posterior precision is 1/τ² + ‖w‖²/σ², the posterior mean wᵀx / σ² over it.
    """

    def __init__(self, samples: int, prior_variance: float = 1.0) -> None:
        self.prior = torch.full((2,), prior_variance, dtype=F64)
        self.W = torch.linalg.qr(torch.randn(5, 2, dtype=F64))[0] * torch.tensor([2.0, 0.7])
        self.exact = MultivariateNormal(torch.zeros(5, dtype=F64), prior_variance * self.W @ self.W.T + SIGMA**2 * torch.eye(5, dtype=F64))
        self.x = self.exact.sample((samples,))
        precision = 1 / self.prior + self.W.square().sum(dim=0) / SIGMA**2
        self.mean = self.x @ self.W / SIGMA**2 / precision
        self.log_variance = -precision.log().expand(samples, -1)

    def likelihood(self, z, rows):
        return gaussian_log_likelihood(squared_error(z @ self.W.T, self.x[rows]), 5, SIGMA**2)

    def log_prior(self, z):
        return gaussian_log_density(z, self.prior).sum(dim=1)

    def bound(self, draws, widened=1.0, **options):
        options = {"generator": torch.Generator().manual_seed(1)} | options
        log_variance = self.log_variance + 2 * math.log(widened)
        return importance_bound(self.mean, log_variance, self.likelihood, self.log_prior, draws=draws, **options)


@pytest.mark.parametrize("prior_variance", [1.0, 0.2])
@pytest.mark.parametrize("draws", [1, 7, 600])
def test_the_exact_posterior_gives_the_exact_density_at_every_draw(draws, prior_variance):
    model = Linear(3, prior_variance)
    torch.testing.assert_close(model.bound(draws), model.exact.log_prob(model.x), rtol=1e-12, atol=1e-12)


def test_one_draw_is_the_elbo():
    """E L_1 = log p(x) − KL(q ‖ posterior); with q wider by 1.2 on two axes the KL is 1.2² − 1 − log 1.2²."""
    model = Linear(4000)
    gap = model.exact.log_prob(model.x) - model.bound(1, widened=1.2)
    assert abs(float(gap.mean()) - (1.44 - 1 - math.log(1.44))) < 4 * float(gap.std()) / 4000**0.5


def test_more_draws_tighten_the_bound_and_never_pass_the_density():
    """With q twice too wide the gaps are far larger than their standard errors."""
    model = Linear(1000)
    gaps = [model.exact.log_prob(model.x) - model.bound(draws, widened=2.0) for draws in (1, 10, 100)]
    means, errors = [float(gap.mean()) for gap in gaps], [float(gap.std()) / 1000**0.5 for gap in gaps]
    for k in (0, 1):
        assert means[k] - 5 * errors[k] > means[k + 1] + 5 * errors[k + 1]
    assert 0 < means[2] < 0.02
    one = Linear(1)
    torch.testing.assert_close(one.bound(20_000, widened=2.0), one.exact.log_prob(one.x), rtol=0, atol=0.05)


@pytest.mark.parametrize("draws", [1, 6, 502])
def test_the_memory_limit_changes_nothing(draws):
    model = Linear(3)
    whole = model.bound(draws, widened=1.5)
    for at_once in (1, 4, 13, 2000):
        torch.testing.assert_close(model.bound(draws, widened=1.5, at_once=at_once), whole, rtol=1e-13, atol=1e-13)


def test_no_more_codes_are_decoded_at_once_than_allowed():
    model, most = Linear(9), []

    def likelihood(z, rows):
        most.append(len(z))
        return model.likelihood(z, rows)

    importance_bound(
        model.mean, model.log_variance, likelihood, model.log_prior, draws=30, generator=torch.Generator().manual_seed(0), at_once=64
    )
    assert max(most) <= 64 and sum(most) == 9 * 30


def test_seeds_repeat_and_consecutive_batches_join():
    model, generator = Linear(5), torch.Generator().manual_seed(1)
    whole = model.bound(4, widened=1.5)
    assert torch.equal(whole, model.bound(4, widened=1.5))
    assert not torch.equal(whole, model.bound(4, widened=1.5, generator=torch.Generator().manual_seed(2)))
    parts = []
    for rows in torch.arange(5).split(2):
        model_likelihood = lambda z, index, rows=rows: model.likelihood(z, rows[index])  # noqa: E731
        log_variance = model.log_variance[rows] + 2 * math.log(1.5)
        parts.append(importance_bound(model.mean[rows], log_variance, model_likelihood, model.log_prior, draws=4, generator=generator))
    torch.testing.assert_close(torch.cat(parts), whole)


def test_several_likelihoods_share_their_reconstructions():
    model = Linear(4)

    def both(z, rows):
        return torch.stack([model.likelihood(z, rows), model.likelihood(z, rows) - 3], dim=1)

    found = importance_bound(
        model.mean, model.log_variance, both, model.log_prior, draws=11, generator=torch.Generator().manual_seed(1), at_once=5
    )
    assert found.shape == (4, 2)
    torch.testing.assert_close(found[:, 0], model.bound(11))
    torch.testing.assert_close(found[:, 1], model.bound(11) - 3)


def test_float32_codes_are_decoded_in_float32_and_summed_in_float64():
    model = Linear(6)
    model.x, model.W = model.x.float(), model.W.float()
    mean, log_variance = model.mean.float(), model.log_variance.float()
    seen = []

    def likelihood(z, rows):
        seen.append(z.dtype)
        return model.likelihood(z, rows) - 1e5  # its exponential is 0 in any precision

    found = importance_bound(mean, log_variance, likelihood, model.log_prior, draws=50, generator=torch.Generator().manual_seed(0))
    assert set(seen) == {torch.float32} and found.dtype == F64
    torch.testing.assert_close(found + 1e5, model.exact.log_prob(model.x.double()), rtol=0, atol=0.02)  # 1e5 has a spacing of 0.008


def test_a_student_t_prior():
    """With q = prior and no data the weights are p/q of the prior alone: the bound is log ∫ p = 0."""
    scale = torch.tensor([0.5, 2.0], dtype=F64)
    nothing = lambda z, rows: torch.zeros(len(z))  # noqa: E731
    prior = lambda z: student_t_log_density(z, 50.0, scale).sum(dim=1)  # noqa: E731
    log_variance = (2 * (1.3 * scale).log()).expand(400, -1)
    found = importance_bound(
        torch.zeros(400, 2, dtype=F64), log_variance, nothing, prior, draws=100, generator=torch.Generator().manual_seed(0)
    )
    assert abs(float(found.mean())) < 0.01


def test_no_draw_is_an_error():
    with pytest.raises(ConfigError, match="needs at least 1 draw per sample, not 0"):
        Linear(1).bound(0)


@pytest.mark.parametrize(("value_range", "offset"), [((0.0, 1.0), 8), ((-1.0, 1.0), 7)])
def test_bits_of_uniform_bytes_are_eight(value_range, offset):
    """Uniform bytes with noise are uniform on the range, of density 1 / (high − low) in each dimension; the entropy of a byte is 8 bits."""
    low, high = value_range
    bound = torch.full((3,), -12 * math.log(high - low), dtype=F64)
    torch.testing.assert_close(bits_per_dimension(bound, 12, value_range), torch.full((3,), 8.0, dtype=F64))
    assert float(bits_per_dimension(torch.zeros(1), 12, value_range)) == offset
    assert float(bits_per_dimension(torch.tensor([-12 * math.log(2)]), 12, value_range)) == pytest.approx(offset + 1)


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_noise_fills_the_cell_of_each_byte_evenly(value_range, generator):
    low, high = value_range
    v = torch.arange(256).repeat(400, 1)
    x = low + (high - low) * (v.float() / 255)
    cells = (dequantised(x.double(), generator, value_range) - low) / (high - low) * 256
    assert torch.equal(cells.floor().long(), v)
    inside = cells - v
    assert abs(float(inside.mean()) - 0.5) < 4 * (1 / 12 / inside.numel()) ** 0.5
    assert abs(float(inside.var()) - 1 / 12) < 4 * (1 / 180 / inside.numel()) ** 0.5  # the variance of squared deviations is 1/180
    assert dequantised(x, generator, value_range).dtype == torch.float32


@pytest.mark.parametrize("wrong", [0.5, -1 / 255, 256 / 255])
def test_only_bytes_have_cells(wrong, generator):
    with pytest.raises(DataError, match=r"Some pixels are none of the 256 levels from 0 to 1"):
        dequantised(torch.tensor([[0.0, wrong, 1.0]]), generator)
