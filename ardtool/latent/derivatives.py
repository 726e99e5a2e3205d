r"""Derivatives of a decoder at fixed codes: five ways to the same numbers, and a check that they are right.

    images   J_i t   for tangents t with shape (L,), n codes at a time          forward, looped forward, double reverse, central differences
    rows     J_iᵀ r  for cotangents r with shape (D,)                           reverse

- `forward`: `vmap` over codes of `vmap` over tangents of `jvp`. All codes share the tangents, so the decoder's affine prefix is
  differentiated once for all of them, and all tangents of a code share its forward pass.
- `looped forward`: `jvp` of a batch of copies of one code, without `vmap`: for decoders that look at the values of a tensor.
- `double reverse`: the derivative of g(r) = J_iᵀ r, which is linear in r, is J_i: reverse mode twice, for decoders that have no forward
  derivative.
- `central differences`: (f(z + h t) − f(z − h t)) / (2h), with ‖h t / s‖ = 0.01 for the standard deviations s of the codes on each axis.
  Approximate: an error of h²/6 ∂³f, and a rounding error of about 1e-7 |f| / h. For decoders that only decode.

A derivative can be wrong without an error: where a decoder leaves torch for a moment (`detach`, `.item()`, its own inference mode) torch
sees a constant and answers zero. So every way but the last is compared with a central difference in one direction at a few codes, and
axes that come out exactly zero everywhere are moved once to see that the output stays.

Source of double reverse: J. Townsend, "A new trick for calculating Jacobian vector products", 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.func import vmap

from ..autoencoder import Autoencoder, Posterior
from ..errors import ArdtoolError, first_line
from .chunks import ChunkCost, Footprint, decode_footprint, in_chunks, is_out_of_memory, out_of_memory
from .forward_mode import jvp

__all__ = ["COLUMN_MODES", "FixedDecoder", "Mode", "NotDifferentiable", "first_right", "pulled_back", "puller", "rademacher"]

Mode = Literal["forward", "reverse", "looped forward", "double reverse", "central differences"]
COLUMN_MODES: tuple[Mode, ...] = ("forward", "looped forward", "double reverse", "central differences")
RELATIVE_STEP = 0.01
COARSE_STEP = 0.1
CHECKED_CODES = 4
CHECK_TOLERANCE = 0.1
ROUNDING = 1e-5

T = TypeVar("T")


class NotDifferentiable(ArdtoolError):
    """A way to differentiate a decoder does not work; another one may."""


@dataclass(frozen=True)
class FixedDecoder:
    """A decoder at N fixed codes. Use it in `inference_mode`.

    Attributes:
        model: what decodes.
        z: codes with shape (N, L).
        context: of each code, or None.
        footprint: what decoding takes.
        memory: bytes that a chunk may take.
        spread: standard deviation of the codes on each axis with shape (L,), float64, on the CPU; 1 where they do not vary.
    """

    model: Autoencoder
    z: Tensor
    context: Tensor | None
    footprint: Footprint
    memory: int
    spread: Tensor

    @classmethod
    def at(cls, model: Autoencoder, codes: Posterior, z: Tensor, device: torch.device | str, memory: int) -> FixedDecoder:
        """At codes z with the contexts of a posterior, after decoding two of them, within a budget of bytes.

        Raises:
            ArdtoolError: the decoder cannot decode them.
        """
        z = z.detach().to(device, copy=True)
        context = None if codes.context is None else codes.context.to(device)
        double = z.cpu().double()
        spread = double.std(dim=0, correction=0)
        varies = spread > 1e-6 * double.abs().amax(dim=0).clamp(min=1e-30)
        footprint = decode_footprint(model, z, context)
        return cls(model, z, context, footprint, footprint.room(memory), torch.where(varies, spread, 1.0))

    def __len__(self) -> int:
        return len(self.z)

    @property
    def outputs(self) -> int:
        """D."""
        return self.footprint.outputs

    @property
    def axes(self) -> int:
        """L."""
        return self.z.shape[1]

    def at_rows(self, part: slice) -> tuple[Tensor, Tensor | None]:
        """Codes and contexts of some samples."""
        return self.z[part], None if self.context is None else self.context[part]

    def decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Flat outputs (n, D)."""
        return self.model.decode(z, context).flatten(1)

    def cost(self, mode: Mode) -> ChunkCost:
        """What a pair of code and tangent takes, measured as growth of the process and rounded up."""
        pair = (
            {"forward": 2, "looped forward": 4, "double reverse": 4}.get(mode, 2) * self.footprint.row + 20 * self.outputs + 8 * self.axes
        )
        return ChunkCost(pair, device=self.z.device)

    @property
    def reverse_cost(self) -> ChunkCost:
        """What reverse mode takes for a code, with one cotangent at a time."""
        return ChunkCost(3 * self.footprint.row + 12 * self.outputs + 24 * self.axes, device=self.z.device)

    def images(self, mode: Mode, part: slice, tangents: Tensor, step: float = RELATIVE_STEP) -> Tensor:
        """J_i t for some codes and tangents (k, L) with shape (n, k, D)."""
        z, context = self.at_rows(part)
        tangents = tangents.to(z.dtype)
        if mode == "forward":
            return _forward_images(self.decode, z, context, tangents)
        found = torch.empty(len(z), len(tangents), self.outputs, dtype=z.dtype, device=z.device)
        for i in range(len(z)):
            copies = z[i].repeat(len(tangents), 1)
            own = None if context is None else context[i : i + 1].expand(len(tangents), *context.shape[1:])
            if mode == "looped forward":
                found[i] = jvp(lambda inputs, own=own: self.decode(inputs, own), (copies,), (tangents,))[1]
            elif mode == "double reverse":
                found[i] = _double_reverse_images(self.decode, copies, own, tangents)
            else:
                found[i] = self._differences(copies, own, tangents, step)
        return found

    def _differences(self, z: Tensor, context: Tensor | None, tangents: Tensor, step: float) -> Tensor:
        """Central differences at codes (k, L), each along its own tangent."""
        along, centre = tangents.cpu().double(), z.cpu().double()
        size = (along / self.spread).norm(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        up, down = ((centre + sign * step * along / size).to(z.dtype) for sign in (1, -1))
        length = ((up - down).double() * along).sum(dim=1) / along.square().sum(dim=1)  # what the codes moved after rounding
        up, down, length = up.to(z.device), down.to(z.device), length.to(z)
        return (self.decode(up, context) - self.decode(down, context)) / length[:, None]

    def axis_images(self, mode: Mode, part: slice, axes: slice, step: float = RELATIVE_STEP) -> Tensor:
        """Columns of J_i for some codes and axes with shape (n, k, D)."""
        basis = torch.zeros(axes.stop - axes.start, self.axes, dtype=self.z.dtype, device=self.z.device)
        basis[:, axes] = torch.eye(len(basis), dtype=self.z.dtype, device=self.z.device)
        return self.images(mode, part, basis, step)

    def is_deterministic(self) -> bool:
        """Whether two passes over the same codes agree."""
        first, second = (self.decode(*self.at_rows(slice(0, 2))) for _ in range(2))
        return torch.allclose(first, second, rtol=1e-3, atol=float(ROUNDING * first.abs().amax().nan_to_num()), equal_nan=True)

    def agrees(self, mode: Mode) -> bool:
        """Whether the derivative in one direction is that of a central difference, at a few codes together.

        A small step is tried first, then one large enough for decoders that work in half precision.
        """
        return any(self._agrees(mode, step) for step in (RELATIVE_STEP / self.axes**0.5, COARSE_STEP))

    def _agrees(self, mode: Mode, step: float) -> bool:
        directions = rademacher((self.axes,), torch.Generator().manual_seed(0), self.spread.device)
        up, down = self._moved(step * directions * self.spread)
        change, floor = self._change(up, down)
        moved = (up - down) / 2
        if mode == "reverse":
            signs = rademacher((len(moved), 1, self.outputs), torch.Generator().manual_seed(1), self.z.device)
            pulled = self._pulled(signs)
            error = (pulled * moved).sum(dim=1) - (signs[:, 0] * change).sum(dim=1)
        else:
            images = [self.images(mode, slice(i, i + 1), moved[i : i + 1])[0, 0] for i in range(len(moved))]
            error = torch.stack(images) - change
        return bool(error.norm() <= CHECK_TOLERANCE * change.norm() + floor)

    def _pulled(self, vectors: Tensor) -> Tensor:
        """Jᵀ v at the first codes for one vector each, (n, 1, D): shape (n, L)."""

        def pulled(part: slice, _: slice) -> Tensor:
            return pulled_back(self.model, *self.at_rows(part), vectors[part])[:, 0]

        return torch.cat([found for _, _, found in in_chunks(len(vectors), 1, self.reverse_cost, self.memory, pulled)])

    def stays_along(self, axes: Tensor) -> bool:
        """Whether the output stays the same when some axes, given by a mask (L,) on the CPU, are moved together."""
        if not axes.any():
            return True
        change, floor = self._change(*self._moved(RELATIVE_STEP * self.spread * axes.to(self.spread)))
        return bool(change.norm() <= floor)

    def _moved(self, by: Tensor) -> tuple[Tensor, Tensor]:
        """A few codes moved forth and back by a step (L,)."""
        z = self.z[:CHECKED_CODES].cpu().double()
        return (z + by).to(self.z.dtype).to(self.z.device), (z - by).to(self.z.dtype).to(self.z.device)

    def _change(self, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
        """Half the difference of the outputs with shape (n, D), and how much of it may be rounding. One code at a time."""

        def each(z: Tensor) -> Tensor:
            return torch.cat([self.decode(z[i : i + 1], self.at_rows(slice(i, i + 1))[1]) for i in range(len(z))])

        high, low = each(up), each(down)
        return (high - low) / 2, ROUNDING * high.norm()


def first_right(decoder: FixedDecoder, modes: tuple[Mode, ...], work: Callable[[Mode], T], weight: Callable[[T], Tensor]) -> tuple[Mode, T]:
    """The first of some modes that works and is right, and what `work` gives with it.

    Arguments:
        work: called with a mode.
        weight: of every axis with shape (L,), given the result of `work`; zero where the output does not depend on an axis.

    Raises:
        ArdtoolError: the decoder is random, or no mode works.
    """
    reason = ""
    for mode in modes:
        if reason and not decoder.is_deterministic():
            raise ArdtoolError(
                "The decoder is random: two passes over the same codes differ.", "It must be deterministic in evaluation mode."
            )
        try:
            return mode, _if_right(decoder, mode, work, weight)
        except NotDifferentiable as error:
            reason = error.message
        except ArdtoolError:
            raise
        except Exception as error:  # whatever a decoder says when it is differentiated: plain decoding has worked before
            if is_out_of_memory(error):
                raise out_of_memory(first_line(error)) from error
            reason = first_line(error)
    raise ArdtoolError(f"The decoder cannot be differentiated: {reason}.", "Use the estimator 'sobol', which only decodes.")


def _if_right(decoder: FixedDecoder, mode: Mode, work: Callable[[Mode], T], weight: Callable[[T], Tensor]) -> T:
    approximate = mode == "central differences"
    if not approximate and not decoder.agrees(mode):
        raise NotDifferentiable("its derivative is not that of its output")
    found = work(mode)
    weights = weight(found).cpu()
    if not weights.isfinite().all():
        raise NotDifferentiable(f"its derivative along axis {int((~weights.isfinite()).nonzero()[0])} is not finite")
    if not approximate and not decoder.stays_along(weights == 0):
        raise NotDifferentiable("its derivative is zero where its output changes")
    return found


def _forward_images(decode: Callable[..., Tensor], z: Tensor, context: Tensor | None, tangents: Tensor) -> Tensor:
    def columns(code: Tensor, own: Tensor | None) -> Tensor:
        def one(inputs: Tensor) -> Tensor:
            return decode(inputs[None], None if own is None else own[None])[0]

        return vmap(lambda tangent: jvp(one, (code,), (tangent,))[1])(tangents)

    return vmap(columns, in_dims=(0, None if context is None else 0))(z, context)


def _double_reverse_images(decode: Callable[..., Tensor], z: Tensor, context: Tensor | None, tangents: Tensor) -> Tensor:
    """J_i t_i at codes (n, L), each with its own tangent: (n, D)."""
    with torch.enable_grad():
        inputs = z.detach().clone().requires_grad_()
        outputs = decode(inputs, context)
        dummy = torch.zeros_like(outputs, requires_grad=True)
        (pulled,) = torch.autograd.grad(outputs, inputs, dummy, create_graph=True)
        (images,) = torch.autograd.grad(pulled, dummy, tangents)
    return images


def rademacher(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Independent signs −1 and +1 in float32; the same whether they are drawn in one piece or in several."""
    return torch.randint(0, 2, shape, generator=generator, device=generator.device).to(device).float().mul_(2).sub_(1)


def pulled_back(model: Autoencoder, z: Tensor, context: Tensor | None, vectors: Tensor) -> Tensor:
    """Jᵀ v at every code for its own vectors: codes (n, L) and vectors (n, p, D) give (n, p, L). Call it in `inference_mode`.

    Raises:
        NotDifferentiable: the output does not depend on the codes through torch operations.
    """
    pull = puller(model, z, context)
    return torch.stack([pull(vector) for vector in vectors.unbind(dim=1)], dim=1)


def puller(model: Autoencoder, z: Tensor, context: Tensor | None) -> Callable[[Tensor], Tensor]:
    """r ↦ Jᵀ r at codes (n, L), for one r of shape (n, D) at a time, after one forward pass. Raises like `pulled_back`."""
    with torch.enable_grad():
        inputs = z.detach().clone().requires_grad_()
        outputs = model.decode(inputs, context).flatten(1)

    def pull(vector: Tensor) -> Tensor:
        found = None
        if outputs.requires_grad:
            (found,) = torch.autograd.grad(outputs, inputs, vector.to(outputs.dtype), retain_graph=True, allow_unused=True)
        if found is None:
            raise NotDifferentiable("its output does not depend on the codes through torch operations")
        return found

    return pull
