r"""Removing latent axes, or all but some directions, from any autoencoder; what is dropped is held at its aggregate mean.

    decoder layer  y = W z + b   becomes   y = W_K z_K + (b + W_R m_R),      K kept, R dropped, m the aggregate mean
    encoder layer  h = V u + d   keeps the rows that produce the kept axes

which is exact: the small decoder equals the full one with z_R = m_R, up to floating-point summation order. `folding.py` finds and changes
these layers in models of any build. Every change is tried out: the changed model must agree with the full one on some codes and samples,
in float64; where it does not, the code is completed before the decoder ("scatter") or shortened behind the encoder ("selected").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, prod
from typing import Any

import torch
from torch import Tensor

from ..autoencoder import Autoencoder, Posterior
from .axes import LatentAxes
from .chunks import MEMORY_BUDGET, ChunkCost, decode_footprint, in_chunks
from .layer_trials import LayerPlan, attempt
from .pruned_model import PrunedAutoencoder, PrunedModel, inner_model, rebuild
from .reduction import DirectionReduction, ElementReduction, full_codes

__all__ = [
    "Equality",
    "PrunedAutoencoder",
    "PrunedModel",
    "Pruning",
    "full_codes",
    "measure_equality",
    "prune_axes",
    "prune_directions",
    "rebuild",
]


@dataclass(frozen=True)
class Equality:
    """How far a pruned decoder is from the original with dropped axes held at their mean.

    Attributes:
        max_abs_difference: largest absolute difference of any output; infinite where one is not a number.
        output_scale: largest absolute output, the yardstick.
    """

    max_abs_difference: float
    output_scale: float

    @property
    def relative(self) -> float:
        return self.max_abs_difference / max(self.output_scale, 1e-12)


@dataclass(frozen=True)
class Pruning:
    """A pruned model.

    Attributes:
        model: an autoencoder on flat codes with `latent_shape` (K,), and with `map_shape` where kept axes are channels of a map.
        record: JSON, from which `rebuild` makes the same structure:
            `kind`: `axes` or `directions`; `kept`: indices of axes, or 0 … K − 1; `shape`, `granularity`: of the full code's axes;
            `latent_shape`, `map_shape`: of the model; `decoder_shape`: of one code where its decoder takes it, None where flat;
            `decoder`: `folded` into a layer's bias, `bias map` (exact too, for codes of this size), or `scatter`: codes are completed
            and no layer is smaller; `encoder`: `rows removed` from layers, `folded` into a layer along directions, `selected` or
            `rotated` behind the encoder; `edits`: paths of changed layers and shapes of their new tensors; `before`: the record of an
            earlier pruning, or None.
    """

    model: PrunedModel
    record: dict[str, Any]


def prune_axes(model: Any, axes: LatentAxes, kept: Sequence[int], mean: Tensor, codes: Posterior, sample: Tensor | None = None) -> Pruning:
    """The model on some axes, all others held at their mean.

    Arguments:
        model: an autoencoder on flat codes (N, L) that is an `nn.Module`: of vectors, or `FlatLatents` of maps. It is left as it is.
        axes: what an axis is.
        kept: indices of the axes that stay, in the order in which the new code has them.
        mean: of all elements with shape (L,).
        codes: reference posteriors; changed decoders are tried on a few of them.
        sample: a few inputs (N, *input_shape) on which changed encoders are tried; None for random ones in [0, 1].

    Raises:
        ArdtoolError: the model is no `nn.Module`.
    """
    inner = inner_model(model)
    elements = axes.elements_of(kept)
    code_shape = tuple(getattr(model, "map_shape", inner.latent_shape))
    channels = _whole_channels(elements, code_shape)
    as_map = None if channels is None else [len(channels), *code_shape[1:]]
    record = {
        "kind": "axes",
        "kept": list(kept),
        "shape": list(axes.shape),
        "granularity": axes.granularity,
        "latent_shape": [len(elements)],
        "map_shape": as_map if axes.is_grouped else None,
        "decoder_shape": as_map if len(inner.latent_shape) > 1 else None,
        "before": inner.record if isinstance(inner, PrunedModel) else None,
    }
    features: dict[int, list[int] | Tensor] = {axes.elements: elements}
    if channels is not None:
        features[code_shape[0]] = channels
    model = attempt(LayerPlan(inner, record, ElementReduction(elements, mean.double().cpu()), features), mean, codes, sample)
    return Pruning(model, model.record)


def prune_directions(
    model: Any, directions: Tensor, readout: Tensor, centre: Tensor, codes: Posterior, sample: Tensor | None = None
) -> Pruning:
    """The model on coordinates along some directions: c = readout (z − centre), decoded as z = centre + directions c.

    Arguments:
        model, codes, sample: as for `prune_axes`.
        directions: with shape (L, K).
        readout: with shape (K, L), such that readout · directions = I.
        centre: with shape (L,).
    """
    inner = inner_model(model)
    size = directions.shape[1]
    record = {
        "kind": "directions",
        "kept": list(range(size)),
        "shape": list(getattr(model, "map_shape", inner.latent_shape)),
        "granularity": "element",
        "latent_shape": [size],
        "map_shape": None,
        "decoder_shape": None,
        "before": inner.record if isinstance(inner, PrunedModel) else None,
    }
    reduction = DirectionReduction(directions.double().cpu(), readout.double().cpu(), centre.double().cpu())
    model = attempt(LayerPlan(inner, record, reduction, {len(directions): directions.double()}), centre, codes, sample)
    return Pruning(model, model.record)


@torch.no_grad()
def measure_equality(
    full: Autoencoder,
    pruned: Autoencoder,
    restrict: Callable[[Tensor], Tensor],
    hold: Callable[[Tensor], Tensor],
    codes: Posterior,
    fresh: Tensor,
    *,
    memory: int = MEMORY_BUDGET,
) -> Equality:
    """Compare pruned.decode(restrict(z)) with full.decode(hold(z)) on reference codes and on fresh ones, a few at a time.

    Arguments:
        full, pruned: both on flat codes, in inference mode.
        restrict: codes (N, L) to codes of the pruned model (N, K).
        hold: codes (N, L) to codes (N, L) with everything that was dropped held still.
        codes: reference posteriors; their means are decoded.
        fresh: further codes with shape (M, L), drawn from the aggregate distribution.
        memory: bytes that the intermediate values of one step may take, about.
    """
    cost = ChunkCost(decode_footprint(full, codes.mean, codes.context)[0], device=codes.mean.device)

    def difference(z: Tensor, rows: slice) -> tuple[float, float]:
        """The largest difference of some codes, and the largest output."""
        context = None if codes.context is None else codes.context[torch.arange(rows.start, rows.stop) % len(codes)]
        expected = full.decode(hold(z[rows]), context)
        found = float((pruned.decode(restrict(z[rows]), context) - expected).abs().max())
        return found if isfinite(found) else inf, float(expected.abs().max())

    largest = [
        found for z in (codes.mean, fresh) for _, _, found in in_chunks(len(z), 1, cost, memory, lambda rows, _, z=z: difference(z, rows))
    ]
    differences, scales = zip(*largest, strict=True)
    return Equality(max(differences), max(scales))


def _whole_channels(elements: Sequence[int], shape: tuple[int, ...]) -> list[int] | None:
    """The channels that elements of a map make up, or None where they are not whole channels."""
    size = prod(shape[1:])
    channels = [element // size for element in elements[::size]]
    whole = [channel * size + offset for channel in channels for offset in range(size)]
    return channels if len(shape) > 1 and whole == list(elements) else None
