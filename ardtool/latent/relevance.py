r"""Relevance scores, the active set, and how sure both are.

    s_l = w_l · σ̂_l²                                                                              (Eq. 20)
    active = the smallest set of axes, taken by descending score, whose share of Σ s exceeds the threshold (strictly)

Uncertainty has two sources and both are counted. w is a mean over samples: they are resampled (bootstrap). σ̂² was estimated
from n codes: it is redrawn from its posterior, σ̂²* = b / g with g ~ Gamma(a, 1), a = n/2 (Eq. 8). The interval of the count
holds 95 % of the redrawn counts. The standard error of a score adds both parts: s² ((se_w / w)² + 2/n).

Source: Saha, Joshi, Whitaker, arXiv 2501.10901, Eq. 18-20 and §3.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .codes import LatentCodes
from .jacobian import JacobianNorms

__all__ = ["AxisRelevance", "AxisState", "RelevanceScores", "active_count", "axis_states", "count_interval", "score_axes"]

AxisState = Literal["relevant", "collapsed", "ignored", "weak"]
BOOTSTRAP_DRAWS = 2000
COLLAPSED_KL = 0.01
COLLAPSED_MEAN_SHARE = 0.01
IGNORED_SCORE_SHARE = 1e-4


@dataclass(frozen=True)
class AxisRelevance:
    """One latent axis; see `score_axes` for the meaning of the fields."""

    axis: int
    variance: float
    weight: float
    score: float
    score_stderr: float
    explained: float
    cumulative: float
    active: bool
    kl: float | None
    mean_variance: float
    state: AxisState


@dataclass(frozen=True)
class RelevanceScores:
    """All axes by descending score, the number of active ones and its 95 % interval."""

    axes: tuple[AxisRelevance, ...]
    active: int
    active_interval: tuple[int, int]
    threshold: float

    @property
    def active_axes(self) -> list[int]:
        """Indices of the active axes, most relevant first."""
        return [axis.axis for axis in self.axes if axis.active]

    @property
    def order(self) -> list[int]:
        """Indices of all axes, most relevant first."""
        return [axis.axis for axis in self.axes]


def active_count(scores: Tensor, threshold: float) -> Tensor:
    """Size of the smallest set of axes whose share of the total exceeds the threshold, by descending score.

    A threshold of 1 keeps every axis with a positive score. Where no axis has a positive score the count is 0.

    Arguments:
        scores: non-negative with shape (..., L).
        threshold: in (0, 1].
    """
    ordered = scores.double().sort(dim=-1, descending=True).values
    total = ordered.sum(dim=-1, keepdim=True)
    positive = (ordered > 0).sum(dim=-1)
    reached = (ordered.cumsum(dim=-1) <= threshold * total).sum(dim=-1) + 1
    return torch.minimum(positive, positive if threshold >= 1 else reached)


def score_axes(codes: LatentCodes, norms: JacobianNorms, threshold: float, generator: torch.Generator | None = None) -> RelevanceScores:
    """Relevance of every axis.

    Arguments:
        codes: variances and reference posteriors of the model's codes.
        norms: column norms of the decoder's Jacobian at some of them.
        threshold: share of the total score that the active axes exceed, in (0, 1].
        generator: source of the bootstrap; a fixed seed where none is given.

    Returns:
        For each axis: `variance` σ̂², `weight` w, `score` their product, `score_stderr`, `explained` its share of the total and
        `cumulative` the running share, `kl` from the prior in nats, `mean_variance` the variance of posterior means, and `state`.
    """
    variance = codes.axis_variance.double().cpu()
    weight = norms.weight
    scores = weight * variance
    relative = (norms.stderr / weight.clamp(min=torch.finfo(torch.float64).tiny)).square() + 2 / codes.variance_count
    stderr = scores * relative.sqrt()
    order = scores.argsort(descending=True, stable=True)
    count = int(active_count(scores, threshold))
    share = scores / scores.sum().clamp(min=torch.finfo(torch.float64).tiny)
    active = torch.zeros(len(scores), dtype=torch.bool)
    active[order[:count]] = True
    states = axis_states(codes, share, active)
    kl = codes.kl_per_axis()
    mean_variance = codes.reference.mean.double().var(dim=0, correction=0)
    cumulative = share[order].cumsum(dim=0)
    axes = tuple(
        AxisRelevance(
            axis=index,
            variance=float(variance[index]),
            weight=float(weight[index]),
            score=float(scores[index]),
            score_stderr=float(stderr[index]),
            explained=float(share[index]),
            cumulative=float(cumulative[rank]),
            active=bool(active[index]),
            kl=None if kl is None else float(kl[index]),
            mean_variance=float(mean_variance[index]),
            state=states[index],
        )
        for rank, index in enumerate(order.tolist())
    )
    return RelevanceScores(
        axes, count, count_interval(norms.contributions, variance, codes.variance_count, threshold, generator), threshold
    )


def axis_states(codes: LatentCodes, share: Tensor, active: Tensor) -> list[AxisState]:
    """What each axis does.

    `relevant`: in the active set. `collapsed`: the posterior equals the prior (KL < 0.01 nats and posterior means carry < 1 % of
    the aggregate variance; without a posterior variance: the axis does not vary). `ignored`: the encoder writes it, the decoder does
    not read it (share of the score < 1e-4). `weak`: anything else.
    """
    total = codes.statistics.variance.double()
    mean_variance = codes.reference.mean.double().var(dim=0, correction=0)
    moving = mean_variance / total.clamp(min=1e-12)
    kl = codes.kl_per_axis()
    if kl is None:
        collapsed = total < 1e-8 * total.max().clamp(min=1e-12)
    else:
        collapsed = (kl < COLLAPSED_KL) & (moving < COLLAPSED_MEAN_SHARE)
    ignored = (moving >= COLLAPSED_MEAN_SHARE) & (share < IGNORED_SCORE_SHARE)
    states: list[AxisState] = []
    for index in range(len(share)):
        if active[index]:
            states.append("relevant")
        elif collapsed[index]:
            states.append("collapsed")
        else:
            states.append("ignored" if ignored[index] else "weak")
    return states


def count_interval(
    contributions: Tensor, variance: Tensor, variance_count: float, threshold: float, generator: torch.Generator | None
) -> tuple[int, int]:
    """2.5 % and 97.5 % quantiles of the count over resampled samples and redrawn variances.

    Arguments:
        contributions: of each sample to each weight with shape (N, L).
        variance: with shape (L,), estimated from `variance_count` codes.
        threshold: as for `active_count`.
        generator: source of the draws; a fixed seed where none is given.
    """
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    n = len(contributions)
    counts = torch.multinomial(torch.ones(BOOTSTRAP_DRAWS, n), n, replacement=True, generator=generator)
    multiplicity = torch.zeros(BOOTSTRAP_DRAWS, n, dtype=torch.float64)
    multiplicity.scatter_add_(1, counts, torch.ones(BOOTSTRAP_DRAWS, n, dtype=torch.float64))
    weights = (multiplicity @ contributions / n).clamp(min=0)
    shape = max(variance_count / 2, 0.5)
    numbers = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    gamma = torch.from_numpy(numbers.standard_gamma(shape, size=(BOOTSTRAP_DRAWS, len(variance))))
    redrawn = active_count(weights * variance * (shape / gamma), threshold).double()
    low, high = torch.quantile(redrawn, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return int(low), int(-(-high // 1))
