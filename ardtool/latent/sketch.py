r"""Column norms of the decoder's Jacobian from random projections: the cost does not depend on the number of axes.

    r ∈ {−1, +1}^D, entries independent,   g = Jᵀ r                                    one vector–Jacobian product
    E[g_l²] = Σ_d J_dl² = w_l                                                          unbiased, for all axes at once
    Var[g_l²] = 2 (w_l² − Σ_d J_dl⁴) ≤ 2 w_l²

The variance follows from E[g_l⁴] = 3 (Σ_d J_dl²)² − 2 Σ_d J_dl⁴, since E[r⁴] = 1. With one r for each of N samples and each of p
probes, c_il = mean_p g_ilp² has the mean w_l over samples, and

    Var[c_l] = Var_i[w_il] + E_i[Var[g_il²]] / p ≤ w_l² (v² + 2 (1 + v²) / p),   v = std_i[w_il] / w_l.

The c_i are independent, so std(c) / √N is the standard error of w with the noise of the probes already in it, and resampling the rows
of c resamples both. For a given number of products N p the error is least at p = 1: take more samples before more probes.

A noisy w spreads the scores of equal axes, so a count made from few products is low rather than high; the interval says how sure it is.

Source: Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989, applied to each diagonal entry of JᵀJ; the
weight is that of Saha, Joshi, Whitaker, arXiv 2501.10901, Eq. 19.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from torch import Tensor

from ..autoencoder import Autoencoder, Posterior
from ..errors import ArdtoolError, ConfigError
from .jacobian import MEMORY_BUDGET, AllocatedBytes, Convention, JacobianNorms, inference_mode

__all__ = ["EstimatorChoice", "choose_estimator", "cost_in_forwards", "decode_footprint", "pulled_back", "rademacher", "sketched_norms"]

TOLERANCE = 0.05
VARIATION = 0.5
FORWARDS_PER_PRODUCT = 3


def sketched_norms(
    model: Autoencoder,
    codes: Posterior,
    *,
    generator: torch.Generator,
    probes: int = 1,
    convention: Convention = "paper",
    device: torch.device | str = "cpu",
    memory: int = MEMORY_BUDGET,
) -> JacobianNorms:
    """Unbiased estimates of the squared column norms of the decoder's Jacobian at the means of N codes.

    One forward pass for each sample and one backward pass for each sample and probe, whatever L is. The result does not depend on
    `memory` beyond rounding.

    Arguments:
        model: its `decode` is differentiated in reverse mode, in inference mode and float32.
        codes: N posteriors on L axes; contexts go with their samples.
        generator: source of the projections.
        probes: projections for each sample, ≥ 1.
        convention: `paper`; the other convention is not a sum of squares and has no such estimate.
        memory: bytes that the intermediate values of one chunk may take, about.

    Returns:
        Contributions with shape (N, L), ≥ 0, whose mean is w and whose `stderr` counts samples and probes.

    Raises:
        ConfigError: for the authors' convention, or fewer than one probe.
        ArdtoolError: where the output of the decoder does not depend differentiably on the codes.
    """
    if convention != "paper":
        raise ConfigError(
            f"The sketch estimates squared derivatives; the convention '{convention}' needs absolute ones.",
            "Use the estimator 'exact' for it, or the convention 'paper'.",
        )
    if probes < 1:
        raise ConfigError(f"The sketch needs at least 1 probe per sample, not {probes}.", "Use 1 and more samples.")
    z = codes.mean.to(device)
    context = None if codes.context is None else codes.context.to(device)
    with inference_mode(model):
        row, outputs = decode_footprint(model, z, context)
        size = max(1, memory // (3 * row + 12 * probes * outputs))
        parts = []
        for start in range(0, len(z), size):
            part = slice(start, start + size)
            signs = rademacher((len(z[part]), probes, outputs), generator, z.device)
            gradients = pulled_back(model, z[part], None if context is None else context[part], signs)
            parts.append(gradients.double().square().mean(dim=1).cpu())
    return JacobianNorms(torch.cat(parts), outputs, "paper")


def rademacher(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Independent signs −1 and +1 in float32; the same whether they are drawn in one piece or in several."""
    return torch.randint(0, 2, shape, generator=generator, device=generator.device).to(device).float().mul_(2).sub_(1)


