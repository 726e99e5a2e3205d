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

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from torch import Tensor

from ..autoencoder import Autoencoder, Posterior
from ..errors import ArdtoolError, ConfigError, first_line
from .chunks import MEMORY_BUDGET, ChunkCost, in_chunks, is_out_of_memory, out_of_memory
from .derivatives import FixedDecoder, NotDifferentiable, pulled_back, rademacher
from .jacobian import Convention, JacobianNorms, inference_mode

__all__ = ["EstimatorChoice", "choose_estimator", "cost_in_forwards", "pulled_back", "rademacher", "sketched_norms"]

TOLERANCE = 0.05
VARIATION = 0.5
FORWARDS_PER_PRODUCT = 3
MOST_INDEPENDENT = 64
SLACK = 1.25


def sketched_norms(
    model: Autoencoder,
    codes: Posterior,
    *,
    generator: torch.Generator,
    probes: int = 1,
    convention: Convention = "paper",
    device: torch.device | str = "cpu",
    memory: int = MEMORY_BUDGET,
    among: tuple[int, int] = (0, 0),
) -> JacobianNorms:
    """Unbiased estimates of the squared column norms of the decoder's Jacobian at the means of N codes.

    One forward pass for each sample and one backward pass for each sample and probe, whatever L is. The result does not depend on
    `memory` beyond rounding. Signs are drawn code by code: consecutive blocks of codes with the same generator, joined, are one call.

    Arguments:
        model: its `decode` is differentiated in reverse mode, in inference mode and float32.
        codes: N posteriors on L axes; contexts go with their samples.
        generator: source of the projections.
        probes: projections for each sample, ≥ 1.
        among: how many codes before and behind these are measured elsewhere, with the same generator: their signs are passed over.
        convention: `paper`; the other convention is not a sum of squares and has no such estimate.
        memory: bytes that the intermediate values of one chunk may take.

    Returns:
        Contributions with shape (N, L), ≥ 0, whose mean is w and whose `stderr` counts samples and probes.

    Raises:
        ConfigError: for the authors' convention, or fewer than one probe.
        ArdtoolError: the decoder cannot decode, does not depend differentiably on the codes, or does not fit into memory.
    """
    if convention != "paper":
        raise ConfigError(
            f"The sketch estimates squared derivatives; the convention '{convention}' needs absolute ones.",
            "Use the estimator 'exact' for it, or the convention 'paper'.",
        )
    if probes < 1:
        raise ConfigError(f"The sketch needs at least 1 probe per sample, not {probes}.", "Use 1 and more samples.")
    with inference_mode(model):
        decoder = FixedDecoder.at(model, codes, codes.mean, device, memory)
        with _differentiable():
            if not decoder.agrees("reverse"):
                raise NotDifferentiable("its derivative is not that of its output")
            before, behind = among
            _pass_over(before, decoder, generator, probes)
            contributions = _squared_products(decoder, generator, probes)
            _pass_over(behind, decoder, generator, probes)
            if not decoder.stays_along((contributions == 0).all(dim=0)):
                raise NotDifferentiable("its derivative is zero where its output changes")
    return JacobianNorms(contributions, decoder.outputs, "paper", "sketch")


def _squared_products(decoder: FixedDecoder, generator: torch.Generator, probes: int) -> Tensor:
    """Mean over probes of (J_iᵀ r)² with shape (N, L), float64. Signs are drawn code by code, whatever the chunks are."""
    contributions = torch.zeros(len(decoder), decoder.axes, dtype=torch.float64)
    reverse = decoder.reverse_cost
    cost = ChunkCost(12 * decoder.outputs + 8 * decoder.axes, reverse.pair, reverse.device)

    def squares(part: slice, some: slice) -> Tensor:
        signs = rademacher((part.stop - part.start, some.stop - some.start, decoder.outputs), generator, decoder.z.device)
        return pulled_back(decoder.model, *decoder.at_rows(part), signs).square().sum(dim=1).cpu().double()

    for part, _, found in in_chunks(len(decoder), probes, cost, decoder.memory, squares, generator=generator):
        contributions[part] += found / probes
    return contributions


def _pass_over(codes: int, decoder: FixedDecoder, generator: torch.Generator, probes: int) -> None:
    for _ in range(codes):
        rademacher((1, probes, decoder.outputs), generator, decoder.z.device)


@contextmanager
def _differentiable() -> Iterator[None]:
    """Says in one line that the sketch does not work for a decoder, and what does."""
    try:
        yield
    except ArdtoolError as error:
        if not isinstance(error, NotDifferentiable):
            raise
        reason = error.message
    except Exception as error:  # whatever a decoder says when it is differentiated: plain decoding has worked before
        if is_out_of_memory(error):
            raise out_of_memory(first_line(error)) from error
        reason = first_line(error)
    else:
        return
    raise NotDifferentiable(
        f"The decoder cannot be differentiated in reverse mode: {reason}.",
        "Use the estimator 'exact', which knows other ways, or 'sobol', which only decodes.",
    )


@dataclass(frozen=True)
class EstimatorChoice:
    """Which estimator is cheaper for the same error, and by how much.

    Attributes:
        estimator: `exact` or `sketch`.
        reason: one sentence with the counted costs.
        exact_forwards, sketch_forwards: counted costs in decoded samples; the sketch's is infinite where it is not defined.
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
    elements: int = 1,
    convention: Convention = "paper",
) -> EstimatorChoice:
    """The cheaper of exact and sketch at about the same relative standard error of an axis' weight.

    The error asked for is the greater of `tolerance` and what exact derivatives at `samples` codes have, v / √samples. The sketch
    needs N products with (v² + 2 (1 + v²) / (p r)) / N at most its square (see the head of this file), where r is the number of
    independent directions that an axis of several elements is taken to have. The spread between samples stays however many probes
    there are, so where codes are few, or an axis has several elements, the sketch may have 1.25 times its variance.

    Arguments:
        latent_dim: L.
        samples: codes at which exact derivatives would be taken, ≥ 1.
        outputs: D, if known.
        available: codes there are; None for as many as needed.
        tolerance: relative standard error that suffices, > 0.
        variation: v, relative standard deviation of an axis' squared column norm between samples.
        elements: how many elements of the code an axis has.
        convention: the authors' convention is always exact.
    """
    exact = cost_in_forwards("exact", latent_dim, samples, outputs=outputs)
    if convention != "paper":
        return EstimatorChoice("exact", f"exact: the sketch is not defined for '{convention}'", exact, float("inf"), samples, 1)
    spread = variation**2
    noise = 2 * (1 + spread) / min(elements, MOST_INDEPENDENT)
    square = max(tolerance**2, spread * (SLACK if elements > 1 else 1) / samples)
    count, probes = ceil(round((spread + noise) / square, 6)), 1
    if available is not None and count > available:
        square = max(square, SLACK * spread / available)
        count, probes = available, ceil(round(noise / (available * square - spread), 6))
    sketch = cost_in_forwards("sketch", latent_dim, count, probes=probes)
    chosen: Literal["exact", "sketch"] = "sketch" if sketch < exact else "exact"
    error = f"{100 * square**0.5:.3g} % standard error"
    costs = f"for a {error} the sketch costs {sketch:,} decoder passes and exact derivatives at {samples:,} codes {exact:,}"
    best = (count, probes) if chosen == "sketch" else (samples, 1)
    return EstimatorChoice(chosen, f"{chosen}: {costs}", exact, sketch, *best)
