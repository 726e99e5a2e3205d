r"""How strongly the decoder responds to each latent axis: column norms of its Jacobian, never storing the Jacobian.

    J^i = ∂x̂/∂z at code i, with shape (D, L)
    paper:         w_l = Σ_d mean_i (J^i_dl)²           (Eq. 19, read as a mean over samples of squares, summed over outputs)
    authors-code:  w_l = Σ_d (mean_i |J^i_dl|)²         (what the authors' program computes; ≤ paper, by Jensen)

Exact by forward mode, one tangent for each axis, or by reverse mode, one cotangent for each output, where there are fewer of those
(`derivatives.py` has the ways, and what follows where a decoder has no derivative). Columns are reduced to norms chunk by chunk, so that
memory is bounded by the chunk and not by L × D × N.

Both conventions are reported as contributions c with shape (N, L) whose mean over samples is w; their spread gives standard errors.
For the paper's convention c_il = Σ_d (J^i_dl)². For the authors' it is the influence c_il = 2 Σ_d m_dl |J^i_dl| − Σ_d m_dl², with
m_dl = mean_i |J^i_dl|, whose mean is w exactly.

Source: Saha, Joshi, Whitaker, arXiv 2501.10901, Eq. 19.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..autoencoder import Autoencoder, Posterior
from ..errors import ConfigError
from .chunks import MEMORY_BUDGET, in_chunks
from .derivatives import COLUMN_MODES, FixedDecoder, Mode, first_right, puller

__all__ = ["MEMORY_BUDGET", "Convention", "JacobianNorms", "column_norms", "inference_mode"]

Convention = Literal["paper", "authors-code"]
# from exact to approximate; joined norms are named after the last of theirs
MODES = ("forward", "reverse", "looped forward", "double reverse", "sketch", "central differences")


@dataclass(frozen=True)
class JacobianNorms:
    """Squared column norms of the decoder's Jacobian.

    Attributes:
        contributions: per sample and axis with shape (N, L), float64; their mean over samples is the weight w.
        outputs: D.
        convention: how they were combined.
        mode: how they were found: `forward`, `reverse`, `looped forward` and `double reverse` are exact, `sketch` is unbiased,
            `central differences` are approximate.
    """

    contributions: Tensor
    outputs: int
    convention: Convention
    mode: str = "forward"

    @property
    def weight(self) -> Tensor:
        """w with shape (L,), in squared output units per squared latent unit, ≥ 0."""
        return self.contributions.mean(dim=0)

    @property
    def stderr(self) -> Tensor:
        """Standard error of w over samples with shape (L,); infinite for a single sample."""
        n = len(self.contributions)
        if n < 2:
            return torch.full_like(self.contributions[0], float("inf"))
        return self.contributions.std(dim=0) / n**0.5

    def joined(self, *others: JacobianNorms) -> JacobianNorms:
        """These and the norms at other codes of the same decoder as one.

        Raises:
            ConfigError: different numbers of axes or outputs, or the authors' convention, which is no mean over samples.
        """
        everything = (self, *others)
        shapes = {(norms.outputs, norms.contributions.shape[1]) for norms in everything}
        if len(shapes) > 1:
            found = " and ".join(f"{outputs} outputs of {axes} axes" for outputs, axes in sorted(shapes))
            raise ConfigError(f"Column norms of different decoders cannot be joined: {found}.")
        if len(everything) > 1 and any(norms.convention != "paper" for norms in everything):
            raise ConfigError("Column norms of the authors' convention cannot be joined: it is not a mean over samples.", "Use paper.")
        modes = [norms.mode for norms in everything]
        contributions = torch.cat([norms.contributions for norms in everything])
        return JacobianNorms(contributions, self.outputs, self.convention, max(modes, key=MODES.index))


def column_norms(
    model: Autoencoder,
    codes: Posterior,
    *,
    convention: Convention = "paper",
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    memory: int = MEMORY_BUDGET,
) -> JacobianNorms:
    """Squared column norms of the decoder's Jacobian at N codes, exact wherever the decoder can be differentiated; `mode` says how.

    Arguments:
        model: its `decode` is differentiated in inference mode and float32.
        codes: N posteriors; the paper's convention works at their means, the authors' at a draw from them.
        convention: `paper` or `authors-code`.
        generator: source of that draw.
        memory: bytes that the intermediate values of one chunk may take.

    Raises:
        ArdtoolError: the decoder cannot decode, is random, has derivatives that are not finite, or does not fit into memory.
    """
    with inference_mode(model):
        z = codes.mean if convention == "paper" else codes.sample(generator)
        decoder = FixedDecoder.at(model, codes, z, device, memory)
        modes: tuple[Mode, ...] = ("reverse", *COLUMN_MODES) if decoder.outputs < decoder.axes else COLUMN_MODES
        reduce = _squares if convention == "paper" else _influences
        mode, contributions = first_right(decoder, modes, lambda mode: reduce(decoder, mode), lambda found: found.mean(dim=0))
    return JacobianNorms(contributions, decoder.outputs, convention, mode)


@contextmanager
def inference_mode(model: Any) -> Iterator[None]:
    """No gradients, `.eval()`, autocast and TF32 off, and attention by its mathematical form, which alone has a forward derivative.

    Everything is put back afterwards, for every submodule as it was.
    """
    module = model if isinstance(model, nn.Module) else nn.Module()
    was_training = [(part, part.training) for part in module.modules()]
    had_fast_path = torch.backends.mha.get_fastpath_enabled()
    had_tf32 = torch.backends.cudnn.allow_tf32
    with suppress(NotImplementedError):  # exported programs have no modes
        module.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.cudnn.allow_tf32 = False  # convolutions round to 10 bits otherwise; matrix products do not unless asked to
    try:
        with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            with sdpa_kernel(SDPBackend.MATH):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(had_fast_path)
        torch.backends.cudnn.allow_tf32 = had_tf32
        if module.training != was_training[0][1]:
            module.train()
        for part, training in was_training:
            part.training = training


def _squares(decoder: FixedDecoder, mode: Mode) -> Tensor:
    """Contributions of the paper's convention with shape (N, L)."""
    contributions = torch.zeros(len(decoder), decoder.axes, dtype=torch.float64)

    def columns(part: slice, axes: slice) -> Tensor:
        return torch.linalg.vector_norm(decoder.axis_images(mode, part, axes), dim=2).cpu().double().square()

    def rows(part: slice, _: slice) -> Tensor:
        pull = puller(decoder.model, *decoder.at_rows(part))
        total = torch.zeros_like(decoder.z[part])
        for cotangent in _unit_cotangents(decoder, part, slice(0, decoder.outputs)):
            total += pull(cotangent).square()
        return total.cpu().double()

    if mode == "reverse":
        for part, _, values in in_chunks(len(decoder), 1, decoder.reverse_cost, decoder.memory, rows):
            contributions[part] = values
    else:
        for part, axes, values in in_chunks(len(decoder), decoder.axes, decoder.cost(mode), decoder.memory, columns):
            contributions[part, axes] = values
    return contributions


