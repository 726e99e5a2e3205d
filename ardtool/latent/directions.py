r"""Scores of principal directions, in the form of scores of axes.

    score of direction k:   λ_k,   its share λ_k / tr(Σ^½ E[JᵀJ] Σ^½)        (see `principal.py`)

Codes have unit variance along every direction, so the weight of direction k is λ_k too. The count is bootstrapped over samples and over Σ's
scale, with directions held fixed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .codes import LatentCodes
from .principal import PrincipalDirections
from .relevance import IGNORED_SCORE_SHARE, AxisRelevance, AxisState, RelevanceScores, count_interval

__all__ = ["score_directions"]


def score_directions(
    found: PrincipalDirections, codes: LatentCodes, centre: Tensor, threshold: float, generator: torch.Generator
) -> RelevanceScores:
    """The K leading directions as rows of a result; `axis` counts directions, `kl` is None (it belongs to axes).

    Arguments:
        found: directions and their eigenvalues.
        codes: the reference posteriors give `mean_variance`, the variance of posterior means along each direction.
        centre: with shape (L,), what the covariance was taken about.
        threshold: share of the trace that the active directions exceed, in (0, 1].
        generator: source of the bootstrap.
    """
    samples = len(found.contributions)
    active = found.count(threshold)
    share = found.eigenvalues / max(found.total, torch.finfo(torch.float64).tiny)
    cumulative = share.cumsum(dim=0)
    relative = found.contributions.std(dim=0) / samples**0.5 / found.eigenvalues
    stderr = found.eigenvalues * (relative.square() + 2 / codes.variance_count).sqrt()
    coordinates = (codes.reference.mean.double() - centre) @ found.readout.T
    mean_variance = coordinates.var(dim=0, correction=0)
    unit = torch.ones(found.spread.shape[1], dtype=torch.float64)
    interval = count_interval(found.spread, unit, codes.variance_count, threshold, generator)
    axes = tuple(
        AxisRelevance(
            axis=k,
            variance=1.0,
            weight=float(found.eigenvalues[k]),
            score=float(found.eigenvalues[k]),
            score_stderr=float(stderr[k]),
            explained=float(share[k]),
            cumulative=float(cumulative[k]),
            active=k < active,
            kl=None,
            mean_variance=float(mean_variance[k]),
            state=_state(k < active, float(share[k]), float(mean_variance[k])),
        )
        for k in range(len(found.eigenvalues))
    )
    return RelevanceScores(axes, active, interval, threshold)


def _state(active: bool, share: float, mean_variance: float) -> AxisState:
    if active:
        return "relevant"
    return "ignored" if share < IGNORED_SCORE_SHARE and mean_variance >= 0.01 else "weak"
