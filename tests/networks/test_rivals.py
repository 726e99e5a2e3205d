"""The rivals' networks: the published widths, layer by layer; every size; files, pruning and derivatives as with any other network."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

import ardtool
from ardtool.autoencoder import Posterior
from ardtool.errors import ConfigError
from ardtool.latent.codes import LatentCodes
from ardtool.latent.jacobian import column_norms
from ardtool.latent.precision import GammaPosterior
from ardtool.latent.statistics import CodeStatistics
from ardtool.networks.build import architecture_record, build_network
from ardtool.storage.model_file import SavedModel, load_model, save_model

SHAPES = {"maskaae": (1, 6, 5), "geco": (2, 19, 9), "locatello": (1, 64, 64)}


def network(arch, shape, latent_dim=6, value_range=(0.0, 1.0), stochastic=True, seed=0):
    return build_network(architecture_record(arch, shape, latent_dim, value_range=value_range, stochastic=stochastic), seed)


def saved(arch, latent_dim=4) -> SavedModel:
    """An untrained network whose decoder does not read axes 1 and 3."""
    model = network(arch, SHAPES[arch], latent_dim).eval()
    with torch.no_grad():
        model.decoder[0].weight[:, 1::2] = 0
    reference = Posterior(torch.randn(60, latent_dim), torch.full((60, latent_dim), -2.0))
    codes = LatentCodes(CodeStatistics.of(reference.mean), reference, GammaPosterior.uninformed(latent_dim).updated(reference.mean))
    return SavedModel(model, codes, {"method": "ard-vae"})


def layer_shapes(model: nn.Module, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Output shapes of all layers with weights, in the order in which a sample passes them."""
    found: list[tuple[int, ...]] = []
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _m, _i, out: found.append(tuple(out.shape[1:])))
    assert model.decode(model.encode(torch.rand(2, *shape)).mean).shape == (2, *shape)
    return found


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("stochastic", "outputs"), [(True, 32), (False, 16)])
def test_maskaae_has_the_published_widths(stochastic, outputs):
    model = network("maskaae", (1, 28, 28), 16, stochastic=stochastic)
    hidden = [(1024,)] * 4
    assert layer_shapes(model, (1, 28, 28)) == [*hidden, (outputs,), *hidden, (784,)]
    encoder = (784 + 1) * 1024 + 3 * (1024 + 1) * 1024 + (1024 + 1) * outputs
    decoder = (16 + 1) * 1024 + 3 * (1024 + 1) * 1024 + (1024 + 1) * 784
    assert parameters(model) == encoder + decoder
    assert [type(layer) for layer in model.encoder] == [nn.Flatten, *[nn.Linear, nn.ReLU] * 4, nn.Linear]
    assert [type(layer) for layer in model.decoder] == [*[nn.Linear, nn.ReLU] * 4, nn.Linear, nn.Unflatten]


def test_locatello_has_the_published_widths():
    model = network("locatello", (1, 64, 64), 10)
    maps = [(32, 32, 32), (32, 16, 16), (64, 8, 8), (64, 4, 4)]
    back = [(64, 8, 8), (32, 16, 16), (32, 32, 32), (1, 64, 64)]
    assert layer_shapes(model, (1, 64, 64)) == [*maps, (256,), (20,), (256,), (1024,), *back]
    convolutions = (1 * 16 + 1) * 32 + (32 * 16 + 1) * 32 + (32 * 4 + 1) * 64 + (64 * 4 + 1) * 64
    encoder = convolutions + (64 * 4 * 4 + 1) * 256 + (256 + 1) * 20
    transposed = (64 * 16 * 64 + 64) + (64 * 16 * 32 + 32) + (32 * 16 * 32 + 32) + (32 * 16 * 1 + 1)
    decoder = (10 + 1) * 256 + (256 + 1) * 1024 + transposed
    assert parameters(model) == encoder + decoder
    assert [type(layer) for layer in model.encoder] == [*[nn.Conv2d, nn.ReLU] * 4, nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    rows = [nn.ConvTranspose2d, nn.ReLU] * 3
    assert [type(layer) for layer in model.decoder] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Unflatten, *rows, nn.ConvTranspose2d]
    assert layer_shapes(network("locatello", (3, 64, 64)), (3, 64, 64))[-1] == (3, 64, 64)


