r"""Precision, recall, density and coverage from nearest neighbours among features.

Reference samples x_i (N of them), generated samples y_j (M), r_k(x_i) the distance from x_i to its k-th nearest neighbour among the other
reference samples, r_k(y_j) likewise among the generated ones:

    precision = mean_j  [ ∃ i: |x_i − y_j| ≤ r_3(x_i) ]           generated samples that look like reference samples
    recall    = mean_i  [ ∃ j: |x_i − y_j| ≤ r_3(y_j) ]           reference samples that the generator could have made
    density   = mean_j  #{ i: |x_i − y_j| < r_5(x_i) } / 5        precision that one outlier cannot inflate; may exceed 1
    coverage  = mean_i  [ ∃ j: |x_i − y_j| < r_5(x_i) ]           reference samples with a generated one near by

All ≥ 0, higher is better, and all depend on N and M. For equal distributions the expectation of the density is 1, and that of the coverage

    1 − Π_{i=1..k} (N − i) / (N + M − i)  ≈  1 − 2^(−k) for N = M

Standard errors are those of a mean of independent terms over the samples in mean_j or mean_i; the other side, and with it the balls, is
taken as given.

Squared distances are |x|² + |y|² − 2 xᵀy in float64 about the reference's mean. Such as differ by less than 1e-12 of the squared norms
count as equal, more than rounding can do, so that ties are ties, and a copy of a sample is at distance 0, in chunks of any size.

Source: Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models", arXiv 1904.06991 (≤, k = 3);
Naeem et al., "Reliable fidelity and diversity metrics for generative models", arXiv 2002.09797 (<, k = 5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from ..latent.chunks import MEMORY_BUDGET
from .features import check_pair, double, double_parts
from .neighbours import nearest_distances
from .reconstruction import mean_and_stderr

__all__ = ["NeighbourMetrics", "expected_coverage", "neighbour_metrics"]

MANIFOLD_NEIGHBOURS = 3
DENSITY_NEIGHBOURS = 5
ROUNDING = 1e-12


@dataclass(frozen=True)
class NeighbourMetrics:
    """Four numbers, each with its standard error, and what to expect of the coverage for equal distributions.

    The errors take the balls as given: over new samples on both sides the numbers spread up to twice as far.
    """

    precision: float
    precision_stderr: float
    recall: float
    recall_stderr: float
    density: float
    density_stderr: float
    coverage: float
    coverage_stderr: float
    expected_coverage: float


def neighbour_metrics(
    *,
    generated: Tensor,
    reference: Tensor,
    manifold_neighbours: int = MANIFOLD_NEIGHBOURS,
    density_neighbours: int = DENSITY_NEIGHBOURS,
    memory: int = MEMORY_BUDGET,
) -> NeighbourMetrics:
    """Precision, recall, density and coverage of generated features (M, D) against reference features (N, D), on one device.

    Arguments:
        manifold_neighbours: k of precision and recall.
        density_neighbours: k of density and coverage.
        memory: bytes that a chunk of distances may take; no result depends on it.

    Raises:
        DataError: no more samples than neighbours on a side, features that are not finite, or different numbers of them.
    """
    check_pair(generated, reference)
    near_x = nearest_distances(reference, max(manifold_neighbours, density_neighbours), memory=memory).square()
    near_y = nearest_distances(generated, manifold_neighbours, memory=memory).square()
    device = near_x.device
    like_reference = torch.zeros(len(generated), dtype=torch.bool, device=device)
    balls_around = torch.zeros(len(generated), dtype=torch.float64, device=device)
    like_generated, covered = torch.zeros(2, len(reference), dtype=torch.bool, device=device)
    for tile in _tiles(reference, generated, memory):
        rows, columns = tile.rows, tile.columns
        manifold_x, density_x = near_x[rows, manifold_neighbours - 1], near_x[rows, density_neighbours - 1]
        like_reference[columns] |= (tile.squared <= _more(manifold_x, tile.row_norms)[:, None]).any(dim=0)
        like_generated[rows] |= (tile.squared <= _more(near_y[columns, manifold_neighbours - 1], tile.column_norms)).any(dim=1)
        within = tile.squared < _less(density_x, tile.row_norms)[:, None]
        balls_around[columns] += within.sum(dim=0)
        covered[rows] |= within.any(dim=1)
    return NeighbourMetrics(
        *mean_and_stderr(like_reference),
        *mean_and_stderr(like_generated),
        *mean_and_stderr(balls_around / density_neighbours),
        *mean_and_stderr(covered),
        expected_coverage(len(reference), len(generated), density_neighbours),
    )


def expected_coverage(reference_count: int, generated_count: int, neighbours: int = DENSITY_NEIGHBOURS) -> float:
    """Expectation of the coverage where both distributions are equal: what a perfect generator gets, below 1."""
    n, m = reference_count, generated_count
    return 1 - prod((n - i) / (n + m - i) for i in range(1, neighbours + 1))


class _Tile(NamedTuple):
    rows: slice
    columns: slice
    squared: Tensor
    row_norms: Tensor
    column_norms: Tensor


def _tiles(x: Tensor, y: Tensor, memory: int) -> Iterator[_Tile]:
    """Squared distances of all pairs of rows, row by row in squares that fit into memory; and squared norms about the mean of y."""
    centre = sum(part.sum(dim=0) for part in double_parts(y)) / len(y)
    side = _side(x.shape[1], memory)
    for i in range(0, len(x), side):
        rows = slice(i, min(i + side, len(x)))
        one = double(x[rows]) - centre
        row_norms = one.square().sum(dim=1)
        for j in range(0, len(y), side):
            columns = slice(j, min(j + side, len(y)))
            other = double(y[columns]) - centre
            column_norms = other.square().sum(dim=1)
            squared = torch.addmm(row_norms[:, None] + column_norms, one, other.T, alpha=-2).clamp_(min=0)
            yield _Tile(rows, columns, squared, row_norms, column_norms)


def _side(features: int, memory: int) -> int:
    """The largest s whose tile fits: 3 s D numbers for both sides and a copy, 4 s² for the distances and what is made of them."""
    return max(1, int((sqrt(9 * features**2 + 2 * memory) - 3 * features) / 8))


def _more(squared_radius: Tensor, norms: Tensor) -> Tensor:
    """The largest squared distance from a centre with that squared norm that counts as equal to the radius; `_less`, the smallest."""
    return squared_radius + ROUNDING * (4 * norms + 2 * squared_radius)


def _less(squared_radius: Tensor, norms: Tensor) -> Tensor:
    return squared_radius - ROUNDING * (4 * norms + 2 * squared_radius)
