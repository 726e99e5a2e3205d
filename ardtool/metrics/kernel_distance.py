r"""The kernel distance of two sets of features: KID where the features are Inception's.

    k(x, y) = (xᵀy / D + 1)³
    MMD² = Σ_{i≠j} k(x_i, x_j) / m(m − 1) + Σ_{i≠j} k(y_i, y_j) / m(m − 1) − 2 Σ_ij k(x_i, y_j) / m²

The mean of this over 100 random subsets of m = 1,000 samples on each side. Unbiased, so that it may be negative and that different numbers
of samples can be compared; 0 for equal distributions, lower is better.

Standard error. Up to terms of order 1/n, MMD² is a mean of h(x) = E k(x, x') − E k(x, y) over the samples of one side, plus one of the
other side:

    stderr² = 4 Var h / n₁ + 4 Var h' / n₂ + (variance over subsets, divisor number − 1) / number

h of a sample is its average over the subsets that it was drawn into. The deviation over subsets, which others print after ±, is the error
of a single subset, not of the mean.

Source: Bińkowski et al., "Demystifying MMD GANs", arXiv 1801.01401; Gretton et al., "A kernel two-sample test", 2012.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, pstdev

import torch
from torch import Tensor

from ..errors import DataError
from .features import check_pair, double

__all__ = ["KernelDistance", "kernel_distance", "polynomial_kernel"]

SUBSETS = 100
SUBSET_SIZE = 1000


@dataclass(frozen=True)
class KernelDistance:
    """A kernel distance.

    Attributes:
        value: mean of MMD² over subsets; without unit, lower is better, may be slightly negative.
        stderr: its standard error under new samples on both sides; up to 1.5 times too large where the distributions are equal.
        deviation: standard deviation over subsets, divisor the number of subsets; 0 where the only subset is everything.
        subsets, subset_size: what was drawn.
    """

    value: float
    stderr: float
    deviation: float
    subsets: int
    subset_size: int


def kernel_distance(
    *, generated: Tensor, reference: Tensor, generator: torch.Generator, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE
) -> KernelDistance:
    """Kernel distance of generated features with shape (N, D) from reference features with shape (M, D), on one device.

    Arguments:
        generator: draws the subsets, without replacement.
        subsets: how many, ≥ 2 for a finite standard error; a single one where it holds everything, as all would be equal.
        subset_size: samples of a subset on each side, at most N and M.

    Raises:
        DataError: fewer than two samples on a side, features that are not finite, or different numbers of them.
    """
    check_pair(generated, reference)
    size = min(subset_size, len(generated), len(reference))
    if size < 2:
        raise DataError(f"A kernel distance needs at least two samples on each side, found {size}.", "Give more samples.")
    sides = (generated, reference)
    everything = size == len(generated) == len(reference)
    subsets = 1 if everything else subsets
    totals = [torch.zeros(2, len(side), dtype=torch.float64) for side in sides]  # of h, and how often drawn
    values = []
    for _ in range(subsets):
        drawn = [torch.randperm(len(side), generator=generator)[:size] for side in sides]
        h = _contributions(*(double(side[index.to(side.device)]) for side, index in zip(sides, drawn, strict=True)))
        values.append(float(h[0].mean() + h[1].mean()))
        for total, index, own in zip(totals, drawn, h, strict=True):
            total[:, index] += torch.stack([own.cpu(), torch.ones(size, dtype=torch.float64)])
    deviation = pstdev(values)
    of_drawing = 0 if everything else math.inf if subsets == 1 else deviation**2 / (subsets - 1)
    of_samples = sum(4 * float((h[times > 0] / times[times > 0]).var()) / len(h) for h, times in totals)
    return KernelDistance(fmean(values), math.sqrt(of_samples + of_drawing), deviation, subsets, size)


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """k of all pairs with shape (N, M), from features with shapes (N, D) and (M, D)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _contributions(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """h of m samples on each side with shape (m,) each; the sum of both means is MMD²."""
    between = polynomial_kernel(x, y)
    sides = []
    for own, others in ((x, between.mean(dim=1)), (y, between.mean(dim=0))):
        within = polynomial_kernel(own, own)
        sides.append((within.sum(dim=1) - within.diagonal()) / (len(own) - 1) - others)
    return sides[0], sides[1]
