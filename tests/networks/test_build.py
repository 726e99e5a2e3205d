"""Networks: every shape goes in and comes out, the paper's tables are met, nothing on disk chooses a class."""

import math

import pytest
import torch
from torch import nn

from ardtool.errors import ConfigError
from ardtool.networks.architectures import NARROWER, NETWORKS
from ardtool.networks.build import SameConvTranspose2d, architecture_record, build_network
from ardtool.networks.specs import PAPER_NETWORKS


def network(arch, shape, latent_dim=6, value_range=(0.0, 1.0), seed=0):
    return build_network(architecture_record(arch, shape, latent_dim, value_range=value_range), seed)


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (32, 32), (48, 64), (45, 31), (64, 64), (128, 128)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_default_convolutional_takes_any_size(size, channels):
    shape = (channels, *size)
    model = network("auto", shape)
    posterior = model.encode(torch.rand(2, *shape))
    assert posterior.mean.shape == posterior.log_variance.shape == (2, 6)
    out = model.decode(posterior.mean)
    assert out.shape == (2, *shape)
    assert 0 < out.min() < out.max() < 1


@pytest.mark.parametrize("name", PAPER_NETWORKS)
def test_paper_networks_have_the_tables_shapes(name):
    shape, spec = PAPER_NETWORKS[name]
    model = network(name, shape, 10)
    maps = []
    for layer in [*model.encoder, *model.decoder]:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _m, _i, out: maps.append(tuple(out.shape[1:])))
    out = model.decode(model.encode(torch.rand(2, *shape)).mean)
    assert out.shape == (2, *shape)
    side = shape[1]
    encoder = [(width, side >> (k + 1), side >> (k + 1)) for k, width in enumerate(spec.encoder)]
    decoder = list(zip((*spec.decoder, shape[0]), *zip(*spec.sizes, strict=True), strict=True))
    assert maps == encoder + decoder
    dense = [layer for layer in [*model.encoder, *model.decoder] if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in dense] == [(math.prod(encoder[-1]), 20), (10, math.prod(spec.start))]
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules()) == spec.batch_norm


def test_mnist_network_has_the_number_of_parameters_of_table_4():
    def conv(i, o):
        return i * o * 16 + o

    def norm(c):
        return 2 * c

    encoder = conv(1, 64) + conv(64, 128) + conv(128, 256) + conv(256, 512) + norm(64 + 128 + 256 + 512) + (2 * 2 * 512 + 1) * 32
    decoder = (16 + 1) * 2 * 2 * 512 + conv(512, 256) + conv(256, 128) + conv(128, 64) + conv(64, 1) + norm(256 + 128 + 64)
    model = network("paper-mnist", (1, 32, 32), 16)
    assert sum(parameter.numel() for parameter in model.parameters()) == encoder + decoder


def test_keras_initialisation():
    model = network("paper-mnist", (1, 32, 32), 16)
    conv, deconv, dense = model.encoder[3], model.decoder[2], model.decoder[0]
    assert isinstance(conv, nn.Conv2d) and isinstance(deconv, nn.ConvTranspose2d) and isinstance(dense, nn.Linear)
    for layer, fan_in in ((conv, 64 * 16), (deconv, 256 * 16)):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.02)
        assert layer.weight.abs().max() <= 2 * math.sqrt(2 / fan_in) / 0.8796 + 1e-6
        assert not layer.bias.any()
    assert dense.weight.abs().max().item() == pytest.approx(math.sqrt(6 / (16 + 2048)), rel=0.01)
    norm = model.encoder[1]
    assert (norm.momentum, norm.eps) == (0.01, 1e-3)


