r"""Mutual information between codes and known factors, as the mutual information gap (MIG) counts it.

    I[l, k] = Σ_b Σ_v p(b, v) log(p(b, v) / (p(b) p(v)))    H[k] = −Σ_v p(v) log p(v) = I(factor k; factor k)

p are shares of the N samples, v the values of factor k, and b the bin of axis l: 20 of equal width between the axis' own smallest and
largest code. Everything is in nats and float64. Independent codes show about (B − 1)(V − 1)/(2N) instead of 0, for B bins that are used
and V values.

Source: Chen, Li, Grosse, Duvenaud, "Isolating sources of disentanglement in VAEs", 2018; bins as in Locatello et al. 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["BINS", "equal_width_bins", "factor_entropies", "mutual_information"]

BINS = 20


def mutual_information(codes: Tensor, factors: Tensor) -> Tensor:
    """Mutual information of every axis with every factor with shape (L, K), in nats, float64, from 0 to the factor's entropy.

    Arguments:
        codes: with shape (N, L), finite, N ≥ 1.
        factors: values with shape (N, K), whole numbers; which number stands for which value does not matter.
    """
    bins = [_equal_width(axis) for axis in codes.double().T.contiguous()]
    values = [torch.unique(factor, return_inverse=True)[1] for factor in factors.T]
    rows = [[_information(_joint_counts(axis, factor)) for factor in values] for axis in bins]
    return torch.tensor(rows, dtype=torch.float64, device=codes.device).reshape(len(bins), len(values))


def factor_entropies(factors: Tensor) -> Tensor:
    """Entropy of every factor with shape (K,), in nats, float64: 0 for a constant, log V for V equally frequent values.

    Arguments:
        factors: values with shape (N, K), whole numbers.
    """
    counts = [torch.unique(factor, return_counts=True)[1] for factor in factors.T]
    entropies = [_information(torch.diag(count)) for count in counts]
    return torch.tensor(entropies, dtype=torch.float64, device=factors.device)


def equal_width_bins(codes: Tensor) -> Tensor:
    """The bin of each code on its axis with shape (N, L), from 0 to 19; a bin holds its lower edge, the last one both.

    Arguments:
        codes: with shape (N, L), finite, N ≥ 1, L ≥ 1.
    """
    return torch.stack([_equal_width(axis) for axis in codes.double().T.contiguous()], dim=1)


def _equal_width(axis: Tensor) -> Tensor:
    """The bins of one axis."""
    low, high = axis.aminmax()
    edges = low + (high - low) / BINS * torch.arange(1, BINS, dtype=axis.dtype, device=axis.device)
    return torch.bucketize(axis, edges, right=True)


def _joint_counts(rows: Tensor, columns: Tensor) -> Tensor:
    """How often each pair of whole numbers ≥ 0 occurs, as a table."""
    width = int(columns.max()) + 1
    height = int(rows.max()) + 1
    return torch.bincount(rows * width + columns, minlength=height * width).reshape(height, width)


def _information(counts: Tensor) -> float:
    """Mutual information in nats of the row and the column of a table of counts."""
    shares = counts.double() / counts.sum()
    independent = shares.sum(dim=1, keepdim=True) * shares.sum(dim=0, keepdim=True)
    there = shares > 0
    return max(0.0, float((shares[there] * (shares[there] / independent[there]).log()).sum()))
