"""Pruned layers equal the originals with dropped axes at their mean."""

import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.latent.pruning import PrunedAutoencoder, fold_decoder_layer, full_codes, keep_encoder_rows, measure_equality

F64 = torch.float64


@pytest.mark.parametrize("kept", [[0], [1, 3], [0, 1, 2, 3, 4], [4, 2]])
@pytest.mark.parametrize("bias", [True, False])
def test_folding_is_exact(kept, bias):
    layer, mean, z = nn.Linear(5, 7, bias=bias, dtype=F64), torch.randn(5, dtype=F64), torch.randn(20, len(kept), dtype=F64)
    torch.testing.assert_close(fold_decoder_layer(layer, kept, mean)(z), layer(full_codes(z, kept, mean)))


@pytest.mark.parametrize("blocks", [1, 2])
def test_encoder_rows(blocks):
    layer, h, kept = nn.Linear(6, 5 * blocks), torch.randn(8, 6), [3, 1]
    expected = layer(h).unflatten(1, (blocks, 5))[:, :, kept].flatten(1)
    torch.testing.assert_close(keep_encoder_rows(layer, kept, 5)(h), expected)


def test_full_mask_is_the_identity():
    decoder = nn.Linear(3, 4)
    model = ModulePair(nn.Linear(4, 3), decoder, (4,), 3)
    z, x = torch.randn(5, 3), torch.randn(5, 4)
    pruned = PrunedAutoencoder(model, [0, 1, 2], torch.randn(3))
    torch.testing.assert_close(pruned.decode(z), model.decode(z))
    torch.testing.assert_close(pruned.encode(x).mean, model.encode(x).mean)


def test_wrapping_equals_holding_at_the_mean_and_equality_sees_a_difference():
    model = ModulePair(nn.Linear(4, 3), nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4)), (4,), 3)
    mean, codes, fresh = torch.tensor([0.0, 5.0, 0.0]), Posterior(torch.randn(50, 3)), torch.randn(20, 3)
    pruned = PrunedAutoencoder(model, [0, 2], mean)
    equality = measure_equality(model, pruned, [0, 2], mean, codes, fresh)
    assert equality.relative < 1e-6
    assert equality.output_change > 1e-3  # axis 1 matters, so dropping it changes reconstructions
    wrong = PrunedAutoencoder(model, [0, 2], mean + 1)
    assert measure_equality(model, wrong, [0, 2], mean, codes, fresh).relative > 1e-3