def test_the_seed_decides_every_layer_and_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, same, other = (network("paper-mnist", (1, 32, 32), 4, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    for name, value in first.items():
        assert torch.equal(value, same[name])
        if name.endswith("weight") and value.ndim > 1:
            assert not torch.equal(value, other[name]), name


def test_stride_one_transposed_convolution_keeps_the_size_like_the_adjoint_of_same_padding():
    """It is the adjoint of a convolution padded by 1 before and 2 after: ⟨conv(x), y⟩ = ⟨x, deconv(y)⟩."""
    layer = SameConvTranspose2d(3, 2)
    nn.init.zeros_(layer.bias)
    x, y = torch.randn(1, 2, 8, 8), torch.randn(1, 3, 8, 8)
    conv = nn.functional.conv2d(nn.functional.pad(x, (1, 2, 1, 2)), layer.weight)
    torch.testing.assert_close((conv * y).sum(), (x * layer(y)).sum(), rtol=1e-4, atol=1e-4)


def test_vectors_and_ranges():
    model = network("auto", (7,), value_range=None)
    assert model.record["name"] == "dense"
    assert model.decode(torch.randn(3, 6) * 50).abs().max() > 1  # no squashing
    celeba = network("paper-celeba", (3, 64, 64), value_range=(-1.0, 1.0)).eval()
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(celeba.encode(x).mean, celeba.encoder(x)[:, :6])  # centred once, by the data
    mnist = network("paper-mnist", (1, 32, 32)).eval()
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(mnist.encode(x).mean, mnist.encoder(2 * x - 1)[:, :6])


def test_log_variances_are_clamped():
    model = network("auto", (5,), value_range=None)
    log_variance = model.encode(torch.randn(4, 5) * 1e6).log_variance
    assert log_variance.min() >= -15
    assert log_variance.max() <= 10


@pytest.mark.parametrize(
    ("arch", "shape", "sentence"),
    [
        ("paper-mnist", (1, 28, 28), "--arch paper-mnist takes images of 1×32×32; the data are 1×28×28."),
        ("conv", (5,), "--arch conv takes images of at least 8×8 pixels; the data are 5."),
        ("conv", (1, 4, 9), "--arch conv takes images of at least 8×8 pixels; the data are 1×4×9."),
    ],
)
def test_shapes_that_do_not_fit(arch, shape, sentence):
    with pytest.raises(ConfigError) as caught:
        architecture_record(arch, shape, 4, value_range=(0.0, 1.0))
    assert caught.value.message == sentence


def test_an_unknown_architecture_in_a_file_is_refused():
    record = architecture_record("dense", (5,), 4, value_range=None) | {"name": "os.system"}
    with pytest.raises(ConfigError, match=r"Unknown architecture 'os\.system'\."):
        build_network(record)


@pytest.mark.parametrize("name", [*NETWORKS, "auto"])
@pytest.mark.parametrize("divisor", NARROWER)
def test_a_narrower_network_has_the_same_layers(name, divisor):
    shape = (
        (1, 32, 32) if name in ("auto", "paper-mnist") else (3, 32, 32) if name in ("paper-cifar10", "paper-imagenet32") else (1, 64, 64)
    )
    shape = (3, 64, 64) if name in ("paper-celeba", "paper-shapes3d") else shape
    whole, narrow = network(name, shape, 10), network(f"{name}/{divisor}", shape, 10)
    assert narrow.decode(narrow.encode(torch.rand(2, *shape)).mean).shape == (2, *shape)
    assert list(map(type, narrow.modules())) == list(map(type, whole.modules()))
    wide = [layer.weight.shape for layer in [*whole.encoder, *whole.decoder] if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    slim = [layer.weight.shape for layer in [*narrow.encoder, *narrow.decoder] if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    for before, after in zip(wide[1:-1], slim[1:-1], strict=True):
        assert (after[0] * divisor, after[1] * divisor) == (before[0], before[1])


@pytest.mark.parametrize("name", ["conv/3", "conv/", "conv/four", "paper-mnist/1"])
def test_a_width_that_is_none_is_refused(name):
    with pytest.raises(ConfigError, match=f"^Unknown architecture '{name}'") as error:
        network(name, (1, 32, 32))
    base = name.partition("/")[0]
    assert error.value.hint == f"Narrower than {base} are {base}/2, {base}/4, {base}/8."
