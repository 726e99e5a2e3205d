"""Pruned models of every build: half precision, no float64, no copies, no module; the wrapper that stands in, and what equality means."""

import pytest
import torch
from torch import Tensor, nn

from ardtool.autoencoder import ModulePair, Posterior, flat_latents
from ardtool.errors import ArdtoolError
from ardtool.latent.axes import LatentAxes
from ardtool.latent.pruning import PrunedAutoencoder, full_codes, measure_equality, prune_axes

KEPT = [3, 1]


def codes_of(size: int) -> Posterior:
    return Posterior(torch.randn(30, size) + torch.randn(size))


class _ComputesInSingle(nn.Module):
    """Turns codes into its own type, as adapters of half-precision models do."""

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        self.kind, self.layer = kind, nn.Linear(5, 4).to(kind)

    def forward(self, z: Tensor) -> Tensor:
        return self.layer(z.to(self.kind)).float()


@pytest.mark.parametrize(("kind", "way"), [(torch.float32, "folded"), (torch.bfloat16, "scatter")])
def test_models_that_do_not_bear_float64(kind, way):
    model, codes = ModulePair(nn.Linear(4, 5), _ComputesInSingle(kind), (4,), 5), codes_of(5)
    mean = codes.mean.double().mean(dim=0)
    pruning = prune_axes(model, LatentAxes((5,)), KEPT, mean, codes)
    assert pruning.record["decoder"] == way
    c = torch.randn(6, 2)
    torch.testing.assert_close(pruning.model.decode(c), model.decode(full_codes(c, KEPT, mean)), rtol=1e-5, atol=1e-5)
    assert {value.dtype for value in pruning.model.state_dict().values()} <= {torch.float32, kind}


def test_half_precision_weights_stay_half():
    model = ModulePair(nn.Linear(4, 5), nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 4)), (4,), 5).bfloat16()
    codes = codes_of(5)
    pruning = prune_axes(model, LatentAxes((5,)), KEPT, codes.mean.double().mean(dim=0), codes)
    assert (pruning.record["decoder"], pruning.record["encoder"]) == ("folded", "rows removed")
    assert {value.dtype for value in pruning.model.state_dict().values()} == {torch.bfloat16}
    assert pruning.model.model.decoder[0].weight.shape == (8, 2)


def test_models_that_cannot_be_copied_are_wrapped():
    decoder = nn.Linear(5, 4)
    model = ModulePair(nn.Linear(4, 5), decoder, (4,), 5)
    model.cache = decoder.weight * 2  # torch copies no tensor that is a result
    codes, c = codes_of(5), torch.randn(6, 2)
    mean = codes.mean.mean(dim=0)
    pruning = prune_axes(model, LatentAxes((5,)), KEPT, mean, codes)
    assert (pruning.record["decoder"], pruning.record["encoder"]) == ("scatter", "selected")
    torch.testing.assert_close(pruning.model.decode(c), model.decode(full_codes(c, KEPT, mean)))
    assert model.training


def test_what_is_no_module_is_refused():
    class Plain:
        input_shape, latent_shape = (4,), (5,)

    with pytest.raises(ArdtoolError, match="A Plain is no torch module; its layers cannot be changed"):
        prune_axes(Plain(), LatentAxes((5,)), KEPT, torch.zeros(5), codes_of(5))


def test_the_wrapper_is_the_identity_where_all_axes_stay():
    model = ModulePair(nn.Linear(4, 3), nn.Linear(3, 4), (4,), 3)
    z, x = torch.randn(5, 3), torch.randn(5, 4)
    pruned = PrunedAutoencoder(model, [0, 1, 2], torch.randn(3))
    torch.testing.assert_close(pruned.decode(z), model.decode(z))
    torch.testing.assert_close(pruned.encode(x).mean, model.encode(x).mean)


def test_the_wrapper_takes_maps():
    pair = ModulePair(nn.Conv2d(2, 5, 1), nn.Sequential(nn.Conv2d(5, 2, 3, padding=1), nn.Tanh()), (2, 4, 3), (5, 4, 3))
    model, mean, elements = flat_latents(pair), torch.randn(60), LatentAxes((5, 4, 3)).elements_of(KEPT)
    pruned = PrunedAutoencoder(model, elements, mean)
    c = torch.randn(3, 24)
    torch.testing.assert_close(pruned.decode(c), model.decode(full_codes(c, elements, mean)))


@torch.no_grad()
def test_equality_sees_a_difference_whatever_the_memory():
    model = ModulePair(nn.Linear(4, 3), nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4)), (4,), 3)
    mean, codes, fresh, kept = torch.tensor([0.0, 5.0, 0.0]), Posterior(torch.randn(50, 3)), torch.randn(20, 3), [0, 2]

    def measured(at: Tensor, memory: int = 2**28):
        def hold(z: Tensor) -> Tensor:
            return full_codes(z[:, kept], kept, mean)

        return measure_equality(model, PrunedAutoencoder(model, kept, at), lambda z: z[:, kept], hold, codes, fresh, memory=memory)

    equality = measured(mean)
    assert equality.relative < 1e-6
    shifted = measured(mean + 1)
    assert measured(mean + 1, memory=1).max_abs_difference == pytest.approx(shifted.max_abs_difference, rel=1e-5)
    assert shifted.relative > 1e-3
    assert measured(mean * torch.nan).relative == float("inf")
