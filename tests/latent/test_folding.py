"""Layers on fewer axes equal the layers they replace, with what was dropped held at any map, at the borders too."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from ardtool.latent.folding import find_reader, folded_reader, install, rotated_writer, shortened_writer

F64 = torch.float64
CHANNELS, SIZE, KEPT = 5, (4, 6), [3, 1]

MAP_LAYERS = {
    "1x1": lambda: nn.Conv2d(CHANNELS, 7, 1),
    "unpadded": lambda: nn.Conv2d(CHANNELS, 7, 3),
    "no bias": lambda: nn.Conv2d(CHANNELS, 7, 3, bias=False),
    "zeros": lambda: nn.Conv2d(CHANNELS, 7, 3, padding=1),
    "reflect": lambda: nn.Conv2d(CHANNELS, 7, 3, padding=1, padding_mode="reflect"),
    "circular": lambda: nn.Conv2d(CHANNELS, 7, 3, padding=1, padding_mode="circular"),
    "stride": lambda: nn.Conv2d(CHANNELS, 7, 3, padding=1, stride=2, dilation=2),
    "transposed": lambda: nn.ConvTranspose2d(CHANNELS, 7, 4, stride=2, padding=1, output_padding=1),
    "parametrized spectral norm": lambda: parametrizations.spectral_norm(nn.Conv2d(CHANNELS, 7, 3, padding=1)),
    "parametrized weight norm": lambda: parametrizations.weight_norm(nn.ConvTranspose2d(CHANNELS, 7, 3)),
}
BORDERED = ("zeros", "stride", "transposed", "parametrized spectral norm", "parametrized weight norm")


def held(z: torch.Tensor, mean: torch.Tensor, kept: list[int]) -> torch.Tensor:
    """The code with dropped channels at their mean map."""
    full = mean.expand(len(z), *mean.shape).clone()
    full[:, kept] = z[:, kept]
    return full


def folded(model: nn.Module, mean: torch.Tensor, kept) -> dict[str, torch.Tensor]:
    """Change the model's layer that reads the code; the centre is the mean, on elements."""
    with torch.no_grad():
        moved = mean.flatten() + torch.randn(2, mean.numel(), dtype=mean.dtype)
        reader = find_reader(model, lambda z: model(z.unflatten(1, mean.shape)), mean.flatten(), moved)
        assert reader is not None
        tensors = folded_reader(model.get_submodule(reader.path), reader, kept)
        install(model, reader.path, tensors)
    return tensors


@pytest.mark.parametrize("name", MAP_LAYERS)
@pytest.mark.parametrize("constant", [True, False])
def test_a_convolution_equals_itself_with_dropped_channels_held(name, constant):
    layer = nn.Sequential(MAP_LAYERS[name](), nn.Tanh()).double().eval()
    mean = torch.randn(CHANNELS, *SIZE, dtype=F64)
    if constant:
        mean = mean[:, :1, :1].expand_as(mean).clone()
    z = torch.randn(3, CHANNELS, *SIZE, dtype=F64)
    expected = layer(held(z, mean, KEPT))
    tensors = folded(layer, mean, KEPT)
    torch.testing.assert_close(layer(z[:, KEPT]), expected, rtol=1e-10, atol=1e-12)
    is_one_number = constant and name not in BORDERED
    assert ("position_bias" in tensors) != is_one_number
    assert (layer[0].in_channels, layer[0].out_channels) == (2, 7)


