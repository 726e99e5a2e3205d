r"""Layers around the code made smaller: the decoder's layer that reads it, the encoder's layers that write it.

A layer f that is affine in the code z, with u what else it reads, satisfies for kept elements K and dropped ones R held at m_R

    f(z_K, m_R, u) = f_K(z_K, u) + B,      B = f(0, m_R, 0) − f(0, 0, 0)

with f_K the same layer on K alone. For linear layers B is one number an output, which becomes bias. For convolutions it is one number an
output where m_R is constant over positions and nothing is padded with zeros; else B differs between positions, at the borders above all,
and is added as `position_bias`, for codes of this size. Along directions, z = z₀ + U c, the weights become W U and B = f(z₀, 0) − f(0, 0).

Which layer reads the code is found by trying: it is the first affine layer whose input changes when the code does. What lies between the
code and that layer may be any function of single elements, such as a scaling or a clamp; along directions a scaling, but no clamp. Nothing
here proves that a smaller layer is right: the caller compares both models.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm

__all__ = ["CodeReader", "called_layers", "find_reader", "folded_reader", "install", "rotated_writer", "shortened_writer"]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
AFFINE = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)
POSITION_BIAS = "position_bias"
CONSTANT = 1e-12  # relative spread over positions, in float64, below which B is one number an output
CALLS = 16  # affine layers that are watched before the one that reads the code


@dataclass(frozen=True)
class CodeReader:
    """The layer that reads the code.

    Attributes:
        path: its dotted name.
        first, count: the features of its input that are the code; all others come from elsewhere.
        still: its input for one code at the centre, batch dimension first.
    """

    path: str
    first: int
    count: int
    still: Tensor


def find_reader(model: nn.Module, decode: Callable[[Tensor], Any], centre: Tensor, moved: Tensor) -> CodeReader | None:
    """The first affine layer whose input changes with the code, or None.

    Arguments:
        model: where the layers are.
        decode: decodes codes (N, L), always with the same context.
        centre: one code with shape (L,).
        moved: N other codes (N, L) that differ from it in every element.
    """
    still = _inputs(model, lambda: decode(centre.expand_as(moved)))
    for (path, before), (other, after) in zip(still, _inputs(model, lambda: decode(moved)), strict=False):
        if path != other or before.shape != after.shape:
            return None
        axis = _feature_axis(model.get_submodule(path), before)
        changed = (before != after).movedim(axis, 0).flatten(1).any(dim=1)
        places = changed.nonzero().flatten().tolist()
        if not places:
            continue
        is_block = places == list(range(places[0], places[-1] + 1))
        return CodeReader(path, places[0], len(places), before[:1]) if is_block and len(before) == len(moved) else None
    return None


def folded_reader(layer: Any, reader: CodeReader, kept: Sequence[int] | Tensor) -> dict[str, Tensor]:
    """Tensors of the layer on short codes: `weight`, and `bias` or `position_bias`; all float64.

    Arguments:
        layer: the layer that `reader` found.
        kept: features of the code that stay, counted from its first, or directions U with shape (count, K).
    """
    layer = copy.deepcopy(layer).double()
    axis = _feature_axis(layer, reader.still)
    held = torch.zeros_like(reader.still, dtype=torch.float64)
    code = reader.still.narrow(axis, reader.first, reader.count).double()
    if not isinstance(kept, Tensor):
        code = code.index_fill(axis, torch.as_tensor(kept, dtype=torch.int64, device=code.device), 0)
    held.narrow(axis, reader.first, reader.count).copy_(code)
    constant = layer(held) - layer(torch.zeros_like(held))
    outputs = constant.movedim(_feature_axis(layer, constant), 0).flatten(1)
    tensors = {"weight": _on_short_codes(layer, reader, kept)}
    if (outputs - outputs[:, :1]).abs().max() <= CONSTANT * outputs.abs().max():
        tensors["bias"] = outputs[:, 0] + (0 if layer.bias is None else layer.bias)
    else:
        tensors[POSITION_BIAS] = constant[0] + (layer.position_bias if hasattr(layer, POSITION_BIAS) else 0)
    return {name: value.detach() for name, value in tensors.items()}


def shortened_writer(layer: Any, kept: Sequence[int], size: int) -> dict[str, Tensor]:
    """Tensors of a layer that produces only some of the code: of each block of `size` outputs those that are kept; float64."""
    axis = _weight_axes(layer)[0]
    weight = layer.weight.detach().double()
    rows = torch.as_tensor(
        [block + row for block in range(0, weight.shape[axis], size) for row in kept], dtype=torch.int64, device=weight.device
    )
    tensors = {"weight": weight.index_select(axis, rows)}
    if layer.bias is not None:
        tensors["bias"] = layer.bias.detach().double()[rows]
    return tensors


def rotated_writer(layer: nn.Linear, readout: Tensor, centre: Tensor) -> dict[str, Tensor]:
    """Tensors of a linear layer that produces B (z − z₀) instead of z; float64.

    Arguments:
        readout: B with shape (K, L).
        centre: z₀ with shape (L,).
    """
    weight = layer.weight.detach().double()
    bias = 0 if layer.bias is None else layer.bias.detach().double()
    readout = readout.to(weight)
    return {"weight": readout @ weight, "bias": readout @ (bias - centre.to(weight))}


def called_layers(model: nn.Module, call: Callable[[], Any]) -> dict[str, int]:
    """Numbers of outputs of the affine layers that a call goes through, by path; what is called last stands last."""
    called: dict[str, int] = {}

    def note(path: str, layer: Any, _: Tensor) -> None:
        called.pop(path, None)
        called[path] = layer.weight.shape[_weight_axes(layer)[0]]

    with _watching(model, note):
        call()
    return called


def install(model: nn.Module, path: str, tensors: dict[str, Tensor]) -> None:
    """Give a layer other tensors, and the numbers of inputs and outputs that follow; types and device stay its own.

    Arguments:
        path: the layer's dotted name.
        tensors: `weight`, and any of `bias` and `position_bias`; tensors that are not named stay as they are.

    Raises:
        AttributeError: there is no such layer.
    """
    layer: Any = model.get_submodule(path)
    if not isinstance(layer, AFFINE):
        raise AttributeError(f"'{path}' is no affine layer")
    _make_plain(layer)
    like = layer.weight
    for name, value in tensors.items():
        own = value.to(dtype=like.dtype, device=like.device, copy=True)
        if name == POSITION_BIAS:
            # a hook, not a layer around this one: other code may read its attributes
            if not hasattr(layer, POSITION_BIAS):
                layer.register_forward_hook(_add_position_bias)
            layer.register_buffer(POSITION_BIAS, own)
        elif name in ("weight", "bias"):
            setattr(layer, name, nn.Parameter(own, requires_grad=like.requires_grad))
        else:
            raise AttributeError(f"a layer has no '{name}'")
    outputs, inputs = (layer.weight.shape[axis] for axis in _weight_axes(layer))
    if isinstance(layer, nn.Linear):
        layer.in_features, layer.out_features = inputs, outputs
    else:
        layer.in_channels, layer.out_channels = inputs, outputs


def _add_position_bias(layer: Any, _inputs: Any, output: Tensor) -> Tensor:
    return output + layer.position_bias


def _on_short_codes(layer: Any, reader: CodeReader, kept: Sequence[int] | Tensor) -> Tensor:
    """The weights with the code's features selected or multiplied by directions, and those of all other features."""
    weight, axis = layer.weight.detach(), _weight_axes(layer)[1]
    end = reader.first + reader.count
    code = weight.narrow(axis, reader.first, reader.count)
    if isinstance(kept, Tensor):
        code = (code.movedim(axis, -1) @ kept.to(code)).movedim(-1, axis)
    else:
        code = code.index_select(axis, torch.as_tensor(kept, dtype=torch.int64, device=code.device))
    return torch.cat([weight.narrow(axis, 0, reader.first), code, weight.narrow(axis, end, weight.shape[axis] - end)], dim=axis)


