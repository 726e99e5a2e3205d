r"""Precision and recall of distributions (PRD): how much of the generated samples is right, and how much of the reference they reach.

Both sets of features are clustered together; p_c and q_c are the shares of the generated and of the reference samples in cluster c. Over
1,001 angles θ equally spaced in [1e-10, π/2 − 1e-10], with λ = tan θ,

    precision(λ) = Σ_c min(λ q_c, p_c),   recall(λ) = Σ_c min(q_c, p_c / λ) = precision(λ) / λ

in [0, 1]. This curve is averaged over 10 runs of the clustering, and two numbers are read from the average:

    F_β = max_λ (1 + β²) precision recall / (β² precision + recall + 1e-10)
    precision = F_{1/8},   recall = F_8        (β > 1 weights recall)

Higher is better; both are 1 for equal shares. They depend on the number of samples, which must be equal on both sides.

Clustering: scikit-learn's MiniBatchKMeans, 20 clusters, the best of 10 initialisations, on float32 copies.

Source: Sajjadi et al., "Assessing generative models via precision and recall", arXiv 1806.00035.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import stdev
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import DataError
from .features import check_pair

__all__ = ["DistributionScores", "PrecisionRecallCurve", "cluster_shares", "precision_recall", "precision_recall_curve"]

RUNS = 10
CLUSTERS = 20
ANGLES = 1001
EPSILON = 1e-10
BETA = 8.0


class PrecisionRecallCurve(NamedTuple):
    """Precision against recall over A angles, from the recall at any precision (θ ≈ 0) to the precision at any recall (θ ≈ π/2).

    Attributes:
        precision, recall: in [0, 1] with shape (A,), float64.
    """

    precision: Tensor
    recall: Tensor

    def best_f(self, beta: float) -> float:
        """max F_β over the curve, in [0, 1]; β > 1 weights recall, β < 1 precision."""
        p, r = self.precision, self.recall
        return float(((1 + beta**2) * p * r / (beta**2 * p + r + EPSILON)).max())


@dataclass(frozen=True)
class DistributionScores:
    """PRD in two numbers.

    Attributes:
        precision: F_{1/8} of the average curve, in [0, 1]; low where generated samples are unlike the reference.
        recall: F_8 of the average curve, in [0, 1]; low where parts of the reference are missing.
        precision_deviation, recall_deviation: standard deviation of the same over runs, divisor runs − 1: the clustering's part of the
            error, not that of the samples; NaN for a single run.
        curve: averaged over runs.
    """

    precision: float
    recall: float
    precision_deviation: float
    recall_deviation: float
    curve: PrecisionRecallCurve


def precision_recall(
    *, generated: Tensor, reference: Tensor, seed: int = 0, runs: int = RUNS, clusters: int = CLUSTERS
) -> DistributionScores:
    """PRD of generated against reference features, each with shape (N, D).

    Arguments:
        seed: run i of seed s clusters with seed s · runs + i, so that the default is 0…9.
        runs: clusterings to average over, ≥ 1.
        clusters: how many, ≤ 2 N.

    Raises:
        DataError: the counts differ, there are fewer samples than clusters, features are not finite, or differ in number.
    """
    check_pair(generated, reference)
    if len(generated) != len(reference):
        raise DataError(
            f"PRD compares equal numbers of samples, found {len(generated)} generated and {len(reference)} reference samples.",
            f"Take {min(len(generated), len(reference))} of each.",
        )
    if clusters > 2 * len(reference):
        raise DataError(f"{2 * len(reference)} samples cannot form {clusters} clusters.", "Give more samples.")
    curves = []
    for run in range(runs):
        of_generated, of_reference = cluster_shares(
            generated=generated, reference=reference, clusters=clusters, seed=(seed * runs + run) % 2**32
        )
        curves.append(precision_recall_curve(generated=of_generated, reference=of_reference))
    average = PrecisionRecallCurve(*(torch.stack(sides).mean(dim=0) for sides in zip(*curves, strict=True)))
    precision, recall = average.best_f(1 / BETA), average.best_f(BETA)
    return DistributionScores(precision, recall, _deviation(curves, 1 / BETA), _deviation(curves, BETA), average)


def _deviation(curves: list[PrecisionRecallCurve], beta: float) -> float:
    return stdev(curve.best_f(beta) for curve in curves) if len(curves) > 1 else math.nan


def cluster_shares(*, generated: Tensor, reference: Tensor, clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """Shares of the generated and of the reference samples in the clusters of both together, with shape (C,) each, float64."""
    from sklearn.cluster import MiniBatchKMeans

    together = torch.cat([generated.detach().float().cpu(), reference.detach().float().cpu()])
    kmeans = MiniBatchKMeans(clusters, n_init=10, random_state=seed)  # pyright: ignore[reportArgumentType] -- numbers too
    labels = torch.from_numpy(kmeans.fit(together.numpy()).labels_).long()
    counts = (torch.bincount(side, minlength=clusters).double() for side in (labels[: len(generated)], labels[len(generated) :]))
    of_generated, of_reference = (count / count.sum() for count in counts)
    return of_generated, of_reference


def precision_recall_curve(*, generated: Tensor, reference: Tensor, angles: int = ANGLES) -> PrecisionRecallCurve:
    """The curve of two histograms with shape (C,), each ≥ 0 with sum 1."""
    slopes = torch.linspace(EPSILON, math.pi / 2 - EPSILON, angles, dtype=torch.float64).tan()
    precision = torch.minimum(slopes[:, None] * reference.double(), generated.double()).sum(dim=1)
    return PrecisionRecallCurve(precision.clamp(0, 1), (precision / slopes).clamp(0, 1))
