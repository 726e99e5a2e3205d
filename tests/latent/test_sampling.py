"""Samplers reproduce the moments they promise."""

import pytest
import torch

from ardtool.autoencoder import Posterior
from ardtool.errors import ConfigError
from ardtool.latent.axes import LatentAxes
from ardtool.latent.codes import LatentCodes
from ardtool.latent.precision import GammaPosterior
from ardtool.latent.sampling import draw_codes
from ardtool.latent.statistics import CodeStatistics


@pytest.fixture
def codes(generator):
    z = torch.randn(1000, 3, generator=generator) @ torch.tensor([[1.0, 0.8, 0], [0, 0.6, 0], [0, 0, 0.2]]) + torch.tensor([2.0, 0, -1])
    return LatentCodes(CodeStatistics.of(z), Posterior(z), GammaPosterior.uninformed(3).updated(z))


@pytest.mark.parametrize("sampler", ["paper", "centred", "full-gaussian", "gmm"])
def test_moments(codes, generator, sampler):
    z = draw_codes(codes, 20_000, sampler, [0, 1, 2], generator).double()
    torch.testing.assert_close(z.mean(0), codes.statistics.mean, rtol=0, atol=0.06)
    expected = codes.axis_variance if sampler == "paper" else codes.statistics.variance
    torch.testing.assert_close(z.var(0), expected, rtol=0.06, atol=0)
    correlation = torch.corrcoef(z.T)[0, 1]
    assert (abs(correlation) < 0.03) if sampler in ("paper", "centred") else correlation > 0.7


@pytest.mark.parametrize("sampler", ["paper", "centred", "full-gaussian", "gmm"])
def test_inactive_axes_stay_at_the_mean_and_a_seed_repeats(codes, sampler):
    first, second = (draw_codes(codes, 50, sampler, [2], torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first[:, :2], codes.statistics.mean[:2].float().expand(50, -1))
    assert first[:, 2].std() > 0


@pytest.fixture
def maps(generator):
    """Codes of 5×16×16, of which only variances are known: independent columns times two patterns over all channels."""
    z = torch.randn(200, 2, generator=generator) @ torch.randn(2, 1280, generator=generator) + torch.linspace(-1, 1, 1280)
    return LatentCodes(CodeStatistics.of(z), Posterior(z), GammaPosterior.uninformed(1280).updated(z))


@pytest.mark.parametrize("sampler", ["paper", "centred", "full-gaussian"])
def test_moments_of_large_maps(maps, generator, sampler):
    """Element by element; only the correlated sampler stays in the plane of the two patterns."""
    assert maps.statistics.is_diagonal
    z = draw_codes(maps, 4000, sampler, list(range(1280)), generator).double()
    variance = maps.axis_variance if sampler == "paper" else maps.statistics.variance
    assert ((z.mean(0) - maps.statistics.mean).abs() <= 5 * (variance / 4000).sqrt()).all()
    assert ((z.var(0) / variance - 1).abs() <= 6 * (2 / 4000) ** 0.5).all()
    sizes = torch.linalg.svdvals((z - maps.statistics.mean)[:50])
    assert (sizes[2] < 1e-5 * sizes[0]) == (sampler == "full-gaussian")


def test_a_mixture_of_large_maps_is_refused(maps, generator):
    with pytest.raises(ConfigError, match=r"--sampler gmm fits .*; the code's 1,280 elements are more than 1,024\.") as caught:
        draw_codes(maps, 3, "gmm", [0], generator)
    assert caught.value.hint == "Use --sampler full-gaussian."


@pytest.mark.parametrize("sampler", ["paper", "centred", "full-gaussian"])
def test_inactive_channels_stay_at_their_mean_map(maps, generator, sampler):
    axes = LatentAxes((5, 16, 16))
    z = draw_codes(maps, 20, sampler, axes.elements_of([3, 1]), generator).unflatten(1, axes.shape)
    mean = maps.statistics.mean.float().unflatten(0, axes.shape)
    assert torch.equal(z[:, [0, 2, 4]], mean[[0, 2, 4]].expand(20, -1, -1, -1))
    assert (z[:, [1, 3]].std(0) > 0).all()
