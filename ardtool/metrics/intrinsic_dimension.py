r"""Intrinsic dimension of a cloud of points, from the distances T_1 ≤ T_2 ≤ … of each of N points to its nearest neighbours.

    TwoNN            μ = T_2 / T_1 has P(μ ≤ m) = 1 − m^{−d} where the density is constant out to T_2
      fit            slope through the origin of −log(1 − i/N) on log μ_(i), over the smallest 90 % of the sorted μ
      mle            d = (N − 1) / Σ log μ                                                  unbiased
    Levina–Bickel    m_k(x) = (k − 1) / Σ_{j<k} log (T_k / T_j),   d = mean_x m_k        too large by (k − 1) / (k − 2)
    MacKay–Ghahramani                                              d = 1 / mean_x (1 / m_k)       the maximum of the pooled likelihood

Exact duplicates are removed first: they have T_1 = 0. All estimates are free of scale and rotation. Above about 8 dimensions all are too
small, the more so the fewer points and the larger k: balls out to T_k reach the border of the cloud. `calibration` shows by how much.
Grids of factors, as in dSprites, are no clouds: neighbours are equally far, and estimates mean little.

What it is for: the dimension of data, of posterior means and of sampled codes beside the number of active axes. A passive axis, which the
encoder leaves at the prior, adds a dimension of noise to sampled codes and none to their means, so a gap between the two tells that there
are such axes.

Sources: Facco, d'Errico, Rodriguez, Laio, Scientific Reports 7:12140, 2017; Levina, Bickel, NIPS 2004; MacKay, Ghahramani, "Comments on
'Maximum likelihood estimation of intrinsic dimension'", 2005; the gap: Bonheme, Grzes, "FONDUE", arXiv 2209.12806.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import ConfigError, DataError
from ..latent.chunks import MEMORY_BUDGET
from .neighbours import distinct, nearest_distances
from .reconstruction import mean_and_stderr

__all__ = [
    "NEIGHBOURS",
    "IntrinsicDimension",
    "calibration",
    "intrinsic_dimension",
    "levina_bickel",
    "mackay_ghahramani",
    "over_subsets",
    "two_nn_fit",
    "two_nn_mle",
]

NEIGHBOURS = (5, 10, 20)
KEPT_SHARE = 0.9
FEWEST_NEIGHBOURS = 3  # with fewer the mean of m_k is infinite


@dataclass(frozen=True)
class IntrinsicDimension:
    """Estimates of one cloud.

    Attributes:
        estimates: by name: `twonn_fit`, `twonn_mle`, and for every k `levina_bickel_k` and `mackay_ghahramani_k`; infinite where
            neighbours are equally far.
        count: how many distinct points they are made from.
        duplicates: how many points equal an earlier one.
    """

    estimates: dict[str, float]
    count: int
    duplicates: int


def intrinsic_dimension(points: Tensor, *, neighbours: Sequence[int] = NEIGHBOURS, memory: int = MEMORY_BUDGET) -> IntrinsicDimension:
    """All estimates from one search of neighbours.

    Arguments:
        points: with shape (N, ...), images and codes are flattened; on a device that has float64.
        neighbours: the k of Levina–Bickel and MacKay–Ghahramani, each at least 3.
        memory: bytes that the search may take beside the points.

    Raises:
        ConfigError: some k is less than 3.
        DataError: there are not more than k distinct points, or some are not finite.
    """
    if any(k < FEWEST_NEIGHBOURS for k in neighbours):
        raise ConfigError(
            f"Dimensions from {min(neighbours)} neighbours are not defined; expected at least {FEWEST_NEIGHBOURS}.", "Use 10."
        )
    found = distinct(points.flatten(1).to(torch.promote_types(points.dtype, torch.float32)))
    distances = nearest_distances(found, max((2, *neighbours)), memory=memory)
    estimates = {"twonn_fit": two_nn_fit(distances), "twonn_mle": two_nn_mle(distances)}
    for k in neighbours:
        estimates |= {f"levina_bickel_{k}": levina_bickel(distances, k), f"mackay_ghahramani_{k}": mackay_ghahramani(distances, k)}
    return IntrinsicDimension(estimates, len(found), len(points) - len(found))


def two_nn_fit(distances: Tensor) -> float:
    """TwoNN by the fit to the smallest 90 % of the ratios.

    Arguments:
        distances: to the nearest neighbours with shape (N, ≥ 2), ascending, > 0.
    """
    logs = _log_ratios(distances).sort().values
    kept = int(KEPT_SHARE * len(logs))
    below = torch.arange(1, kept + 1, dtype=logs.dtype, device=logs.device) / len(logs)
    return _ratio(-(logs[:kept] * torch.log1p(-below)).sum(), logs[:kept].square().sum())


def two_nn_mle(distances: Tensor) -> float:
    """TwoNN by maximum likelihood without its bias; the argument is that of `two_nn_fit`. Its standard error is at least d / √N."""
    return _ratio(torch.tensor(len(distances) - 1.0), _log_ratios(distances).sum())


def levina_bickel(distances: Tensor, k: int) -> float:
    """The mean over points of m_k.

    Arguments:
        distances: to the nearest neighbours with shape (N, ≥ k), ascending, > 0.
        k: at least 3.
    """
    return float(((k - 1) / _log_sums(distances, k)).mean())


def mackay_ghahramani(distances: Tensor, k: int) -> float:
    """The inverse of the mean over points of 1 / m_k; the arguments are those of `levina_bickel`."""
    return _ratio(torch.tensor(k - 1.0), _log_sums(distances, k).mean())


def _log_ratios(distances: Tensor) -> Tensor:
    """log μ with shape (N,)."""
    return (distances[:, 1] / distances[:, 0]).log()


def _log_sums(distances: Tensor, k: int) -> Tensor:
    """Σ_{j<k} log (T_k / T_j) with shape (N,)."""
    return (distances[:, k - 1, None] / distances[:, : k - 1]).log().sum(dim=1)


def _ratio(above: Tensor, below: Tensor) -> float:
    return float(above) / float(below) if below > 0 else math.inf


def over_subsets(
    points: Tensor, estimator: Callable[[Tensor], Mapping[str, float]], *, generator: torch.Generator, subsets: int = 5
) -> dict[str, tuple[float, float]]:
    """Mean and standard error of estimates over disjoint random subsets of ⌊N / subsets⌋ points.

    The subsets are independent, so the standard error is std / √subsets; it is about that of one estimate from all points, while the mean
    has the bias of the smaller subsets: compare it with a `calibration` of their size.

    Arguments:
        points: with shape (N, ...).
        estimator: estimates by name of some of the points: `lambda some: intrinsic_dimension(some).estimates`.
        generator: source of the subsets.
        subsets: at least 2.

    Raises:
        ConfigError: for fewer than two subsets.
        DataError: there are fewer points than subsets.
    """
    if subsets < 2:
        raise ConfigError(f"A standard error needs at least 2 subsets, not {subsets}.", "Use 5.")
    size = len(points) // subsets
    if size == 0:
        raise DataError(f"{len(points)} points cannot be split into {subsets} subsets.", "Give more samples.")
    order = torch.randperm(len(points), generator=generator, device=generator.device).to(points.device)
    found = [estimator(points[part]) for part in order[: size * subsets].split(size)]
    return {name: mean_and_stderr(torch.tensor([estimates[name] for estimates in found], dtype=torch.float64)) for name in found[0]}


def calibration(
    dimension: int,
    count: int,
    *,
    generator: torch.Generator,
    law: Literal["cube", "gaussian"] = "cube",
    neighbours: Sequence[int] = NEIGHBOURS,
    memory: int = MEMORY_BUDGET,
) -> IntrinsicDimension:
    """What the estimates are for points of a known dimension: of the unit cube, or of N(0, I).

    Distances do not change where the cube is embedded isometrically, so this is the row to set beside an estimate from data.

    Arguments:
        dimension: the truth, ≥ 1.
        count: N, as many as the estimate from data was made from.
        generator: source of the points.
    """
    draw = torch.rand if law == "cube" else torch.randn
    points = draw((count, dimension), generator=generator, device=generator.device, dtype=torch.float64)
    return intrinsic_dimension(points, neighbours=neighbours, memory=memory)
