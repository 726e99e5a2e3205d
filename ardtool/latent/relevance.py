r"""Relevance scores, the active set, and how sure both are.

    s_l = w_l · σ̂_l²                                                                              (Eq. 20)
    active = the smallest set of axes, taken by descending score, whose share of Σ s exceeds the threshold (strictly)

Uncertainty has two sources and both are counted. w is a mean over samples: they are resampled (bootstrap). σ̂² was estimated
from n codes: it is redrawn from its posterior, σ̂²* = b / g with g ~ Gamma(a, 1), a = n/2 (Eq. 8); of an axis of several elements the
mean variance is as sure as of more codes, see `LatentCodes.moments`. The interval of the count
holds 95 % of the redrawn counts. The standard error of a score adds both parts: s² ((se_w / w)² + 2/n).

Source: Saha, Joshi, Whitaker, arXiv 2501.10901, Eq. 18-20 and §3.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .axes import LatentAxes
from .codes import AxisMoments, LatentCodes
from .jacobian import JacobianNorms

__all__ = ["AxisRelevance", "AxisState", "RelevanceScores", "active_count", "axis_states", "count_interval", "score_axes"]

AxisState = Literal["relevant", "collapsed", "ignored", "weak"]
BOOTSTRAP_DRAWS = 2000
BOOTSTRAP_NUMBERS = 2**21  # draws × samples or axes held at a time
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
    """All axes by descending score, the number of active ones and its 95 % interval.

    `weight_error` is the largest relative standard error of the weight of an active axis: what more samples make smaller.
    """

    axes: tuple[AxisRelevance, ...]
    active: int
    active_interval: tuple[int, int]
    threshold: float
    weight_error: float = float("nan")

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


def score_axes(
    codes: LatentCodes, norms: JacobianNorms, threshold: float, generator: torch.Generator | None = None, axes: LatentAxes | None = None
) -> RelevanceScores:
    """Relevance of every axis.

    Arguments:
        codes: variances and reference posteriors of the model's codes.
        norms: column norms of the decoder's Jacobian at some of them: of all L elements, or of the A axes already.
        threshold: share of the total score that the active axes exceed, in (0, 1].
        generator: source of the bootstrap; a fixed seed where none is given.
        axes: what counts as an axis; None for every element.

    Returns:
        For each axis: `variance` σ̂², `weight` w, `score` their product, `score_stderr`, `explained` its share of the total and
        `cumulative` the running share, `kl` from the prior in nats, `mean_variance` the variance of posterior means, and `state`.
    """
    axes = axes or LatentAxes((codes.latent_dim,))
    moments = codes.moments(axes)
    contributions = _of_axes(norms.contributions, codes, axes, moments.variance)
    samples = len(contributions)
    weight = contributions.mean(dim=0)
    scores = weight * moments.variance
    error = contributions.std(dim=0) / samples**0.5 if samples > 1 else torch.full_like(weight, float("inf"))
    relative = (error / weight.clamp(min=torch.finfo(torch.float64).tiny)).square() + 2 / moments.variance_count
    stderr = scores * relative.sqrt()
    order = scores.argsort(descending=True, stable=True)
    count = int(active_count(scores, threshold))
    share = scores / scores.sum().clamp(min=torch.finfo(torch.float64).tiny)
    active = torch.zeros(len(scores), dtype=torch.bool)
    active[order[:count]] = True
    states = axis_states(moments, share, active)
    cumulative = share[order].cumsum(dim=0)
    rows = tuple(
        AxisRelevance(
            axis=index,
            variance=float(moments.variance[index]),
            weight=float(weight[index]),
            score=float(scores[index]),
            score_stderr=float(stderr[index]),
            explained=float(share[index]),
            cumulative=float(cumulative[rank]),
            active=bool(active[index]),
            kl=None if moments.kl is None else float(moments.kl[index]),
            mean_variance=float(moments.mean_variance[index]),
            state=states[index],
        )
        for rank, index in enumerate(order.tolist())
    )
    interval = count_interval(contributions, moments.variance, moments.variance_count, threshold, generator)
    weight_error = float((error / weight.clamp(min=torch.finfo(torch.float64).tiny))[order[:count]].max()) if count else 0.0
    return RelevanceScores(rows, count, interval, threshold, weight_error)


def _of_axes(contributions: Tensor, codes: LatentCodes, axes: LatentAxes, variance: Tensor) -> Tensor:
    """Contributions to the weights of axes with shape (N, A): Σ_e c_ie σ²_e / σ²_axis over the elements e of an axis."""
    if not axes.is_grouped or contributions.shape[1] == axes.count:
        return contributions
    scores = axes.sum(contributions * codes.axis_variance.double().cpu())
    return scores / variance.clamp(min=torch.finfo(torch.float64).tiny)


def axis_states(moments: AxisMoments, share: Tensor, active: Tensor) -> list[AxisState]:
    """What each axis does.

    `relevant`: in the active set. `collapsed`: the posterior equals the prior (KL < 0.01 nats an element and posterior means carry < 1 %
    of the aggregate variance; without a posterior variance: the axis does not vary). `ignored`: the encoder writes it, the decoder does
    not read it (share of the score < 1e-4). `weak`: anything else.
    """
    moving = moments.mean_variance / moments.total.clamp(min=1e-12)
    if moments.kl is None:
        collapsed = moments.total < 1e-8 * moments.total.max().clamp(min=1e-12)
    else:
        collapsed = (moments.kl / moments.size < COLLAPSED_KL) & (moving < COLLAPSED_MEAN_SHARE)
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
    contributions: Tensor, variance: Tensor, variance_count: Tensor | float, threshold: float, generator: torch.Generator | None
) -> tuple[int, int]:
    """2.5 % and 97.5 % quantiles of the count over resampled samples and redrawn variances.

    Arguments:
        contributions: of each sample to each weight with shape (N, L).
        variance: with shape (L,), as sure as of `variance_count` independent codes: one number, or one an axis.
        threshold: as for `active_count`.
        generator: source of the draws; a fixed seed where none is given.
    """
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    shape = (torch.as_tensor(variance_count, dtype=torch.float64).cpu() / 2).clamp(min=0.5)
    draws = min(BOOTSTRAP_DRAWS, max(1, BOOTSTRAP_NUMBERS // max(contributions.shape)))
    counts = [
        _redrawn_counts(contributions, variance, shape, threshold, min(draws, BOOTSTRAP_DRAWS - start), generator)
        for start in range(0, BOOTSTRAP_DRAWS, draws)
    ]
    low, high = torch.quantile(torch.cat(counts).double(), torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return int(low), int(-(-high // 1))


def _redrawn_counts(
    contributions: Tensor, variance: Tensor, shape: Tensor, threshold: float, draws: int, generator: torch.Generator
) -> Tensor:
    """Counts of active axes with shape (draws,), each from resampled rows and variances from their posterior Gamma(shape)."""
    n = len(contributions)
    rows = torch.multinomial(torch.ones(draws, n), n, replacement=True, generator=generator)
    multiplicity = torch.zeros(draws, n, dtype=torch.float64)
    multiplicity.scatter_add_(1, rows, torch.ones(draws, n, dtype=torch.float64))
    weights = (multiplicity @ contributions / n).clamp(min=0)
    numbers = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    gamma = torch.from_numpy(numbers.standard_gamma(shape.numpy(), size=(draws, len(variance))))
    return active_count(weights * variance * (shape / gamma), threshold)
