"""Models whose codes are maps: every command, on decoders whose channel relevance is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import ardtool
from ardtool.errors import ArdtoolError, ConfigError
from ardtool.latent.statistics import CodeStatistics

SHAPE = (4, 6, 5)
PIXELS = SHAPE[1] * SHAPE[2]
DEVIATION = torch.tensor([3.0, 1.0, 0.5, 2.0])


def pair(shape: tuple[int, ...] = SHAPE, killed: int | None = None) -> ardtool.ModulePair:
    """Orthogonal 1×1 convolutions from 4 latent channels to 4 image channels and back; one channel may be unread."""
    channels = shape[0]
    matrix = torch.linalg.qr(torch.randn(channels, channels, generator=torch.Generator().manual_seed(3)))[0]
    encoder, decoder = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
    with torch.no_grad():
        encoder.weight.copy_(matrix.T[:, :, None, None])
        decoder.weight.copy_(matrix[:, :, None, None])
        encoder.bias.zero_()
        decoder.bias.zero_()
        if killed is not None:
            decoder.weight[:, killed] = 0
    return ardtool.ModulePair(encoder, decoder, shape, shape)


def images(model: ardtool.ModulePair, count: int = 400, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """Images whose codes are independent with the standard deviation of their channel."""
    z = torch.randn(count, *shape, generator=torch.Generator().manual_seed(1)) * DEVIATION[: shape[0], None, None]
    with torch.no_grad():
        return torch.einsum("oc,nchw->nohw", model.encoder.weight[:, :, 0, 0].T, z)


def write(tmp_path, codes: torch.Tensor) -> str:
    np.savez(tmp_path / "codes.npz", mean=codes.numpy())
    return str(tmp_path / "codes.npz")


@pytest.mark.parametrize("estimator", ["exact", "sketch", "sobol"])
def test_channel_scores_are_sums_over_their_elements(tmp_path, estimator):
    model = pair()
    with torch.no_grad():
        codes = write(tmp_path, model.encode(images(model, 1000)).mean)
    result = ardtool.relevance(model, latents=codes, estimator=estimator, samples=1000)
    assert (result.latent_dim, result.latent_shape, result.granularity) == (4, SHAPE, "channel")
    assert [axis.axis for axis in result.axes] == [0, 3, 1, 2]
    for axis in result.axes:  # orthogonal columns: w = 1 an element, so a channel's score is its variance times its elements
        assert axis.score == pytest.approx(PIXELS * float(DEVIATION[axis.axis]) ** 2, rel=0.1)
        assert axis.weight * axis.variance == pytest.approx(axis.score, rel=1e-9)
        if estimator == "exact":
            assert axis.weight == pytest.approx(PIXELS, rel=1e-4)


def test_elements_are_axes_on_request(tmp_path):
    model = pair()
    with torch.no_grad():
        codes = write(tmp_path, model.encode(images(model)).mean)
    result = ardtool.relevance(model, latents=codes, granularity="element", estimator="exact", threshold=1.0)
    assert result.latent_dim == result.active == 4 * PIXELS and result.granularity == "element"
    assert all(axis.weight == pytest.approx(1, rel=1e-4) for axis in result.axes)


def test_a_channel_that_the_decoder_does_not_read_is_ignored_and_alone_so(tmp_path):
    model = pair(killed=3)
    with torch.no_grad():
        codes = write(tmp_path, model.encode(images(model)).mean)
    for estimator in ("exact", "sketch", "sobol"):
        result = ardtool.relevance(model, latents=codes, estimator=estimator, threshold=1.0)
        assert [axis.axis for axis in result.axes if axis.state == "ignored"] == [3], estimator
        assert sorted(result.active_axes) == [0, 1, 2]


def test_every_command_takes_maps(tmp_path):
    model = pair()
    data = torch.sigmoid(images(model, 60))
    grid = ardtool.traverse(model, out=tmp_path / "grid.png", data=data, steps=3)
    assert grid.shape == [4, 3, *SHAPE] and len(grid.axes) == 4
    assert ardtool.sample(model, out=tmp_path / "s.npz", n=5, data=data).shape == [5, *SHAPE]
    written = ardtool.encode(model, data=data, out=tmp_path / "codes.npz")
    assert written.shape == [60, *SHAPE] and written.axes == [0, 1, 2, 3]
    back = ardtool.decode(model, codes=tmp_path / "codes.npz", out=tmp_path / "x.npy")
    assert back.shape == [60, *SHAPE]
    assert np.allclose(np.load(tmp_path / "x.npy"), data.numpy(), atol=1e-5)
    with torch.no_grad():
        assert ardtool.relevance(model, latents=tmp_path / "codes.npz").codes_from == "latents"
    assert ardtool.evaluate(model, data=data).metrics["mse"].value == pytest.approx(0, abs=1e-9)
    assert ardtool.relevance(model, assume_prior=True).active == 4


def test_a_traversal_moves_all_elements_of_a_channel_by_their_own_deviation(tmp_path):
    model = ardtool.ModulePair(nn.Identity(), nn.Identity(), (2, 3, 3), (2, 3, 3))
    z = torch.randn(500, 2, 3, 3, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 19).reshape(2, 3, 3)
    from ardtool.commands.opening import codes_for, open_model
    from ardtool.latent.traversal import traversal_codes

    opened = open_model(model)
    np.save(tmp_path / "z.npy", z.numpy())
    codes = codes_for(opened, latents=tmp_path / "z.npy")
    deviation = codes.statistics.variance.sqrt()
    moved = traversal_codes(codes.statistics.mean, deviation, [1], torch.tensor([-1.0, 2.0]), opened.latent_axes)
    change = (moved - codes.statistics.mean)[0]
    assert torch.allclose(change[:, :9], torch.zeros(2, 9, dtype=torch.float64))
    assert torch.allclose(change[:, 9:], torch.stack([-deviation[9:], 2 * deviation[9:]]))


def test_principal_directions_of_large_maps_need_no_covariance_matrix(tmp_path):
    shape = (5, 16, 16)  # 1,280 elements
    codes = torch.zeros(300, *shape)
    factors = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    patterns = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    codes = torch.einsum("nk,kchw->nchw", factors, patterns)
    model = ardtool.ModulePair(nn.Identity(), nn.Identity(), shape, shape)
    np.save(tmp_path / "z.npy", codes.numpy())
    assert CodeStatistics.of(codes.flatten(1)).is_diagonal
    result = ardtool.relevance(model, latents=tmp_path / "z.npy", basis="principal", threshold=0.9999)
    assert result.active == 3 and result.latent_dim == 1280


def test_full_gaussian_samples_of_large_maps_have_the_covariance_of_the_codes(tmp_path):
    from ardtool.commands.opening import codes_for, open_model
    from ardtool.latent.sampling import draw_codes

    shape = (5, 16, 16)
    generator = torch.Generator().manual_seed(0)
    pattern = torch.randn(1, 1280, generator=generator)
    z = torch.randn(900, 1, generator=generator) @ pattern + 0.5
    np.save(tmp_path / "z.npy", z.reshape(-1, *shape).numpy())
    codes = codes_for(open_model(ardtool.ModulePair(nn.Identity(), nn.Identity(), shape, shape)), latents=tmp_path / "z.npy")
    drawn = draw_codes(codes, 2000, "full-gaussian", list(range(1280)), generator).double() - codes.statistics.mean
    pattern = pattern.double()
    along = drawn @ pattern[0] / pattern.square().sum()
    assert torch.allclose(drawn, along[:, None] * pattern[0], atol=1e-4)
    assert float(along.var()) == pytest.approx(1, rel=0.1)
    with pytest.raises(ConfigError, match="--sampler gmm fits full covariances"):
        draw_codes(codes, 2, "gmm", [], generator)


@pytest.mark.parametrize(
    ("mean", "said"),
    [
        (np.zeros((9, 3, 6, 5)), "holds codes of 9×3×6×5; the model has codes of 4×6×5"),
        (np.zeros((9, 4, 5, 5)), "holds codes of 9×4×5×5; the model has codes of 4×6×5"),
        (np.zeros((9, 7)), "holds codes of 9×7; the model has codes of 4×6×5"),
    ],
)
def test_codes_of_another_shape_are_refused(tmp_path, mean, said):
    np.savez(tmp_path / "codes.npz", mean=mean)
    with pytest.raises(ArdtoolError, match=said):
        ardtool.relevance(pair(), latents=tmp_path / "codes.npz")