def test_locatello_pads_as_tensorflow_does():
    """TensorFlow's "same" padding of n pixels has (⌈n/2⌉ − 1)·2 + kernel − n in all for stride 2, half of it on each side."""
    side = 64
    for layer in network("locatello", (1, 64, 64)).encoder:
        if isinstance(layer, nn.Conv2d):
            kernel = layer.kernel_size[0]
            assert layer.padding == (((side // 2 - 1) * 2 + kernel - side) // 2,) * 2
            side //= 2
    assert side == 4


@pytest.mark.parametrize(
    ("size", "maps", "back"),
    [
        ((8, 8), [(32, 4, 4)], [(32, 8, 8)]),
        ((28, 28), [(32, 14, 14), (64, 7, 7)], [(32, 14, 14), (32, 28, 28)]),
        ((45, 31), [(32, 22, 15), (64, 11, 7)], [(32, 22, 15), (32, 45, 31)]),
        (
            (130, 128),
            [(32, 65, 64), (64, 32, 32), (128, 16, 16), (256, 8, 8), (256, 4, 4)],
            [(256, 8, 8), (128, 16, 16), (64, 32, 32), (32, 65, 64), (32, 130, 128)],
        ),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_geco_takes_any_size(size, channels, maps, back):
    shape = (channels, *size)
    model = network("geco", shape)
    assert layer_shapes(model, shape) == [*maps, (12,), (math.prod(maps[-1]),), *back, shape]
    assert not any(isinstance(layer, nn.BatchNorm2d | nn.ConvTranspose2d) for layer in model.modules())


@pytest.mark.parametrize(("shape", "stages"), [((1, 32, 32), 3), ((1, 37, 35), 3)])
def test_the_upsampling_of_geco_repeats_pixels_and_is_not_trained(shape, stages):
    decoder = network("geco", shape).decoder
    layers = [layer for layer in decoder if isinstance(layer, nn.Upsample)]
    assert len(layers) == stages
    for layer in layers:
        assert not list(layer.parameters())
        height, width = layer.size
        x = torch.randn(2, 3, height // 2, width // 2)
        rows, columns = ([n // 2 * i // n for i in range(n)] for n in (height, width))
        torch.testing.assert_close(layer(x), x[:, :, rows][..., columns], rtol=0, atol=0)
        if height % 2 == width % 2 == 0:
            assert torch.equal(layer(x), x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))


def test_maskaae_is_drawn_as_in_its_script():
    model = network("maskaae", (1, 28, 28), 48)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            deviation = math.sqrt(2 / (layer.in_features + layer.out_features))
            assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
            assert 1.9 * deviation < layer.weight.abs().max() <= 2 * deviation / 0.8796
            limit = math.sqrt(3 / layer.out_features)  # biases: Glorot uniform with n for both fans, TensorFlow's default
            assert 0.9 * limit < layer.bias.abs().max() <= limit


def test_locatello_is_drawn_by_tensorflows_defaults():
    model = network("locatello", (3, 64, 64), 10)
    fans = [(3 * 16, 32 * 16), (32 * 16, 32 * 16), (32 * 4, 64 * 4), (64 * 4, 64 * 4), (1024, 256), (256, 20)]
    fans += [(10, 256), (256, 1024), (64 * 16, 64 * 16), (64 * 16, 32 * 16), (32 * 16, 32 * 16), (32 * 16, 3 * 16)]
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    for layer, (fan_in, fan_out) in zip(layers, fans, strict=True):
        limit = math.sqrt(6 / (fan_in + fan_out))
        assert 0.99 * limit < layer.weight.abs().max() <= limit
        assert layer.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)
        assert not layer.bias.any()


@pytest.mark.parametrize(("arch", "centred"), [("maskaae", False), ("locatello", False), ("geco", True)])
def test_pixels_go_in_as_they_are_or_about_zero(arch, centred):
    model, x = network(arch, SHAPES[arch]), torch.rand(2, *SHAPES[arch])
    assert model.record["centred"] == centred
    torch.testing.assert_close(model.encode(x).mean, model.encoder(2 * x - 1 if centred else x)[:, :6])
    assert model.decode(torch.randn(8, 6)).min() >= 0


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_records_of_older_files_keep_their_inputs(value_range):
    record = architecture_record("conv", (1, 16, 16), 4, value_range=value_range)
    old = {name: value for name, value in record.items() if name != "centred"}
    x = torch.rand(2, 1, 16, 16)
    assert torch.equal(build_network(old, 0).encode(x).mean, build_network(record, 0).encode(x).mean)


def test_maskaae_takes_vectors():
    model = network("maskaae", (7,), value_range=None)
    assert model.decode(torch.randn(3, 6) * 50).abs().max() > 1
    x = torch.randn(2, 7)
    assert torch.equal(model.encode(x).mean, model.encoder(x)[:, :6])


@pytest.mark.parametrize("arch", SHAPES)
def test_a_file_gives_the_network_back(arch, tmp_path):
    model = saved(arch)
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors").autoencoder
    assert again.record == model.autoencoder.record
    x = torch.rand(2, *SHAPES[arch])
    with torch.no_grad():
        assert torch.equal(again.encode(x).mean, model.autoencoder.encode(x).mean)
        assert torch.equal(again.decode(x.new_ones(2, 4)), model.autoencoder.decode(x.new_ones(2, 4)))


@pytest.mark.parametrize("convention", ["paper", "authors-code"])
def test_exact_derivatives_of_geco_are_central_differences(convention):
    model = network("geco", (2, 19, 9), 5).eval()
    codes, step = Posterior(torch.randn(6, 5)), 1e-6
    found = column_norms(model, codes, convention=convention)
    assert found.mode == "forward"
    with torch.no_grad():
        double, z = copy.deepcopy(model).double(), codes.mean.double()
        moved = [(double.decode(z + step * unit) - double.decode(z - step * unit)) / (2 * step) for unit in torch.eye(5).double()]
    jacobian = torch.stack([each.flatten(1) for each in moved], dim=2)
    expected = jacobian.square().mean(0).sum(0) if convention == "paper" else jacobian.abs().mean(0).square().sum(0)
    torch.testing.assert_close(found.weight, expected, rtol=1e-5, atol=0)


EXPORTED = [pytest.param(arch, ["pt2", "onnx"], marks=pytest.mark.slow) for arch in SHAPES]


@pytest.mark.parametrize(("arch", "export"), [("geco", []), *EXPORTED])
def test_pruning_makes_the_smaller_network_exactly(arch, export, tmp_path):
    if export:
        pytest.importorskip("onnxruntime")
    model = saved(arch)
    result = ardtool.prune(model, out=tmp_path / "small.safetensors", export=export, device="cpu")
    assert (result.kept, result.decoder, result.encoder) == ([0, 2], "folded", "rows removed")
    assert [each["kind"] for each in result.exports] == ["safetensors", *export]
    assert max(each["relative"] for each in result.exports) <= 1e-5
    small = load_model(tmp_path / "small.safetensors").autoencoder
    assert (type(small), small.record) == (type(model.autoencoder), model.autoencoder.record | {"latent_dim": 2})
    x, z = torch.rand(3, *SHAPES[arch]), torch.randn(3, 4)
    with torch.no_grad():
        torch.testing.assert_close(small.encode(x).mean, model.autoencoder.encode(x).mean[:, [0, 2]])
        torch.testing.assert_close(small.decode(z[:, [0, 2]]), model.autoencoder.decode(z))


@pytest.mark.parametrize(
    ("arch", "shape", "sentence", "hint"),
    [
        ("locatello", (1, 32, 32), "takes images of 64×64; the data are 1×32×32.", "Use --arch auto, or --image-size."),
        ("locatello", (9,), "takes images of 64×64; the data are 9.", "Use --arch auto."),
        ("geco", (9,), "takes images of at least 8×8 pixels; the data are 9.", "Use --arch dense."),
        ("geco", (3, 7, 40), "takes images of at least 8×8 pixels; the data are 3×7×40.", "Use --arch dense."),
        ("paper-dsprites", (9,), "takes images of 1×64×64; the data are 9.", "Use --arch auto."),
    ],
)
def test_shapes_that_do_not_fit(arch, shape, sentence, hint):
    with pytest.raises(ConfigError) as caught:
        network(arch, shape)
    assert (caught.value.message, caught.value.hint) == (f"--arch {arch} {sentence}", hint)
