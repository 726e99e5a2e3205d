r"""Relevance without derivatives: total effects of redrawn axes, and central differences.

    T_l = 1/(2M) Σ_i Σ_d (f_d(z_i) − f_d(z_i with axis l taken from code j(i)))²                (Jansen)

f is the decoder, z_i one of M codes and j(i) its donor, a code that serves nobody else. T_l is the score of the axis directly, in
squared output units: for a linear decoder its mean is w_l · Var[z_l] exactly, so it takes the place of w · σ²; for a curved one it counts
interactions with the other axes too. Var is about the mean, as for models without an ARD prior. Axes are redrawn from their
own marginal: where axes depend on each other, some decoded codes lie outside the aggregate distribution.

The N codes are paired at random into M = ⌊N/2⌋ bases and donors, because the standard error of M independent rows is std / √M. Codes that
served as base and as donor would make rows depend on each other: std / √N is then too small (by √1.5 for Gaussian axes), and
the error for a given number of decoded codes is greater (3 σ⁴/N against 2 σ⁴/M for equal N and M).

Central differences, where derivatives are missing but their convention is wanted:  J_l ≈ (f(z + h e_l) − f(z − h e_l)) / (2h), with
an error of h²/6 ∂³f and a rounding error of about 1e-7 |f| / h.

Source: Jansen, "Analysis of variance designs for model output", Computer Physics Communications 117, 1999; Saltelli et al.,
"Variance based sensitivity analysis of model output", 2010, table 2 (f).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..autoencoder import Autoencoder, Posterior
from ..errors import ConfigError
from .jacobian import MEMORY_BUDGET, JacobianNorms, inference_mode
from .sketch import decode_footprint

__all__ = ["ApproximateNorms", "TotalEffects", "finite_difference_norms", "total_effects"]

RELATIVE_STEP = 0.01


@dataclass(frozen=True)
class TotalEffects:
    """Total effect of every axis on the decoder's output.

    Attributes:
        contributions: for each of M pairs of codes with shape (M, L), float64, ≥ 0; their mean is the score.
        outputs: D.
    """

    contributions: Tensor
    outputs: int

    @property
    def score(self) -> Tensor:
        """T with shape (L,), in squared output units, ≥ 0."""
        return self.contributions.mean(dim=0)

    @property
    def stderr(self) -> Tensor:
        """Standard error of T with shape (L,), which counts the drawn codes; infinite for a single pair."""
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

    step: Tensor


def total_effects(
    model: Autoencoder,
    codes: Posterior,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    memory: int = MEMORY_BUDGET,
) -> TotalEffects:
    """Total effects of all axes from M = ⌊N/2⌋ pairs of N sampled codes, with M (L + 1) decoded codes and no derivative.

    Arguments:
        model: its `decode` runs in inference mode and float32.
        codes: N ≥ 2 posteriors on L axes; a base keeps its context. Give 2 M codes for M pairs.
        generator: source of the sampled codes and of the pairing.
        memory: bytes that the intermediate values of one chunk may take, about.

    Raises:
        ConfigError: for fewer than two codes.
    """
    pairs = len(codes) // 2
    if pairs == 0:
        raise ConfigError(f"Total effects need at least two codes, found {len(codes)}.", "Give more samples.")
    order = torch.randperm(len(codes), generator=generator, device=generator.device).to(codes.mean.device)
    sampled = codes.sample(generator)
    base, donor = sampled[order[:pairs]].to(device), sampled[order[pairs : 2 * pairs]].to(device)
    context = None if codes.context is None else codes.context[order[:pairs].to(codes.context.device)].to(device)

    with inference_mode(model):
        row, outputs = decode_footprint(model, base, context)

        def effect(part: slice, axes: Tensor) -> Tensor:
            own = None if context is None else context[part]
            change = _replaced(model, base[part], own, donor[part], axes) - model.decode(base[part], own).flatten(1)[:, None]
            return change.square_().sum(dim=2, dtype=torch.float64) / 2

        return TotalEffects(_for_all(base, memory // (row + 8 * outputs), effect), outputs)


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
        memory: bytes that the intermediate values of one chunk may take, about.

    Raises:
        ConfigError: for a step that is not positive.
    """
    if not step > 0:
        raise ConfigError(f"The step of central differences must be positive, not {step}.", f"Use {RELATIVE_STEP}.")
    z = codes.mean.to(device)
    context = None if codes.context is None else codes.context.to(device)
    spread = z.double().std(dim=0, correction=0)
    length = step * torch.where(spread > 1e-6 * z.double().abs().amax(dim=0).clamp(min=1e-30), spread, torch.ones_like(spread))
    up, down = (z.double() + length).to(z.dtype), (z.double() - length).to(z.dtype)
    distance = (up - down).double()  # what the codes moved after rounding

    with inference_mode(model):
        row, outputs = decode_footprint(model, z, context)

        def norms(part: slice, axes: Tensor) -> Tensor:
            own = None if context is None else context[part]
            change = _replaced(model, z[part], own, up[part], axes) - _replaced(model, z[part], own, down[part], axes)
            return change.square_().sum(dim=2, dtype=torch.float64) / distance[part][:, axes].square()

        contributions = _for_all(z, memory // (2 * row + 8 * outputs), norms)
    return ApproximateNorms(contributions, outputs, "paper", length.cpu())


def _replaced(model: Autoencoder, z: Tensor, context: Tensor | None, values: Tensor, axes: Tensor) -> Tensor:
    """Outputs (n, k, D) at codes (n, L) with one of k axes at a time taken from `values` (n, L)."""
    moved = z[:, None].repeat(1, len(axes), 1)
    moved[:, torch.arange(len(axes), device=z.device), axes] = values[:, axes]
    own = None if context is None else context.repeat_interleave(len(axes), dim=0)
    return model.decode(moved.flatten(0, 1), own).flatten(1).unflatten(0, (len(z), len(axes)))


def _for_all(z: Tensor, rows: int, measure: Callable[[slice, Tensor], Tensor]) -> Tensor:
    """`measure` of all samples and axes of z (N, L), at most `rows` pairs of sample and axis at a time: (N, L) on the CPU."""
    count, latent_dim = z.shape
    samples, width = max(1, rows // latent_dim), max(1, min(latent_dim, rows))
    groups = torch.arange(latent_dim, device=z.device).split(width)
    parts = [slice(start, start + samples) for start in range(0, count, samples)]
    return torch.cat([torch.cat([measure(part, axes).cpu() for axes in groups], dim=1) for part in parts])