def _weight_axes(layer: nn.Module) -> tuple[int, int]:
    """Dimensions of the weight that run over outputs and over inputs."""
    return (1, 0) if isinstance(layer, TRANSPOSED) else (0, 1)


def _feature_axis(layer: nn.Module, value: Tensor) -> int:
    """The dimension of an input or output that runs over features."""
    return value.ndim - 1 if isinstance(layer, nn.Linear) else 1


def _make_plain(layer: nn.Module) -> None:
    """Replace computed weights (spectral norm, weight norm) by their values."""
    if parametrize.is_parametrized(layer):
        for name in list(layer.parametrizations):  # pyright: ignore[reportArgumentType, reportCallIssue]
            parametrize.remove_parametrizations(layer, str(name), leave_parametrized=True)
    for remove in (remove_weight_norm, remove_spectral_norm):
        with suppress(ValueError):  # it has none
            remove(layer)


class _Enough(Exception):
    """Ends a trial call of a decoder early."""


def _inputs(model: nn.Module, call: Callable[[], Any]) -> list[tuple[str, Tensor]]:
    """Paths and inputs of the first affine layers called."""
    found: list[tuple[str, Tensor]] = []

    def keep(path: str, layer: Any, value: Tensor) -> None:
        found.append((path, value.detach().clone()))
        if len(found) == CALLS:
            raise _Enough

    with _watching(model, keep):
        with suppress(_Enough):
            call()
    return found


@contextmanager
def _watching(model: nn.Module, see: Callable[[str, Any, Tensor], None]) -> Iterator[None]:
    """Show every call of an affine layer, without groups of channels and on a batch, with its path and input."""
    handles = []
    for path, layer in model.named_modules():
        if isinstance(layer, AFFINE) and getattr(layer, "groups", 1) == 1:

            def hook(module: nn.Module, inputs: tuple[Any, ...], path: str = path) -> None:
                spatial = 0 if isinstance(module, nn.Linear) else len(module.kernel_size)  # pyright: ignore[reportArgumentType]
                if len(inputs) and isinstance(inputs[0], Tensor) and inputs[0].ndim >= 2 + spatial:
                    see(path, module, inputs[0])

            handles.append(layer.register_forward_pre_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
