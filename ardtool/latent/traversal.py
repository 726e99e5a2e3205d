"""Traversals: one axis moves, all others stay at a reference code. All elements of an axis move together, each by its own deviation."""

from __future__ import annotations

import torch
from torch import Tensor

from .axes import LatentAxes

__all__ = ["traversal_codes", "traversal_offsets"]


def traversal_offsets(steps: int, sigmas: float) -> Tensor:
    """Offsets in standard deviations from −sigmas to +sigmas with shape (steps,); an odd number of steps contains 0 exactly."""
    if steps == 1:
        return torch.zeros(1)
    half = torch.linspace(0, sigmas, steps // 2 + 1)[1:] if steps % 2 else (torch.arange(steps // 2) + 0.5) * (2 * sigmas / (steps - 1))
    centre = torch.zeros(steps % 2)
    return torch.cat([-half.flip(0), centre, half])


def traversal_codes(reference: Tensor, deviation: Tensor, axes: list[int], offsets: Tensor, of: LatentAxes | None = None) -> Tensor:
    """Codes with shape (len(axes), steps, L): row r moves axis axes[r] by offsets times its standard deviation.

    Arguments:
        reference: the code all rows start from with shape (L,).
        deviation: standard deviations of all elements with shape (L,).
        axes: which axes move.
        offsets: in standard deviations with shape (steps,).
        of: what counts as an axis; None for every element.
    """
    of = of or LatentAxes((len(reference),))
    z = reference.expand(len(axes), len(offsets), -1).clone()
    for row, axis in enumerate(axes):
        elements = of.elements_of([axis])
        z[row][:, elements] += offsets[:, None] * deviation[elements]
    return z