@pytest.mark.parametrize(("layer", "shape"), [(nn.Conv1d(5, 3, 3, padding=1), (5, 8)), (nn.ConvTranspose3d(5, 3, 2), (5, 2, 3, 2))])
def test_in_one_and_three_dimensions(layer, shape):
    model, mean, z = nn.Sequential(layer).double(), torch.randn(shape, dtype=F64), torch.randn(3, *shape, dtype=F64)
    expected = model(held(z, mean, KEPT))
    folded(model, mean, KEPT)
    torch.testing.assert_close(model(z[:, KEPT]), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kept", [[0], [1, 3], [0, 1, 2, 3, 4], [4, 2], []])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_gets_one_bias(kept, bias):
    model, mean, z = nn.Sequential(nn.Linear(5, 7, bias=bias, dtype=F64)), torch.randn(5, dtype=F64), torch.randn(20, 5, dtype=F64)
    expected = model(held(z, mean, kept))
    assert set(folded(model, mean, kept)) == {"weight", "bias"}
    torch.testing.assert_close(model(z[:, kept]), expected, rtol=1e-10, atol=1e-12)


def test_what_a_layer_reads_beside_the_code_stays():
    class Conditional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(9, 6)
            self.label = torch.randn(4, dtype=F64)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return self.first(torch.cat([self.label[:2].expand(len(z), 2), z, self.label[2:].expand(len(z), 2)], dim=1))

    model, mean, z = Conditional().double(), torch.randn(5, dtype=F64), torch.randn(8, 5, dtype=F64)
    expected = model(held(z, mean, KEPT))
    folded(model, mean, KEPT)
    assert model.first.in_features == 6
    torch.testing.assert_close(model(z[:, KEPT]), expected, rtol=1e-10, atol=1e-12)


def test_a_layer_over_positions():
    """A linear layer that reads the channels of every position, as transformers do."""
    model = nn.Sequential(nn.Flatten(2), _Transposed(), nn.Linear(CHANNELS, 7)).double()
    mean, z = torch.randn(CHANNELS, *SIZE, dtype=F64), torch.randn(3, CHANNELS, *SIZE, dtype=F64)
    expected = model(held(z, mean, KEPT))
    assert "position_bias" in folded(model, mean, KEPT)
    torch.testing.assert_close(model(z[:, KEPT]), expected, rtol=1e-10, atol=1e-12)


class _Transposed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


def test_folding_twice_is_folding_once():
    layer = nn.Sequential(nn.Conv2d(CHANNELS, 7, 3, padding=1)).double()
    mean, z = torch.randn(CHANNELS, *SIZE, dtype=F64), torch.randn(3, CHANNELS, *SIZE, dtype=F64)
    expected = layer(held(z, mean, [1]))
    folded(layer, mean, [3, 1])
    folded(layer, mean[[3, 1]], [1])
    torch.testing.assert_close(layer(z[:, [1]]), expected, rtol=1e-10, atol=1e-12)
    assert len(layer[0]._forward_hooks) == 1


@pytest.mark.parametrize("computed", [spectral_norm, weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_old_computed_weights_become_plain(computed):
    with torch.no_grad():
        model = nn.Sequential(computed(nn.Linear(5, 7))).double().eval()
        mean, z = torch.randn(5, dtype=F64), torch.randn(4, 5, dtype=F64)
        expected = model(held(z, mean, KEPT))
        folded(model, mean, KEPT)
        torch.testing.assert_close(model(z[:, KEPT]), expected, rtol=1e-10, atol=1e-12)
    assert set(model.state_dict()) == {"0.weight", "0.bias"}


@pytest.mark.parametrize("make", [lambda: nn.Linear(5, 7), lambda: nn.ConvTranspose2d(5, 7, 3), lambda: nn.Conv2d(5, 7, 1, bias=False)])
def test_along_directions(make):
    """The layer on coordinates c equals the layer on z₀ + U c."""
    layer = make().double()
    shape = (5,) if isinstance(layer, nn.Linear) else (5, 1, 1)
    model, centre = nn.Sequential(layer), torch.randn(shape, dtype=F64)
    directions, c = torch.randn(5, 2, dtype=F64), torch.randn(6, 2, dtype=F64)
    expected = model(centre + (c @ directions.T).view(6, *shape))
    folded(model, centre, directions)
    torch.testing.assert_close(model(c.view(6, 2, *shape[1:])), expected, rtol=1e-10, atol=1e-12)


def test_the_reader_is_the_first_layer_whose_input_changes():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.constant, self.second, self.third = nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 4)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return self.third(self.second(torch.tanh(z))) + self.constant(torch.ones(len(z), 3)).sum()

    model, z = Two(), torch.randn(2, 5)
    reader = find_reader(model, model, torch.zeros(5), z)
    assert reader is not None
    assert (reader.path, reader.first, reader.count) == ("second", 0, 5)
    assert find_reader(nn.Sequential(nn.Tanh()), nn.Sequential(nn.Tanh()), torch.zeros(5), z) is None


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("layer", [nn.Conv2d, nn.ConvTranspose2d])
def test_writers_keep_their_rows(blocks, layer):
    writer, x = nn.Sequential(layer(3, 5 * blocks, 3, padding=1)), torch.randn(2, 3, 6, 6)
    expected = writer(x).unflatten(1, (blocks, 5))[:, :, KEPT].flatten(1, 2)
    install(writer, "0", shortened_writer(writer[0], KEPT, 5))
    torch.testing.assert_close(writer(x), expected)
    assert writer[0].out_channels == 2 * blocks


def test_rotated_writer():
    writer, x = nn.Sequential(nn.Linear(3, 5)).double(), torch.randn(2, 3, dtype=F64)
    readout, centre = torch.randn(2, 5, dtype=F64), torch.randn(5, dtype=F64)
    expected = (writer(x) - centre) @ readout.T
    install(writer, "0", rotated_writer(writer[0], readout, centre))
    torch.testing.assert_close(writer(x), expected)


def test_types_stay_and_other_modules_are_refused():
    model = nn.Sequential(nn.Linear(5, 7).bfloat16(), nn.Tanh())
    install(model, "0", {"weight": torch.zeros(7, 2, dtype=F64), "bias": torch.ones(7, dtype=F64)})
    assert model[0].weight.dtype == model[0].bias.dtype == torch.bfloat16
    with pytest.raises(AttributeError, match="'1' is no affine layer"):
        install(model, "1", {})
    with pytest.raises(AttributeError):
        install(model, "nonsense", {})
