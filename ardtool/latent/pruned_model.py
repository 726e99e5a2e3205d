"""Models with fewer latent axes: by changed layers, by shortened and completed codes, or by both; and the same structure from a record."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ..autoencoder import Autoencoder, FlatLatents, Posterior
from ..errors import ArdtoolError
from .axes import LatentAxes
from .folding import install
from .reduction import DirectionReduction, ElementReduction, Reduction, full_codes

__all__ = ["PrunedAutoencoder", "PrunedModel", "code_type", "inner_model", "model_device", "needs_reduction", "rebuild"]


class PrunedAutoencoder(nn.Module):
    """Any autoencoder restricted to some axes, by wrapping: its layers stay as they are.

    Arguments:
        model: the full autoencoder on flat codes; `flat_latents` makes it of one with latent maps.
        kept: indices of the elements that stay.
        mean: aggregate mean of all elements with shape (L,), at which dropped ones are held.
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


class PrunedModel(nn.Module):
    """A model of which layers around the code were changed, with flat codes of K numbers.

    Arguments:
        model: the changed model, with its own latent shape.
        record: see `Pruning`.
        reduction: shortens and completes codes where layers do not; None where they do at both ends.

    Attributes:
        map_shape: shape of one code, where kept axes are channels of a map.
    """

    def __init__(self, model: Any, record: dict[str, Any], reduction: Reduction | None) -> None:
        super().__init__()
        self.model = model
        self.record = record
        self.reduction = reduction
        self.input_shape = tuple(model.input_shape)
        self.latent_shape = tuple(record["latent_shape"])
        if record["map_shape"] is not None:
            self.map_shape = tuple(record["map_shape"])

    def encode(self, x: Tensor) -> Posterior:
        full = self.model.encode(x).flat()
        if self.record["encoder"] in ("rows removed", "folded"):
            return full
        assert self.reduction is not None, "codes are shortened by layers or by this"
        return self.reduction.posterior(full)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        shape = self.record["decoder_shape"]
        if self.record["decoder"] == "scatter":
            assert self.reduction is not None, "codes are completed by layers or by this"
            z, shape = self.reduction.hold(z), list(self.model.latent_shape)
        if shape is not None and len(shape) > 1:
            # the number of channels is left open: a model that is pruned again takes fewer
            z = z.unflatten(-1, (-1, *shape[1:]))
        return self.model.decode(z, context)


def rebuild(model: Any, record: dict[str, Any]) -> PrunedModel:
    """The structure of a pruned model with any weights, from the full model's structure with any weights.

    Arguments:
        model: as for `prune_axes`; it is left as it is.
        record: of a `Pruning`.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: the record does not fit the model.
    """
    if record["before"] is not None:
        model = rebuild(model, record["before"])
    inner = copy.deepcopy(inner_model(model))
    for edit in record["edits"]:
        install(inner, edit["path"], {name: torch.empty(shape) for name, shape in edit["shapes"].items()})
    if not needs_reduction(record):
        return PrunedModel(inner, record, None)
    axes = LatentAxes(tuple(record["shape"]), record["granularity"])
    length, kind = axes.elements, code_type(inner)
    if record["kind"] == "axes":
        return PrunedModel(inner, record, ElementReduction(axes.elements_of(record["kept"]), torch.zeros(length, dtype=kind)))
    size = len(record["kept"])
    zeros = (torch.zeros(shape, dtype=kind) for shape in ((length, size), (size, length), (length,)))
    return PrunedModel(inner, record, DirectionReduction(*zeros))


def inner_model(model: Any) -> Any:
    """The model with its own latent shape."""
    if not isinstance(model, nn.Module):
        raise ArdtoolError(f"A {type(model).__name__} is no torch module; its layers cannot be changed.", "Use ardtool.PrunedAutoencoder.")
    return model.model if isinstance(model, FlatLatents) else model


def needs_reduction(record: dict[str, Any]) -> bool:
    """Whether a pruned model with this record maps between short and long codes itself; else its layers are smaller."""
    return record["decoder"] == "scatter" or record["encoder"] in ("selected", "rotated")


def model_device(model: nn.Module) -> torch.device:
    """Where the first parameter or buffer lies; the CPU for a model without any."""
    tensor = next(model.parameters(), next(model.buffers(), None))
    return torch.device("cpu") if tensor is None else tensor.device


def code_type(model: nn.Module) -> torch.dtype:
    """The type of means and directions in the model: float32, or float64 where it computes in that."""
    kinds = {parameter.dtype for parameter in model.parameters()}
    return torch.float64 if torch.float64 in kinds else torch.float32
