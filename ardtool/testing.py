"""The conformance test that a plugin's author runs: `check_autoencoder(model, x)` tries every promise of the contract in `autoencoder.py`.

from ardtool.testing import check_autoencoder
check_autoencoder(load(path, "cpu"), x, spec=plugin)
"""

from __future__ import annotations

import copy
import json
from typing import Any

import torch
from torch import Tensor, nn

from .autoencoder import Autoencoder, Posterior, flat_latents
from .latent.jacobian import inference_mode
from .latent.sketch import pulled_back
from .registry import PluginSpec

__all__ = ["check_autoencoder"]

TOLERANCE = 1e-4
DERIVATIVE_TOLERANCE = 1e-2


def check_autoencoder(model: Any, x: Tensor, *, spec: PluginSpec | None = None, differentiable: bool = True) -> None:
    """Raise `AssertionError`, with a sentence, at the first promise that a model does not keep.

    Arguments:
        model: what a plugin's `load` returned.
        x: a few samples with shape (N, *input_shape), N ≥ 2, as ardtool would give them: float32, images in [0, 1].
        spec: the plugin; its `build` is then checked too.
        differentiable: whether torch can differentiate `decode`; without it only `--estimator sobol` and central differences work.
    """
    assert isinstance(model, Autoencoder), f"A {type(model).__name__} lacks encode, decode, input_shape or latent_shape."
    assert len(x) >= 2, "Give at least two samples."
    assert tuple(x.shape[1:]) == tuple(model.input_shape), (
        f"The samples have shape {tuple(x.shape[1:])}, input_shape is {tuple(model.input_shape)}."
    )
    before = _state(model)
    with inference_mode(model):
        posterior = _check_encode(model, x)
        _check_decode(model, x, posterior)
        if differentiable:
            _check_derivatives(flat_latents(model), posterior.flat())
    for name, value in _state(model).items():
        assert torch.equal(value, before[name]), f"Encoding or decoding changed '{name}'; in inference mode nothing may change."
    if spec is not None:
        _check_build(model, spec, posterior)


def _check_encode(model: Autoencoder, x: Tensor) -> Posterior:
    posterior = model.encode(x)
    assert isinstance(posterior, Posterior), f"encode returned a {type(posterior).__name__}; expected an ardtool.Posterior."
    expected = (len(x), *model.latent_shape)
    for name, found in (("mean", posterior.mean), ("log_variance", posterior.log_variance)):
        if found is not None:
            assert tuple(found.shape) == expected, f"encode gives a {name} of shape {tuple(found.shape)}; latent_shape says {expected}."
            assert bool(found.isfinite().all()), f"encode gives a {name} that is not finite."
    if posterior.context is not None:
        assert isinstance(posterior.context, Tensor) and len(posterior.context) == len(x), (
            "The context must be a tensor with a row a sample."
        )
    again = model.encode(x)
    assert torch.equal(again.mean, posterior.mean), "Encoding the same samples twice gives two answers; return means, not draws."
    single = model.encode(x[:1])
    _check_close(single.mean, posterior.mean[:1], "The code of a sample depends on the rest of the batch")
    return posterior


def _check_decode(model: Autoencoder, x: Tensor, posterior: Posterior) -> None:
    decoded = model.decode(posterior.mean, posterior.context)
    assert decoded.shape == x.shape, f"decode gives shape {tuple(decoded.shape)}; expected {tuple(x.shape)}."
    assert bool(decoded.isfinite().all()), "decode gives values that are not finite."
    again = model.decode(posterior.mean, posterior.context)
    assert torch.equal(again, decoded), "Decoding the same codes twice gives two answers; there must be no noise in it."
    context = None if posterior.context is None else posterior.context[:1]
    _check_close(model.decode(posterior.mean[:1], context), decoded[:1], "What a code decodes to depends on the rest of the batch")
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(0)).to(posterior.mean)
    moved = model.decode(posterior.mean + noise, posterior.context)
    assert not torch.equal(moved, decoded), "decode does not depend on the code."


def _check_derivatives(model: Autoencoder, posterior: Posterior) -> None:
    """The gradient of a random projection of the output, along itself, against central differences; in float64 where the model can."""
    model, double = _in_double(model)
    z = posterior.mean.detach().to(torch.float64 if double else torch.float32)
    context = _converted(posterior.context, z.dtype)
    outputs = model.decode(z, context).flatten(1)
    projection = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0)).to(outputs)
    gradient = pulled_back(model, z, context, projection[:, None])[:, 0]
    slope = float(gradient.norm())
    assert slope > 0, "The derivative of decode is zero everywhere; is there a detach in it?"
    direction = gradient / slope
    estimates = []
    for step in (1e-5, 1e-6, 1e-7) if double else (1e-1, 1e-2, 1e-3):
        length = step * float(z.std().clamp(min=1e-3))
        change = model.decode(z + length * direction, context) - model.decode(z - length * direction, context)
        estimates.append(float((change.flatten(1).double() * projection.double()).sum()) / (2 * length))
    nearest = min(estimates, key=lambda value: abs(value - slope))
    assert abs(nearest - slope) <= DERIVATIVE_TOLERANCE * slope, (
        f"The derivative of decode is {slope:.4g} by torch and {nearest:.4g} by central differences; is there a detach or a rounding in it?"
    )


def _in_double(model: Autoencoder) -> tuple[Autoencoder, bool]:
    """A float64 copy, in which a kink of a ReLU is seldom met by the steps; the model itself where it cannot be made."""
    if not isinstance(model, nn.Module):
        return model, False
    try:
        twin: Any = copy.deepcopy(model).double()
    except Exception:  # whatever a foreign class says to being copied
        return model, False
    return twin, any(value.dtype == torch.float64 for value in (*twin.parameters(), *twin.buffers()))


def _converted(context: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return context.to(dtype) if context is not None and context.is_floating_point() else context


def _check_build(model: Any, spec: PluginSpec, posterior: Posterior) -> None:
    record = getattr(model, "build_record", None)
    if spec.build is None:
        assert record is None, "The model has a build_record, but the plugin has no build."
        return
    assert record is not None, "The plugin has build, but the model has no build_record."
    assert json.loads(json.dumps(record)) == record, "The build_record must come back unchanged from JSON: strings, numbers, lists, dicts."
    assert isinstance(model, nn.Module), "A model that is to be built again must be an nn.Module."
    built = spec.build(copy.deepcopy(record))
    assert isinstance(built, nn.Module) and isinstance(built, Autoencoder), "build must return an nn.Module with encode and decode."
    assert {name: value.shape for name, value in built.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }, "build makes a model with other tensors than load."
    built.load_state_dict(model.state_dict())
    original: Any = model
    with inference_mode(original), inference_mode(built):
        _check_close(
            built.decode(posterior.mean, posterior.context),
            original.decode(posterior.mean, posterior.context),
            "The model that build makes decodes otherwise",
        )


def _check_close(found: Tensor, expected: Tensor, sentence: str) -> None:
    scale = float(expected.abs().max().clamp(min=1e-6))
    difference = float((found - expected).abs().max()) / scale
    assert difference <= TOLERANCE, f"{sentence}: it differs by {difference:.1e} of the scale."


def _state(model: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()} if isinstance(model, nn.Module) else {}
