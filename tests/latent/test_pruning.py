"""Models on some axes equal the full ones with the others held still, by changed layers where these can be shown to be right."""

import json

import pytest
import torch
from torch import Tensor, nn
from torch.func import jvp, vmap

from ardtool.autoencoder import FlatLatents, ModulePair, Posterior
from ardtool.latent.axes import LatentAxes
from ardtool.latent.pruning import full_codes, prune_axes, rebuild

F64 = torch.float64
MAP = (5, 4, 3)  # channels, height, width of a code
KEPT = [3, 1]


class Chunked(nn.Module):
    """Means and log variances from one layer, the latter clamped."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Posterior:
        mean, log_variance = self.body(x).chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-0.2, 0.2))


class TwoHeads(nn.Module):
    """Means and log variances from two layers, and a layer of another size called after them."""

    def __init__(self, body: nn.Module, mean: nn.Module, log_variance: nn.Module) -> None:
        super().__init__()
        self.body, self.mean, self.log_variance, self.extra = body, mean, log_variance, nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Posterior:
        hidden = self.body(x)
        posterior = Posterior(self.mean(hidden), self.log_variance(hidden))
        self.extra(torch.ones(len(x), 1, dtype=x.dtype))
        return posterior


class Clamped(nn.Module):
    """What a tiny autoencoder of diffusers does to a code before it is read."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(z / 3) * 3