def pulled_back(model: Autoencoder, z: Tensor, context: Tensor | None, vectors: Tensor) -> Tensor:
    """Jᵀ v at every code for its own vectors: codes (n, L) and vectors (n, p, D) give (n, p, L). Call it in `inference_mode`.

    Raises:
        ArdtoolError: where the output does not depend differentiably on the codes.
    """
    with torch.enable_grad():
        inputs = z.detach().clone().requires_grad_()
        outputs = model.decode(inputs, context).flatten(1)
        gradients: list[Tensor] = []
        for probe in vectors.unbind(dim=1):
            last = len(gradients) + 1 == vectors.shape[1]
            found = (None,)
            if outputs.requires_grad:
                found = torch.autograd.grad(outputs, inputs, probe.to(outputs.dtype), retain_graph=not last, allow_unused=True)
            if found[0] is None:
                raise ArdtoolError(
                    "The decoder cannot be differentiated: its output does not depend on the codes through torch operations.",
                    "Use the estimator 'sobol', which only decodes.",
                )
            gradients.append(found[0])
    return torch.stack(gradients, dim=1)


@torch.no_grad()
def decode_footprint(model: Autoencoder, z: Tensor, context: Tensor | None) -> tuple[int, int]:
    """Bytes of all intermediate values that one more code adds to a decoded batch, and the number of outputs D.

    The difference between two codes and one leaves out what does not grow with the batch, such as views of weights.
    """
    totals, outputs = [], 0
    for rows in (1, 2):
        code = z[:1].expand(rows, *z.shape[1:])
        own = None if context is None else context[:1].expand(rows, *context.shape[1:])
        with AllocatedBytes() as allocated:
            outputs = model.decode(code, own).numel() // rows
        totals.append(allocated.total)
    return max(totals[1] - totals[0], 4 * outputs, 1), outputs


@dataclass(frozen=True)
class EstimatorChoice:
    """Which estimator is cheaper for the same error, and by how much.

    Attributes:
        estimator: `exact` or `sketch`.
        reason: one sentence with the counted costs.
        exact_forwards, sketch_forwards: counted costs in decoded samples; the sketch's is infinite where it cannot reach the error.
        samples: N for the chosen estimator.
        probes: projections per sample for the sketch, 1 for `exact`.
    """

    estimator: Literal["exact", "sketch"]
    reason: str
    exact_forwards: float
    sketch_forwards: float
    samples: int
    probes: int


def cost_in_forwards(
    estimator: Literal["exact", "sketch"], latent_dim: int, samples: int, *, outputs: int | None = None, probes: int = 1
) -> int:
    """Cost counted in decoded samples (docs/performance.md).

    Exact: one for each tangent and sample, L in forward mode or 1 + 2 D in reverse mode, whichever is less where D is known. Sketch:
    three for each product, one forward and one backward that costs at most twice as much (measured on the paper's networks: 1.8 to 2.3).
    """
    if estimator == "sketch":
        return FORWARDS_PER_PRODUCT * samples * probes
    return samples * (latent_dim if outputs is None else min(latent_dim, 1 + 2 * outputs))


def choose_estimator(
    latent_dim: int,
    samples: int,
    *,
    outputs: int | None = None,
    available: int | None = None,
    tolerance: float = TOLERANCE,
    variation: float = VARIATION,
    convention: Convention = "paper",
) -> EstimatorChoice:
    """The cheaper of exact and sketch at the same relative standard error of an axis' weight.

    The error asked for is the greater of `tolerance` and what exact derivatives at `samples` codes have, v / √samples. The sketch
    needs N products with (v² + 2 (1 + v²) / p) / N at most its square (see the head of this file); where only `available` codes exist,
    more probes for each of them.

    Arguments:
        latent_dim: L.
        samples: codes at which exact derivatives would be taken, ≥ 1.
        outputs: D, if known.
        available: codes there are; None for as many as needed.
        tolerance: relative standard error that suffices, > 0.
        variation: v, relative standard deviation of an axis' squared column norm between samples.
        convention: the authors' convention is always exact.
    """
    exact = cost_in_forwards("exact", latent_dim, samples, outputs=outputs)
    if convention != "paper":
        return EstimatorChoice("exact", f"exact: the sketch is not defined for '{convention}'", exact, float("inf"), samples, 1)
    square = max(tolerance**2, variation**2 / samples)
    count, probes = ceil(round((2 + 3 * variation**2) / square, 6)), 1
    if available is not None and count > available:
        spare = available * square - variation**2
        count = available
        probes = ceil(round(2 * (1 + variation**2) / spare, 6)) if spare > 0 else 0
    error = f"{100 * square**0.5:.3g} % standard error"
    if probes == 0:
        reason = f"exact: no sketch of the {available:,} codes at hand reaches a {error}"
        return EstimatorChoice("exact", reason, exact, float("inf"), samples, 1)
    sketch = cost_in_forwards("sketch", latent_dim, count, probes=probes)
    chosen: Literal["exact", "sketch"] = "sketch" if sketch < exact else "exact"
    costs = f"for a {error} the sketch costs {sketch:,} decoder passes and exact derivatives at {samples:,} codes {exact:,}"
    best = (count, probes) if chosen == "sketch" else (samples, 1)
    return EstimatorChoice(chosen, f"{chosen}: {costs}", exact, sketch, *best)
