r"""FactorVAE metric: can a factor be told from the axis that varies least while it is held?

    one vote   k uniform among K factors;  64 samples that share factor k;  d = argmin_l Var_64[z_l] / s_l²,  s_l = Std[z_l] overall
    M(d)       the factor that most training votes (k, d) have
    value      share of test votes with M(d) = k, from 0 to 1, higher is better

Variances have the divisor n − 1. Only active axes vote; with none the value is 0. Chance is about 1/K. Axes that are doubled cost
nothing, and rotations little: a perfect code of the five factors of dSprites, rotated at random, still gives 0.7 to 1.

The protocol holds an axis for active where s_l ≥ 0.05, which presumes the prior N(0, I). Models with an ARD prior, or with none, have a
free scale: an axis that carries everything may have s_l = 0.01, and a dead one σ̂ = 1. For those, `scale` divides by the aggregate's
standard deviations first, that of the sampled codes z ~ q(z) or σ̂ of the prior: s_l / scale_l then tells how much of an axis is signal. Or
give the table the active axes (`FactorTable.on`) and `threshold=0`. Nothing else depends on the scale of the axes.

Source: Kim and Mnih, "Disentangling by factorising", 2018; the constants of Locatello et al. 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .table import FactorTable

__all__ = ["FactorVae", "factor_vae"]


@dataclass(frozen=True)
class FactorVae:
    """The FactorVAE metric.

    Attributes:
        value: accuracy on test votes, from 0 to 1, higher is better.
        train_accuracy: on the training votes.
        active: which of A axes could vote, with shape (A,), bool.
        std: s with shape (A,), float64.
        votes: training votes by axis and factor with shape (A, K), int64.
        train_votes, test_votes, batch, threshold: how it was measured.
        variance_samples: how many samples s comes from.
    """

    value: float
    train_accuracy: float
    active: Tensor
    std: Tensor
    votes: Tensor
    train_votes: int
    test_votes: int
    batch: int
    threshold: float
    variance_samples: int


def factor_vae(
    table: FactorTable,
    *,
    generator: torch.Generator,
    train_votes: int = 10_000,
    test_votes: int = 5_000,
    batch: int = 64,
    variance_samples: int = 10_000,
    threshold: float = 0.05,
    scale: Tensor | None = None,
) -> FactorVae:
    """The FactorVAE metric of a table of codes on A axes.

    Arguments:
        batch: samples behind one vote, ≥ 2.
        threshold: least standard deviation of an active axis, ≥ 0, in units of `scale`; an axis that does not vary is never active.
        scale: standard deviations of the aggregate with shape (A,), for models with a free scale; None for 1, as in the protocol.

    Raises:
        DataError: no two samples share a value of a factor, or codes are not finite.
    """
    (observed,) = table.draw(variance_samples, generator=generator)
    factor = torch.randint(len(table.names), (train_votes + test_votes,), generator=generator)
    rows = table.draw_sharing(factor, batch, generator=generator)
    table.prepare(observed, rows)
    std = table.codes_of(observed).double().std(dim=0)
    active = (std > 0) & ((std if scale is None else std / scale) >= threshold)
    votes, train, test = torch.zeros(len(std), len(table.names), dtype=torch.int64), 0.0, 0.0
    if bool(active.any()):
        local = table.per_group(rows, lambda codes: codes[..., active].var(dim=1))
        axis = active.nonzero()[:, 0][(local / std[active].square()).argmin(dim=1)]
        votes = torch.bincount(axis[:train_votes] * votes.shape[1] + factor[:train_votes], minlength=votes.numel()).view_as(votes)
        right = votes.argmax(dim=1)[axis] == factor
        train, test = float(right[:train_votes].double().mean()), float(right[train_votes:].double().mean())
    return FactorVae(test, train, active, std, votes, train_votes, test_votes, batch, threshold, len(observed))