class Residual(nn.Module):
    """Reads the code twice, by a layer and beside it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        return torch.relu(self.conv(z)) + z


class Normalised(nn.Module):
    """Mixes elements before the first layer."""

    def forward(self, z: Tensor) -> Tensor:
        return z / (1 + z.square().mean(dim=tuple(range(1, z.ndim)), keepdim=True))


IMAGE = (2, 4, 3)
MAP_DECODERS = {
    "1x1": lambda: [nn.Conv2d(5, 6, 1)],
    "unpadded": lambda: [nn.ReplicationPad2d(1), nn.Conv2d(5, 6, 3)],
    "zero-padded": lambda: [nn.Conv2d(5, 6, 3, padding=1)],
    "transposed": lambda: [nn.ConvTranspose2d(5, 6, 3, padding=1)],
    "clamped": lambda: [Clamped(), nn.Conv2d(5, 6, 3, padding=1)],
    "dense": lambda: [nn.Flatten(), nn.Linear(60, 72), nn.Unflatten(1, (6, 4, 3))],
    "residual": lambda: [Residual(5), nn.Conv2d(5, 6, 1)],
    "normalised": lambda: [Normalised(), nn.Conv2d(5, 6, 1)],
    "depthwise": lambda: [nn.Conv2d(5, 5, 3, padding=1, groups=5), nn.Conv2d(5, 6, 1)],
    "no layer": lambda: [_Sum()],
}


class _Sum(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z.sum(dim=1, keepdim=True).expand(-1, 6, -1, -1)


def map_model(decoder: str = "zero-padded", encoder: nn.Module | None = None) -> FlatLatents:
    encoder = encoder or Chunked(nn.Conv2d(2, 10, 3, padding=1))
    layers = nn.Sequential(*MAP_DECODERS[decoder](), nn.Tanh(), nn.Conv2d(6, 2, 1))
    return FlatLatents(ModulePair(encoder, layers, IMAGE, MAP)).double()


def vector_model(decoder: nn.Module, encoder: nn.Module | None = None) -> ModulePair:
    return ModulePair(encoder or Chunked(nn.Linear(4, 10)), decoder, (4,), 5).double()


def posterior(size: int, rows: int = 30) -> Posterior:
    return Posterior(torch.randn(rows, size, dtype=F64) + torch.randn(size, dtype=F64))


@torch.no_grad()
def check_decoder(model, pruning, elements: list[int], mean: Tensor) -> None:
    c = torch.randn(6, len(elements), dtype=F64)
    assert tuple(pruning.model.latent_shape) == (len(elements),)
    expected = model.decode(full_codes(c, elements, mean))
    torch.testing.assert_close(pruning.model.decode(c), expected, rtol=1e-10, atol=1e-12)


@torch.no_grad()
def check_encoder(model, pruning, elements: list[int]) -> None:
    x = torch.rand(7, *model.input_shape, dtype=F64)
    found, expected = pruning.model.encode(x), model.encode(x).flat().axes(elements)
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-10, atol=1e-12)
    assert (found.log_variance is None) == (expected.log_variance is None)
    if expected.log_variance is not None:
        torch.testing.assert_close(found.log_variance, expected.log_variance, rtol=1e-10, atol=1e-12)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def check_rebuilt(fresh, pruning) -> None:
    """The record, through JSON, gives the structure; the state dict gives the rest."""
    record = json.loads(json.dumps(pruning.record))
    again = rebuild(fresh, record)
    again.load_state_dict(pruning.model.state_dict())
    c, x = torch.randn(3, *pruning.model.latent_shape, dtype=F64), torch.rand(3, *fresh.input_shape, dtype=F64)
    assert torch.equal(again.decode(c), pruning.model.decode(c))
    assert torch.equal(again.encode(x).mean, pruning.model.encode(x).mean)
    assert again.latent_shape == pruning.model.latent_shape
    assert getattr(again, "map_shape", None) == getattr(pruning.model, "map_shape", None)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("1x1", "folded"),
        ("unpadded", "folded"),
        ("zero-padded", "bias map"),
        ("transposed", "bias map"),
        ("clamped", "bias map"),
        ("dense", "folded"),
        ("residual", "scatter"),
        ("normalised", "scatter"),
        ("depthwise", "scatter"),
        ("no layer", "scatter"),
    ],
)
def test_channels_of_a_map(name, way, constant):
    """Channel means are not zero; where they vary over positions, only a dense layer has room for them in its bias."""
    model, axes, codes = map_model(name), LatentAxes(MAP), posterior(60)
    mean = codes.mean.mean(dim=0)
    if constant:
        mean = axes.mean(mean).repeat_interleave(axes.size)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    pruning = prune_axes(model, axes, KEPT, mean, codes)
    assert pruning.record["decoder"] == (way if constant or name == "dense" or way == "scatter" else "bias map")
    assert pruning.record["encoder"] == "rows removed"
    assert pruning.model.map_shape == (2, 4, 3)
    check_decoder(model, pruning, axes.elements_of(KEPT), mean)
    check_encoder(model, pruning, axes.elements_of(KEPT))
    check_rebuilt(map_model(name), pruning)
    assert parameters(pruning.model) < parameters(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("kept", [[0], [4, 2], [0, 1, 2, 3, 4]])
def test_axes_of_vectors(kept):
    model, codes = vector_model(nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4))), posterior(5)
    mean = codes.mean.mean(dim=0)
    pruning = prune_axes(model, LatentAxes((5,)), kept, mean, codes)
    assert (pruning.record["decoder"], pruning.record["encoder"]) == ("folded", "rows removed")
    assert not hasattr(pruning.model, "map_shape")
    check_decoder(model, pruning, kept, mean)
    check_encoder(model, pruning, kept)
    check_rebuilt(vector_model(nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4))), pruning)


@pytest.mark.parametrize(("name", "way"), [("dense", "folded"), ("1x1", "scatter")])
def test_elements_of_a_map(name, way):
    model, axes, codes = map_model(name), LatentAxes(MAP, "element"), posterior(60)
    mean, kept = codes.mean.mean(dim=0), [0, 7, 59, 30]
    pruning = prune_axes(model, axes, kept, mean, codes)
    assert (pruning.record["decoder"], pruning.record["encoder"]) == (way, "selected")
    assert not hasattr(pruning.model, "map_shape")
    check_decoder(model, pruning, kept, mean)
    check_encoder(model, pruning, kept)
    check_rebuilt(map_model(name), pruning)


def test_elements_that_are_whole_channels_are_folded_as_channels():
    model, axes, codes = map_model("1x1"), LatentAxes(MAP, "element"), posterior(60)
    mean, kept = codes.mean.mean(dim=0), LatentAxes(MAP).elements_of([3, 1])
    pruning = prune_axes(model, axes, kept, mean, codes)
    assert (pruning.record["decoder"], pruning.record["encoder"]) == ("bias map", "rows removed")
    assert not hasattr(pruning.model, "map_shape")
    check_decoder(model, pruning, kept, mean)
    check_encoder(model, pruning, kept)


class _Scaled(nn.Module):
    def forward(self, x: Tensor) -> Posterior:
        return Posterior(3 * x, None)


@pytest.mark.parametrize(
    ("encoder", "way"),
    [
        (lambda: nn.Linear(4, 5), "rows removed"),
        (lambda: nn.Sequential(nn.Linear(4, 5), _Scaled()), "rows removed"),
        (lambda: TwoHeads(nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(6, 5)), "rows removed"),
        (lambda: Chunked(nn.Linear(4, 10)), "rows removed"),
        (lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5)), "selected"),
        (lambda: nn.Sequential(nn.Linear(4, 5), nn.Softmax(dim=1)), "selected"),
        (lambda: nn.ZeroPad1d((0, 1)), "selected"),
    ],
)
def test_encoders(encoder, way):
    model, codes = vector_model(nn.Linear(5, 4), encoder()), posterior(5)
    pruning = prune_axes(model, LatentAxes((5,)), KEPT, codes.mean.mean(dim=0), codes)
    assert pruning.record["encoder"] == way
    check_encoder(model, pruning, KEPT)
    check_rebuilt(vector_model(nn.Linear(5, 4), encoder()), pruning)


class Labelled(nn.Module):
    """Decodes a code together with a context that came out of the encoder."""

    input_shape, latent_shape = (4,), (5,)

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 5), nn.Linear(7, 4)

    def encode(self, x: Tensor) -> Posterior:
        return Posterior(self.encoder(x), None, x[:, :2])

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        assert context is not None
        return torch.sigmoid(self.decoder(torch.cat([z, context], dim=1)))


def test_a_context_goes_on_beside_the_code():
    model, x = Labelled().double(), torch.rand(20, 4, dtype=F64)
    codes = model.encode(x)
    mean = codes.mean.mean(dim=0).detach()
    pruning = prune_axes(model, LatentAxes((5,)), KEPT, mean, Posterior(codes.mean.detach(), None, codes.context))
    assert pruning.record["decoder"] == "folded"
    c = torch.randn(20, 2, dtype=F64)
    with torch.no_grad():
        expected = model.decode(full_codes(c, KEPT, mean), codes.context)
        torch.testing.assert_close(pruning.model.decode(c, codes.context), expected, rtol=1e-10, atol=1e-12)
    assert pruning.model.encode(x).context is not None


@pytest.mark.parametrize("name", ["1x1", "zero-padded", "dense", "residual"])
def test_a_pruned_model_can_be_pruned_again(name):
    model, axes, codes = map_model(name), LatentAxes(MAP), posterior(60)
    mean = codes.mean.mean(dim=0)
    once = prune_axes(model, axes, [0, 3, 1], mean, codes)
    left = axes.elements_of([0, 3, 1])
    twice = prune_axes(once.model, axes.keeping([0, 3, 1]), [1, 2], mean[left], codes.axes(left))
    assert twice.model.map_shape == (2, 4, 3)
    check_decoder(model, twice, axes.elements_of(KEPT), mean)
    check_encoder(model, twice, axes.elements_of(KEPT))
    check_rebuilt(map_model(name), twice)


@pytest.mark.parametrize("name", ["zero-padded", "residual"])
def test_pruned_decoders_have_forward_derivatives(name):
    """Nested forward mode goes through the changed layer and through completed codes."""
    model, axes, codes = map_model(name), LatentAxes(MAP), posterior(60)
    elements = axes.elements_of(KEPT)
    pruning = prune_axes(model, axes, KEPT, codes.mean.mean(dim=0), codes)
    c, basis = torch.randn(2, 24, dtype=F64), torch.eye(24, dtype=F64)

    def columns(decode, z: Tensor, tangents: Tensor) -> Tensor:
        def one(code: Tensor) -> Tensor:
            return vmap(lambda tangent: jvp(lambda inputs: decode(inputs[None])[0], (code,), (tangent,))[1])(tangents)

        return vmap(one)(z)

    full = columns(model.decode, full_codes(c, elements, codes.mean.mean(dim=0)), torch.eye(60, dtype=F64)[elements])
    torch.testing.assert_close(columns(pruning.model.decode, c, basis), full, rtol=1e-9, atol=1e-10)
