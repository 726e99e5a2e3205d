r"""Removing latent axes: dropped axes are held at their aggregate mean, and that constant is folded into the first affine layer.

    decoder layer  y = W z + c   becomes   y = W_K z_K + (c + W_R m_R),      K kept, R dropped, m the aggregate mean
    encoder layer  h = V u + d   keeps the rows that produce the kept axes

which is exact: the small decoder equals the full one with z_R = m_R, up to floating-point summation order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..autoencoder import Autoencoder, Posterior

__all__ = ["Equality", "PrunedAutoencoder", "fold_decoder_layer", "full_codes", "keep_encoder_rows", "measure_equality"]


@dataclass(frozen=True)
class Equality:
    """How far a pruned decoder is from the original with dropped axes held at their mean.

    Attributes:
        max_abs_difference: largest absolute difference of any output.
        output_scale: largest absolute output, the yardstick.
        output_change: mean squared difference per output between the pruned decoder and the full one with all axes free.
    """

    max_abs_difference: float
    output_scale: float
    output_change: float

    @property
    def relative(self) -> float:
        return self.max_abs_difference / max(self.output_scale, 1e-12)


def full_codes(kept_codes: Tensor, kept: list[int], mean: Tensor) -> Tensor:
    """Codes on all L axes with shape (N, L): kept axes from `kept_codes` (N, K), dropped ones at their mean."""
    z = mean.to(kept_codes).expand(len(kept_codes), -1).clone()
    z[:, kept] = kept_codes
    return z


def fold_decoder_layer(layer: nn.Linear, kept: list[int], mean: Tensor) -> nn.Linear:
    """The linear layer on kept axes alone, dropped ones folded into its bias.

    Arguments:
        layer: maps (N, L) to (N, H).
        kept: indices of kept axes, in the order in which the new layer takes them.
        mean: aggregate mean of all axes with shape (L,).
    """
    dropped = [axis for axis in range(layer.in_features) if axis not in set(kept)]
    folded = nn.Linear(len(kept), layer.out_features, dtype=layer.weight.dtype, device=layer.weight.device)
    with torch.no_grad():
        weight = layer.weight.double()
        bias = torch.zeros(layer.out_features, dtype=torch.float64) if layer.bias is None else layer.bias.double()
        folded.weight.copy_(layer.weight[:, kept])
        folded.bias.copy_(bias + weight[:, dropped] @ mean.to(weight)[dropped])
    return folded


def keep_encoder_rows(layer: nn.Linear, kept: list[int], latent_dim: int) -> nn.Linear:
    """The linear layer that produces only kept axes: rows of means, and of log variances where it has 2L outputs."""
    rows = [block + axis for block in range(0, layer.out_features, latent_dim) for axis in kept]
    small = nn.Linear(layer.in_features, len(rows), bias=layer.bias is not None, dtype=layer.weight.dtype, device=layer.weight.device)
    with torch.no_grad():
        small.weight.copy_(layer.weight[rows])
        if layer.bias is not None:
            small.bias.copy_(layer.bias[rows])
    return small


class PrunedAutoencoder(nn.Module):
    """Any autoencoder restricted to some axes, by wrapping: for models whose layers cannot be folded.

    Arguments:
        model: the full autoencoder.
        kept: indices of the axes that stay.
        mean: aggregate mean of all axes with shape (L,), at which dropped ones are held.
    """

    def __init__(self, model: Autoencoder, kept: list[int], mean: Tensor) -> None:
        super().__init__()
        self.model = model
        self.kept = list(kept)
        self.register_buffer("mean", mean.clone())
        self.input_shape = model.input_shape
        self.latent_shape = (len(kept),)

    def encode(self, x: Tensor) -> Posterior:
        return self.model.encode(x).axes(self.kept)

    def decode(self, z: Tensor, context: Any = None) -> Tensor:
        return self.model.decode(full_codes(z, self.kept, self.get_buffer("mean")), context)


@torch.no_grad()
def measure_equality(full: Autoencoder, pruned: Autoencoder, kept: list[int], mean: Tensor, codes: Posterior, fresh: Tensor) -> Equality:
    """Compare both decoders on reference codes and on fresh ones.

    Arguments:
        kept, mean: as for `full_codes`.
        codes: reference posteriors; their means measure `output_change`.
        fresh: further codes with shape (M, L), drawn from the aggregate distribution.
    """
    reference = codes.mean
    all_free = full.decode(reference, codes.context)
    context = None if codes.context is None else codes.context[: len(fresh)]
    difference, scale = 0.0, 0.0
    for z, z_context in ((reference, codes.context), (fresh, context)):
        expected = full.decode(full_codes(z[:, kept], kept, mean), z_context)
        found = pruned.decode(z[:, kept], z_context)
        difference = max(difference, float((found - expected).abs().max()))
        scale = max(scale, float(expected.abs().max()))
    change = float((pruned.decode(reference[:, kept], codes.context) - all_free).square().mean())
    return Equality(difference, scale, change)
