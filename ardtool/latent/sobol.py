r"""Relevance without derivatives: total effects of redrawn axes, and central differences.

    T_l = 1/(2M) Σ_i Σ_d (f_d(z_i) − f_d(z_i with axis l taken from code j(i)))²                (Jansen)

f is the decoder, z_i one of M codes and j(i) its donor, a code that serves nobody else. T_l is the score of the axis directly, in
squared output units: for a linear decoder its mean is w_l · Var[z_l] exactly, so it takes the place of w · σ²; for a curved one it counts
interactions with the other axes too. Var is about the mean, as for models without an ARD prior. Axes are redrawn from their
own marginal: where axes depend on each other, some decoded codes lie outside the aggregate distribution. An axis may be one element of
the code, or many that are redrawn together (a channel of a map).

The N codes are paired at random into M = ⌊N/2⌋ bases and donors, because the standard error of M independent rows is std / √M. Codes that
served as base and as donor would make rows depend on each other: std / √N is then too small (by √1.5 for Gaussian axes), and
the error for a given number of decoded codes is greater (3 σ⁴/N against 2 σ⁴/M for equal N and M).

Central differences, where derivatives are missing but their convention is wanted:  J_l ≈ (f(z + h e_l) − f(z − h e_l)) / (2h), with
an error of h²/6 ∂³f and a rounding error of about 1e-7 |f| / h.

Source: Jansen, "Analysis of variance designs for model output", Computer Physics Communications 117, 1999; Saltelli et al.,
"Variance based sensitivity analysis of model output", 2010, table 2 (f).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..autoencoder import Autoencoder, Posterior
from ..errors import ConfigError
from .chunks import MEMORY_BUDGET, ChunkCost, decode_footprint, in_chunks
from .derivatives import RELATIVE_STEP, FixedDecoder, Mode
from .jacobian import JacobianNorms, inference_mode

__all__ = ["ApproximateNorms", "TotalEffects", "finite_difference_norms", "total_effects"]

MODE: Mode = "central differences"


@dataclass(frozen=True)
class TotalEffects:
    """Total effect of every axis on the decoder's output.

    Attributes:
        contributions: for each of M pairs of codes and A axes with shape (M, A), float64, ≥ 0; their mean is the score.
        outputs: D.
    """

    contributions: Tensor
    outputs: int

    @property
    def score(self) -> Tensor:
        """T with shape (A,), in squared output units, ≥ 0."""
        return self.contributions.mean(dim=0)

    @property
    def stderr(self) -> Tensor:
        """Standard error of T with shape (A,), which counts the drawn codes; infinite for a single pair."""
        pairs = len(self.contributions)
        if pairs < 2:
            return torch.full_like(self.contributions[0], float("inf"))
        return self.contributions.std(dim=0) / pairs**0.5


@dataclass(frozen=True)
class ApproximateNorms(JacobianNorms):
    """Squared column norms by central differences; approximate, because of the step.

    Attributes:
        step: h of each axis with shape (L,), in latent units.
    """

    step: Tensor = field(kw_only=True)


def total_effects(
    model: Autoencoder,
    codes: Posterior,
    *,
    generator: torch.Generator,
    groups: Tensor | None = None,
    device: torch.device | str = "cpu",
    memory: int = MEMORY_BUDGET,
) -> TotalEffects:
    """Total effects of A axes from M = ⌊N/2⌋ pairs of N sampled codes, with M (A + 1) decoded codes and no derivative.

    Arguments:
        model: its `decode` runs in inference mode and float32.
        codes: N ≥ 2 posteriors of L elements; a base keeps its context. Give 2 M codes for M pairs.
        generator: source of the sampled codes and of the pairing.
        groups: the axis of every element with shape (L,), integers from 0 to A − 1; an axis is redrawn as a whole. None where every
            element is an axis.
        memory: bytes that the intermediate values of one chunk may take.

    Raises:
        ConfigError: for fewer than two codes, or groups of the wrong shape or type.
        ArdtoolError: the decoder cannot decode, or does not fit into memory.
    """
    pairs, elements = len(codes) // 2, codes.mean.shape[1]
    if pairs == 0:
        raise ConfigError(f"Total effects need at least two codes, found {len(codes)}.", "Give more samples.")
    groups = torch.arange(elements) if groups is None else _checked(groups, elements)
    order = torch.randperm(len(codes), generator=generator, device=generator.device).to(codes.mean.device)
    sampled = codes.sample(generator)
    base, donor = sampled[order[:pairs]].to(device), sampled[order[pairs : 2 * pairs]].to(device)
    context = None if codes.context is None else codes.context[order[:pairs].to(codes.context.device)].to(device)
    groups, axes = groups.to(device), int(groups.max()) + 1

    with inference_mode(model):
        footprint = decode_footprint(model, base, context)
        cost = ChunkCost(2 * footprint.row + 8 * footprint.outputs + 8 * elements, footprint.row, base.device)

        def effect(part: slice, some: slice) -> Tensor:
            own = None if context is None else context[part]
            redrawn = groups == torch.arange(some.start, some.stop, device=groups.device)[:, None]
            mixed = torch.where(redrawn, donor[part][:, None], base[part][:, None])
            repeated = None if own is None else own.repeat_interleave(len(redrawn), dim=0)
            change = model.decode(mixed.flatten(0, 1), repeated).flatten(1).unflatten(0, mixed.shape[:2])
            change = change - model.decode(base[part], own).flatten(1)[:, None]
            return torch.linalg.vector_norm(change, dim=2).cpu().double().square() / 2

        contributions = torch.zeros(pairs, axes, dtype=torch.float64)
        for part, some, found in in_chunks(pairs, axes, cost, footprint.room(memory), effect):
            contributions[part, some] = found
    return TotalEffects(contributions, footprint.outputs)


def _checked(groups: Tensor, elements: int) -> Tensor:
    if groups.shape != (elements,) or groups.is_floating_point() or int(groups.min()) < 0:
        raise ConfigError(
            f"The axes of {elements} elements must be integers from 0 with shape ({elements},); found shape {tuple(groups.shape)} of "
            f"{str(groups.dtype).removeprefix('torch.')}."
        )
    return groups


def finite_difference_norms(
    model: Autoencoder,
    codes: Posterior,
    *,
    step: float = RELATIVE_STEP,
    device: torch.device | str = "cpu",
    memory: int = MEMORY_BUDGET,
) -> ApproximateNorms:
    """Squared column norms at the means of N codes by central differences, with 2 N L decoded codes and no derivative.

    Arguments:
        codes: N posteriors on L axes; contexts go with their samples.
        step: h in standard deviations of the codes' means on each axis (in latent units where an axis does not vary), > 0.
        memory: bytes that the intermediate values of one chunk may take.

    Raises:
        ConfigError: for a step that is not positive.
        ArdtoolError: the decoder cannot decode, or does not fit into memory.
    """
    if not step > 0:
        raise ConfigError(f"The step of central differences must be positive, not {step}.", f"Use {RELATIVE_STEP}.")
    with inference_mode(model):
        decoder = FixedDecoder.at(model, codes, codes.mean, device, memory)
        contributions = torch.zeros(len(decoder), decoder.axes, dtype=torch.float64)

        def norms(part: slice, axes: slice) -> Tensor:
            return torch.linalg.vector_norm(decoder.axis_images(MODE, part, axes, step), dim=2).cpu().double().square()

        for part, axes, found in in_chunks(len(decoder), decoder.axes, decoder.cost(MODE), decoder.memory, norms):
            contributions[part, axes] = found
    return ApproximateNorms(contributions, decoder.outputs, "paper", MODE, step=step * decoder.spread.cpu())
