r"""Distances to the k nearest neighbours of every point, exact, in blocks.

    ‖a − b‖² = ‖a‖² + ‖b‖² − 2 aᵀb

finds the neighbours by matrix products of blocks, each pair of blocks once: the transposed block serves the other rows. It loses all digits
where ‖a − b‖ is small beside ‖a‖, so products are float64, about the mean of the points, and the distances of the k that were found are
computed again from differences. N² D multiplications, and no N × N matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import DataError
from ..latent.chunks import MEMORY_BUDGET

__all__ = ["distinct", "nearest_distances"]

BLOCKS_HELD = 3  # squared distances, their transpose, what is made on the way
CACHED = 8 * 2**20  # larger pieces of differences leave the caches and are slower


def distinct(points: Tensor) -> Tensor:
    """Points with shape (N, D) without exact duplicates, in another order."""
    return torch.unique(points, dim=0)


def nearest_distances(points: Tensor, k: int, *, memory: int = MEMORY_BUDGET) -> Tensor:
    """Euclidean distances of every point to its k nearest neighbours with shape (N, k), ascending, float64; itself is none of them.

    Arguments:
        points: with shape (N, D), float32 or float64, on a device that has float64 (Apple's `mps` has not).
        k: from 1 to N − 1.
        memory: bytes that blocks may take beside the points.

    Raises:
        DataError: there are too few points, or some are not finite.
    """
    count = len(points)
    if not 1 <= k < count:
        raise DataError(
            f"{count:,} points have no {k} neighbours each; expected more than {k} points.", "Give more samples, none of them twice."
        )
    centre = points.mean(dim=0).double()
    if not bool(centre.isfinite().all()):
        raise DataError("Some coordinates are not finite; distances need finite ones.", "Leave these samples out.")
    size = max(1, min(count, _block_size(points.shape[1], memory)))
    blocks = [slice(start, min(start + size, count)) for start in range(0, count, size)]
    squares = torch.full((count, k), torch.inf, dtype=torch.float64, device=points.device)
    neighbours = torch.zeros((count, k), dtype=torch.int64, device=points.device)
    for index, rows in enumerate(blocks):
        a = points[rows] - centre
        _keep_nearest(squares, neighbours, rows, _squared_distances(a, a).fill_diagonal_(torch.inf), rows.start)
        for columns in blocks[index + 1 :]:
            found = _squared_distances(a, points[columns] - centre)
            _keep_nearest(squares, neighbours, rows, found, columns.start)
            _keep_nearest(squares, neighbours, columns, found.T, rows.start)
    return _distances(points, neighbours, memory)


def _block_size(outputs: int, memory: int) -> int:
    """The largest n with 8 (BLOCKS_HELD n² + 2 n D) ≤ memory: squared distances of n by n points, and these points in float64."""
    half = outputs / BLOCKS_HELD
    return int((half * half + memory / (8 * BLOCKS_HELD)) ** 0.5 - half)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """‖a_i − b_j‖² with shape (n, m) of points (n, D) and (m, D), to the rounding of ‖a‖² + ‖b‖²."""
    lengths = torch.linalg.vector_norm(a, dim=1).square()[:, None], torch.linalg.vector_norm(b, dim=1).square()
    return (a @ b.T).mul_(-2).add_(lengths[0]).add_(lengths[1])


def _keep_nearest(squares: Tensor, neighbours: Tensor, rows: slice, distances: Tensor, first: int) -> None:
    """Merge squared distances of some rows to the points from number `first` on into the nearest so far."""
    k = squares.shape[1]
    found, columns = distances.topk(min(k, distances.shape[1]), largest=False)
    merged = torch.cat([squares[rows], found], dim=1)
    squares[rows], index = merged.topk(k, largest=False)
    neighbours[rows] = torch.cat([neighbours[rows], columns + first], dim=1).gather(1, index)


def _distances(points: Tensor, neighbours: Tensor, memory: int) -> Tensor:
    """Distances to the given neighbours, ascending, from differences."""
    found = torch.empty(neighbours.shape, dtype=torch.float64, device=points.device)
    row = 8 * neighbours.shape[1] * points.shape[1]
    for rows in torch.arange(len(points), device=points.device).split(max(1, min(memory, CACHED) // row)):
        differences = points[neighbours[rows]].double().sub_(points[rows][:, None])
        found[rows] = differences.square_().sum(dim=2).sqrt_()
    return found.sort(dim=1).values