def _influences(decoder: FixedDecoder, mode: Mode) -> Tensor:
    """Contributions of the authors' convention with shape (N, L).

    The mean m of |J| is kept for as many axes (in reverse mode: outputs) at a time as a quarter of the memory holds.
    """
    total, length = (decoder.outputs, decoder.axes) if mode == "reverse" else (decoder.axes, decoder.outputs)
    quarter = decoder.memory // 4
    width = max(1, quarter // (16 * length))
    contributions = torch.zeros(len(decoder), decoder.axes, dtype=torch.float64)
    for start in range(0, total, width):
        some = slice(start, min(start + width, total))
        if mode == "reverse":
            contributions += _influences_of_outputs(decoder, some, decoder.memory - quarter)
        else:
            contributions[:, some] = _influences_of_axes(decoder, mode, some, decoder.memory - quarter)
    return contributions


def _influences_of_axes(decoder: FixedDecoder, mode: Mode, axes: slice, memory: int) -> Tensor:
    """Contributions of some axes with shape (N, k): one pass for m = mean |J|, one for the influence of each sample."""
    width, cost = axes.stop - axes.start, decoder.cost(mode)
    mean = torch.zeros(width, decoder.outputs, dtype=torch.float64, device=_accumulator(decoder))
    contributions = torch.zeros(len(decoder), width, dtype=torch.float64)

    def magnitudes(part: slice, some: slice) -> Tensor:
        return decoder.axis_images(mode, part, slice(axes.start + some.start, axes.start + some.stop)).abs()

    def influences(part: slice, some: slice) -> Tensor:
        centre = mean[some].to(decoder.z)
        return torch.einsum("nkd,kd->nk", magnitudes(part, some), centre).mul_(2).sub_(centre.square().sum(dim=1)).cpu().double()

    for _, some, found in in_chunks(len(decoder), width, cost, memory, lambda part, some: magnitudes(part, some).sum(dim=0)):
        mean[some] += found.to(mean) / len(decoder)
    for part, some, found in in_chunks(len(decoder), width, cost, memory, influences):
        contributions[part, some] = found
    return contributions


def _influences_of_outputs(decoder: FixedDecoder, outputs: slice, memory: int) -> Tensor:
    """What some outputs contribute to every axis with shape (N, L), row by row of the Jacobian: the same two passes."""
    mean = torch.zeros(outputs.stop - outputs.start, decoder.axes, dtype=torch.float64, device=_accumulator(decoder))
    contributions = torch.zeros(len(decoder), decoder.axes, dtype=torch.float64)

    def rows(part: slice) -> Iterator[Tensor]:
        pull = puller(decoder.model, *decoder.at_rows(part))
        for cotangent in _unit_cotangents(decoder, part, outputs):
            yield pull(cotangent).abs()

    def sums(part: slice, _: slice) -> Tensor:
        return torch.stack([row.sum(dim=0) for row in rows(part)])

    def influences(part: slice, _: slice) -> Tensor:
        centre = mean.to(decoder.z)
        total = torch.zeros_like(decoder.z[part])
        for own, row in zip(centre, rows(part), strict=True):
            total += own * (2 * row - own)
        return total.cpu().double()

    for _, _, found in in_chunks(len(decoder), 1, decoder.reverse_cost, memory, sums):
        mean += found.to(mean) / len(decoder)
    for part, _, found in in_chunks(len(decoder), 1, decoder.reverse_cost, memory, influences):
        contributions[part] = found
    return contributions


def _accumulator(decoder: FixedDecoder) -> torch.device:
    """Where sums in float64 are kept: not every device has it."""
    return decoder.z.device if decoder.z.device.type == "cuda" else torch.device("cpu")


def _unit_cotangents(decoder: FixedDecoder, part: slice, outputs: slice) -> Iterator[Tensor]:
    """e_d for each of some outputs, once for every code: (n, D)."""
    cotangent = decoder.z.new_zeros(len(decoder.z[part]), decoder.outputs)
    for d in range(outputs.start, outputs.stop):
        cotangent[:, d] = 1
        yield cotangent
        cotangent[:, d] = 0
