"""What a model file keeps of its codes: moments of axes and channels, KL from the prior, and posteriors gathered from batches."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.latent.axes import LatentAxes
from ardtool.latent.codes import LatentCodes, encode_batches
from ardtool.latent.precision import GammaPosterior
from ardtool.latent.statistics import CodeStatistics

AXES = LatentAxes((3, 2, 2))


def codes_of(ard: bool, log_variance: torch.Tensor | None, mean: torch.Tensor) -> LatentCodes:
    z = Posterior(mean, log_variance).sample(torch.Generator().manual_seed(0)) + 1
    prior = GammaPosterior.uninformed(mean.shape[1]).updated(z) if ard else None
    return LatentCodes(CodeStatistics.of(z), Posterior(mean, log_variance), prior)


@pytest.fixture
def posterior() -> Posterior:
    return Posterior(torch.randn(50, 12) * torch.linspace(0.1, 2, 12), torch.randn(50, 12) - 1)


@pytest.mark.parametrize("ard", [True, False])
def test_the_kl_is_that_from_the_prior(posterior, ard):
    """From N(0, σ̂²) for an ARD prior, else from N(0, 1); a channel has the sum over its elements."""
    codes = codes_of(ard, posterior.log_variance, posterior.mean)
    deviation = codes.axis_variance.sqrt() if ard else torch.ones(12).double()
    expected = kl_divergence(Normal(posterior.mean.double(), (posterior.log_variance.double() / 2).exp()), Normal(0, deviation)).mean(0)
    torch.testing.assert_close(codes.kl_per_axis(), expected)
    torch.testing.assert_close(codes.moments().kl, expected)
    torch.testing.assert_close(codes.moments(AXES).kl, expected.unflatten(0, AXES.shape).sum((1, 2)))


@pytest.mark.parametrize("ard", [True, False])
def test_moments_of_channels_are_means_over_their_elements(posterior, ard):
    codes = codes_of(ard, posterior.log_variance, posterior.mean)
    z = (posterior.sample(torch.Generator().manual_seed(0)) + 1).double().unflatten(1, AXES.shape)
    about_mean, found = z.var(0, correction=0), codes.moments(AXES)
    entering = z.square().mean(0) if ard else about_mean
    torch.testing.assert_close(found.variance, entering.mean((1, 2)))
    torch.testing.assert_close(found.total, about_mean.mean((1, 2)))
    means = posterior.mean.double().unflatten(1, AXES.shape).var(0, correction=0)
    torch.testing.assert_close(found.mean_variance, means.mean((1, 2)))
    assert (found.size, codes.variance_kind) == (4, "second_moment" if ard else "centred")
    assert ((found.variance_count >= 50) & (found.variance_count <= 200)).all()  # four independent elements at most
    assert (codes.moments().variance_count == 50).all()
    assert codes.moments().size == 1 and codes.moments().variance.shape == (12,)


@pytest.mark.parametrize("ard", [True, False])
def test_some_axes_have_the_moments_they_had_among_all(posterior, ard):
    codes, kept = codes_of(ard, posterior.log_variance, posterior.mean), AXES.elements_of([2, 0])
    whole, some = codes.moments(AXES), codes.axes(kept).moments(AXES.keeping([2, 0]))
    for name in ("variance", "total", "mean_variance", "kl"):
        torch.testing.assert_close(getattr(some, name), getattr(whole, name)[[2, 0]])
    assert some.size == whole.size and some.variance_count.shape == (2,)


@pytest.mark.parametrize(("rank", "low", "high"), [(16, 1400, 1600), (1, 100, 130)])
def test_the_variance_of_a_channel_is_as_sure_as_it_shows_itself_to_be(rank, low, high):
    """16 independent elements are worth 16 times as many codes, 16 equal ones no more than one."""
    z = torch.randn(100, rank, generator=torch.Generator().manual_seed(0)).repeat_interleave(16 // rank, dim=1)
    many = torch.randn(4000, rank, generator=torch.Generator().manual_seed(1)).repeat_interleave(16 // rank, dim=1)
    codes = LatentCodes(CodeStatistics.of(z), Posterior(many))
    found = float(codes.moments(LatentAxes((1, 4, 4))).variance_count)
    assert low <= found <= high


def test_scoring_about_the_mean_keeps_the_prior_of_the_kl(posterior):
    codes = codes_of(True, posterior.log_variance, posterior.mean)
    centred = replace(codes, centred=True)
    torch.testing.assert_close(centred.axis_variance, codes.statistics.variance)
    assert centred.variance_kind == "centred" and centred.variance_count == codes.statistics.count
    torch.testing.assert_close(centred.kl_per_axis(), codes.kl_per_axis())


def test_deterministic_codes_have_no_kl(posterior):
    codes = codes_of(False, None, posterior.mean)
    assert codes.kl_per_axis() is None and codes.moments(AXES).kl is None


def test_posteriors_of_batches_are_those_of_all_samples_at_once():
    class Labelled(nn.Module):
        input_shape, latent_shape = (4,), (3,)

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 6)

        def encode(self, x):
            mean, log_variance = self.layer(x).chunk(2, dim=1)
            return Posterior(mean, log_variance, x[:, :1])

        def decode(self, z, context=None):
            raise NotImplementedError

    x, model = torch.randn(23, 4), Labelled()
    found, whole = encode_batches(model, 23, 5, lambda part: x[part]), model.encode(x)
    for name in ("mean", "log_variance", "context"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name).detach())
        assert not getattr(found, name).requires_grad
    plain = encode_batches(ModulePair(nn.Linear(4, 3), nn.Identity(), (4,), 3).double(), 23, 5, lambda part: x[part].double())
    assert plain.log_variance is None and plain.context is None and plain.mean.dtype == torch.float32
