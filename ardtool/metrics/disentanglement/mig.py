r"""Mutual information gap (MIG): how much more the best axis knows about a factor than the second best.

    gap_k = (I_(1)k − I_(2)k) / H_k,    value = mean_k gap_k, from 0 to 1, higher is better

I is the mutual information of an axis and a factor, H_k the factor's entropy, and I_(1)k ≥ I_(2)k its two largest values; the second of a
single axis is 0, as if a dead one stood beside it. Bins as in `mutual_information.py`: 20 of equal width between an axis' extremes, so one
outlier changes the value, and factors with more than 20 values cannot reach 1. A perfect code of dSprites gives 0.90.

Source: Chen, Li, Grosse, Duvenaud, "Isolating sources of disentanglement in VAEs", 2018; bins and constants of Locatello et al. 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..mutual_information import BINS, factor_entropies, mutual_information
from .table import FactorTable

__all__ = ["Mig", "mig", "mutual_information_gaps"]


@dataclass(frozen=True)
class Mig:
    """The mutual information gap.

    Attributes:
        value: from 0 to 1, higher is better.
        gaps: of every factor with shape (K,), float64.
        information: mutual information of axes and factors with shape (A, K), in nats.
        entropies: of the factors with shape (K,), in nats.
        samples, bins: how it was measured.
    """

    value: float
    gaps: Tensor
    information: Tensor
    entropies: Tensor
    samples: int
    bins: int = BINS


def mig(table: FactorTable, *, generator: torch.Generator, samples: int = 10_000) -> Mig:
    """The mutual information gap of a table of codes on A axes.

    Raises:
        DataError: a factor does not vary among the samples, or codes are not finite.
    """
    (rows,) = table.draw(samples, generator=generator)
    information = mutual_information(table.codes_of(rows), table.factors[rows])
    entropies = factor_entropies(table.factors[rows])
    gaps = mutual_information_gaps(information, entropies)
    return Mig(float(gaps.mean()), gaps, information, entropies, len(rows))


def mutual_information_gaps(information: Tensor, entropies: Tensor) -> Tensor:
    """Gaps with shape (K,) of mutual information (A, K) and entropies (K,) > 0."""
    with_dead = torch.cat([information, torch.zeros_like(information[:1])])
    best = with_dead.topk(2, dim=0).values
    return (best[0] - best[1]) / entropies
