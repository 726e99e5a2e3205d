r"""Changing the layers around the code, where the changed model is shown to be the same.

A change is made to a copy of the model in float64 and tried: the decoder on reference codes and on others about their centre and, for
directions, far from it; the encoder on samples. It stands where all outputs agree to 10⁻⁶ of the largest one (10⁻⁵ for models that do not
bear float64). Where nothing does, the code is completed before the decoder and shortened behind the encoder.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..autoencoder import Posterior, flat_latents
from .chunks import is_out_of_memory
from .folding import called_layers, find_reader, folded_reader, install, rotated_writer, shortened_writer
from .jacobian import inference_mode
from .pruned_model import PrunedModel, code_type, model_device, needs_reduction
from .reduction import DirectionReduction, Reduction

__all__ = ["LayerPlan", "attempt"]

AGREEMENT = {torch.float64: 1e-6, torch.float32: 1e-5}  # largest difference of a changed model, relative to the largest output
TRIED_CODES = 2  # of the reference, and as many others
FAR = 100.0  # how many times as far from the centre some more are

Edits = dict[str, dict[str, Tensor]]  # new tensors of layers, by the layer's path and the tensor's name


@dataclass(frozen=True)
class LayerPlan:
    """What is to be done to a model.

    Attributes:
        inner: the model with its own latent shape.
        record: see `Pruning`; without `decoder`, `encoder` and `edits`.
        reduction: in float64 on the CPU.
        features: by the number of features that a layer reads or writes of the code, which of them stay, or directions.
    """

    inner: Any
    record: dict[str, Any]
    reduction: Reduction
    features: dict[int, list[int] | Tensor]

    def applied(self, model: Any, edits: Edits, decoder: str, encoder: str, kind: torch.dtype) -> PrunedModel:
        """The pruned model made of a copy of the inner one, with layers changed as `edits` say."""
        for path, tensors in edits.items():
            install(model, path, tensors)
        shapes = [{"path": path, "shapes": {name: list(value.shape) for name, value in tensors.items()}} for path, tensors in edits.items()]
        record = self.record | {"decoder": decoder, "encoder": encoder, "edits": shapes}
        reduction = copy.deepcopy(self.reduction).to(kind).to(model_device(model)) if needs_reduction(record) else None
        return PrunedModel(model, record, reduction)


def attempt(plan: LayerPlan, centre: Tensor, codes: Posterior, sample: Tensor | None) -> PrunedModel:
    """The pruned model with as much of the plan done by layers as can be shown to be right.

    Arguments:
        centre: with shape (L,), where dropped elements are held.
        codes, sample: see `prune_axes`.
    """
    decoder, edits = _attempted(lambda: _decoder_edits(plan, centre, codes)) or ("scatter", {})
    encoder, more = _attempted(lambda: _encoder_edits(plan, sample)) or ("", {})
    if encoder == "" or set(more) & set(edits):
        encoder, more = "selected" if plan.record["kind"] == "axes" else "rotated", {}
    model = _attempted(lambda: copy.deepcopy(plan.inner))
    if model is None:  # it has parts that cannot be copied; nothing in it is changed then
        model = plan.inner
    was_training = plan.inner.training
    return plan.applied(model.eval(), edits | more, decoder, encoder, code_type(plan.inner)).train(was_training)


def _decoder_edits(plan: LayerPlan, centre: Tensor, codes: Posterior) -> tuple[str, Edits] | None:
    """How the decoder's layer changes, where the changed decoder agrees with the full one."""
    device = _trial_device(plan.inner)
    few = codes.rows(slice(0, TRIED_CODES))
    context = None if few.context is None else few.context.to(device)
    centre = centre.to(device).double()
    reference = few.mean.to(device).double()
    spread = (codes.mean[:100].to(centre) - centre).abs().mean(dim=0) + 0.1
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = centre + spread * noise.to(device)
    twin, kind = _twin(plan.inner, lambda model, kind: flat_latents(model).decode(reference.to(kind), context))
    full = flat_latents(twin)
    with inference_mode(twin):
        reader = find_reader(twin, lambda z: full.decode(z, context), centre.to(kind), moved.to(kind))
        if reader is None or reader.count not in plan.features:
            return None
        edits = {reader.path: folded_reader(twin.get_submodule(reader.path), reader, plan.features[reader.count])}
        word = "bias map" if "position_bias" in edits[reader.path] else "folded"
        small = plan.applied(copy.deepcopy(twin), edits, word, "selected", kind)
        reduction = copy.deepcopy(plan.reduction).to(kind).to(device)
        pairs = []
        # along directions a clamp between code and layer would be missed near the centre
        far = [centre + FAR * (moved - centre)] if plan.record["kind"] == "directions" else []
        for row, z in enumerate(torch.cat([reference, moved, *far]).to(kind)):
            own = None if context is None else context[row % len(context)][None]
            c = reduction.shorten(z[None])
            expected = full.decode(reduction.hold(c), own)
            if row < 2 * len(reference) or expected.isfinite().all():
                pairs.append((small.decode(c, own), expected))
    return (word, edits) if _agree(pairs, AGREEMENT[kind]) else None


