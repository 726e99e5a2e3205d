r"""Local rank: in how many directions a reconstruction can move, whatever the axes are and however the data bend.

    P_i = J_f(μ_i) J_e(x_i)          the Jacobian of x ↦ f(μ(x)) at sample i, D × D, of rank at most L

A reconstruction that projects onto a manifold of dimension d has at every sample of it d singular values of 1, and else none: the tangent
directions stay, all others go. A curved or closed manifold may need more axes than d (a circle needs two), and all of them are active; the
local rank is d all the same. It is the number of singular values above one half, the middle between what stays and what goes. A direction
that β shrinks to less than half counts as gone (docs/mathematics.md: its variance is below β).

P is never built: with J_f = Q R and J_eᵀ = Q' R' its singular values are those of R R'ᵀ, which is L × L.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..autoencoder import Autoencoder
from ..errors import ArdtoolError, first_line
from .chunks import MEMORY_BUDGET, in_chunks, in_pieces, is_out_of_memory
from .codes import encode_batches
from .derivatives import CHECK_TOLERANCE, COLUMN_MODES, ROUNDING, FixedDecoder, Mode, first_right
from .jacobian import inference_mode

__all__ = ["HALF", "LARGEST", "LocalRank", "local_rank"]

HALF = 0.5
STEPS = (1e-3, 1e-2, 1e-1)  # of the standard deviation of samples: small where an encoder has kinks, larger where it rounds
CHECKED = 4
LARGEST = 2**27  # elements L × D of one Jacobian: 1 GiB in float64
ELEMENTS = 2**26  # of the encoder's Jacobians at a time: 256 MiB


@dataclass(frozen=True)
class LocalRank:
    """Singular values of the reconstruction's Jacobian at N samples.

    Attributes:
        spectra: with shape (N, min(L, D)), float64, descending, ≥ 0.
        mode: how the decoder was differentiated.
    """

    spectra: Tensor
    mode: Mode

    @property
    def ranks(self) -> Tensor:
        """How many singular values exceed one half, with shape (N,), int64."""
        return (self.spectra > HALF).sum(dim=1)

    @property
    def gap(self) -> float:
        """How clear the count is: the least mean singular value that counts over the largest that does not (docs/decisions/0013)."""
        mean, rank = self.spectra.mean(dim=0), int(self.ranks.median())
        if rank == 0 or rank == len(mean):
            return float("nan")
        return float(mean[rank - 1] / mean[rank].clamp(min=torch.finfo(torch.float64).tiny))


def local_rank(model: Autoencoder, x: Tensor, *, device: torch.device | str = "cpu", memory: int = MEMORY_BUDGET) -> LocalRank:
    """The local rank of a model's reconstructions of N samples.

    Arguments:
        model: its `encode` and `decode` are differentiated in inference mode, at posterior means.
        x: samples with shape (N, *input_shape), as the model takes them.
        memory: bytes that the intermediate values of a chunk of the decoder's derivatives may take.

    Raises:
        ArdtoolError: encoder or decoder cannot be differentiated.
    """
    with inference_mode(model):
        x = x.detach().to(device)
        codes = encode_batches(model, len(x), len(x), lambda part: x[part])
        decoder = FixedDecoder.at(model, codes, codes.mean, device, memory)
        inner = _encoder_factors(model, x)
        mode, (spectra, _) = first_right(decoder, COLUMN_MODES, lambda mode: _spectra(decoder, mode, inner), lambda found: found[1])
    return LocalRank(spectra, mode)


def _encoder_factors(model: Autoencoder, x: Tensor) -> Tensor:
    """R' of J_eᵀ = Q' R' at every sample, with shape (N, min(L, D), L), float64."""
    few = x[:CHECKED]
    checks = in_pieces(len(few), len(few), lambda part: _agrees(lambda some: model.encode(some).mean, few[part]))
    if not all(agrees for _, agrees in checks):
        raise ArdtoolError(
            "The encoder's derivative is not that of its codes, so the local rank cannot be found.",
            "An encoder must consist of differentiable torch operations, without detach() or .item().",
        )
    size = max(1, ELEMENTS // (x[0].numel() * model.encode(x[:1]).mean.shape[1]))
    factors = in_pieces(len(x), size, lambda part: torch.linalg.qr(_encoder_rows(model, x[part]).mT.cpu().double(), mode="r").R)
    return torch.cat([found for _, found in factors])


def _encoder_rows(model: Autoencoder, x: Tensor) -> Tensor:
    """J_e with shape (n, L, D): one backward pass for each axis, all samples at once."""
    with torch.enable_grad():
        inputs = x.clone().requires_grad_()
        mean = model.encode(inputs).mean
        rows = [torch.autograd.grad(mean[:, axis].sum(), inputs, retain_graph=True, allow_unused=True)[0] for axis in range(mean.shape[1])]
    return torch.stack([torch.zeros_like(x) if row is None else row for row in rows], dim=1).flatten(2)


def _agrees(encode: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether the derivative in one random direction is that of a central difference of some step."""
    by = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    try:
        with torch.enable_grad():
            inputs = x.clone().requires_grad_()
            mean = encode(inputs)
            weights = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1)).to(mean)
            (pulled,) = torch.autograd.grad((mean * weights).sum(), inputs)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise ArdtoolError(
            f"The encoder cannot be differentiated: {first_line(error)}.", "The local rank needs an encoder of torch operations."
        ) from error
    found = (pulled * by).flatten(1).sum(dim=1)
    return any(_is_near(found, weights, encode, x, by, step * float(x.std(correction=0).clamp(min=1e-6))) for step in STEPS)


def _is_near(found: Tensor, weights: Tensor, encode: Callable[[Tensor], Tensor], x: Tensor, by: Tensor, step: float) -> bool:
    up, down = encode(x + step * by), encode(x - step * by)
    change = (weights * (up - down)).sum(dim=1) / (2 * step)
    rounding = ROUNDING * float(up.abs().amax()) / step
    return bool((found - change).norm() <= CHECK_TOLERANCE * change.norm() + min(rounding, CHECK_TOLERANCE * float(found.norm())))


def _spectra(decoder: FixedDecoder, mode: Mode, inner: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values (N, min(L, D)), and the weights of the axes (L,)."""
    values, weight = [], torch.zeros(decoder.axes, dtype=torch.float64)
    for i in range(len(decoder)):
        sample = slice(i, i + 1)
        chunks = in_chunks(
            1, decoder.axes, decoder.cost(mode), decoder.memory, lambda _, axes, own=sample: decoder.axis_images(mode, own, axes)[0]
        )
        columns = torch.cat([found for *_, found in chunks]).cpu().double().mT
        weight += columns.square().sum(dim=0)
        outer = torch.linalg.qr(columns, mode="r").R
        values.append(torch.linalg.svdvals(outer @ inner[i].mT))
    return torch.stack(values), weight / len(decoder)