def _encoder_edits(plan: LayerPlan, sample: Tensor | None) -> tuple[str, Edits] | None:
    """How the encoder's last layers change, where the changed encoder agrees with the full one."""
    shape = tuple(plan.inner.input_shape)
    x = torch.rand(TRIED_CODES, *shape, generator=torch.Generator().manual_seed(0)) if sample is None else sample[:TRIED_CODES]
    x = x.to(_trial_device(plan.inner))
    twin, kind = _twin(plan.inner, lambda model, kind: model.encode(x.to(kind)))
    reduction = copy.deepcopy(plan.reduction).to(kind).to(x.device)
    with inference_mode(twin):
        expected = reduction.posterior(twin.encode(x.to(kind)).flat())
        called = called_layers(twin, lambda: twin.encode(x.to(kind)))
        word = "rows removed" if plan.record["kind"] == "axes" else "folded"
        for edits in _writer_candidates(plan, twin, called):
            small = _attempted(lambda edits=edits: plan.applied(copy.deepcopy(twin), edits, "scatter", word, kind).encode(x.to(kind)))
            if small is not None and _same_posterior(small, expected, AGREEMENT[kind]):
                return word, edits
    return None


def _writer_candidates(plan: LayerPlan, model: nn.Module, called: dict[str, int]) -> Iterator[Edits]:
    """Changes of the last two layers of the code's size, and of the last one, which may produce log variances too."""
    for size, kept in plan.features.items():
        last = {path: model.get_submodule(path) for path, outputs in called.items() if outputs in (size, 2 * size)}
        if not last:
            continue
        path, layer = list(last.items())[-1]
        if isinstance(kept, Tensor):
            assert isinstance(plan.reduction, DirectionReduction), "directions are multiplied, axes selected"
            if isinstance(layer, nn.Linear) and called[path] == size:
                yield {path: rotated_writer(layer, plan.reduction.get_buffer("readout"), plan.reduction.get_buffer("centre"))}
            continue
        pair = list(last.items())[-2:]
        if len(pair) == 2:
            yield {each: shortened_writer(one, kept, size) for each, one in pair}
        yield {path: shortened_writer(layer, kept, size)}


def _twin(model: Any, call: Callable[[Any, torch.dtype], Any]) -> tuple[Any, torch.dtype]:
    """A copy in float64, or as it is where the model computes in types of its own, and the type of codes and samples that it takes."""
    twin = copy.deepcopy(model).to(_trial_device(model)).double().eval()
    with inference_mode(twin):
        if _attempted(lambda: call(twin, torch.float64)) is not None:
            return twin, torch.float64
    return copy.deepcopy(model).to(_trial_device(model)).eval(), torch.float32


def _trial_device(model: nn.Module) -> torch.device:
    """The model's own; the CPU in place of MPS, which has no float64."""
    device = model_device(model)
    return torch.device("cpu") if device.type == "mps" else device


def _attempted(call: Callable[[], Any]) -> Any:
    """The result, or None where a foreign model does not bear the change."""
    try:
        return call()
    except Exception as error:  # whatever a foreign model raises; the pruned model then has its codes changed instead of its layers
        if is_out_of_memory(error):
            raise
        return None


def _agree(pairs: Sequence[tuple[Tensor, Tensor]], tolerance: float) -> bool:
    """Whether all found values equal the expected ones up to a part of the largest expected one."""
    if any(found.shape != expected.shape for found, expected in pairs):
        return False
    scale = max(float(expected.abs().max()) for _, expected in pairs)
    return all(bool(((found - expected).abs() <= tolerance * scale).all()) for found, expected in pairs)


def _same_posterior(found: Posterior, expected: Posterior, tolerance: float) -> bool:
    if found.log_variance is None or expected.log_variance is None:
        return found.log_variance is expected.log_variance and _agree([(found.mean, expected.mean)], tolerance)
    return _agree([(found.mean, expected.mean)], tolerance) and _agree([(found.log_variance, expected.log_variance)], tolerance)
