"""Health of the latent space: which axes the encoder writes, whether they are independent, how far codes are from the prior, and of how
many dimensions data, posterior means, sampled codes and reconstructions are, beside the count of active axes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...data.factors import DrawnImages
from ...latent.local_rank import HALF, LARGEST
from ...latent.local_rank import local_rank as measure_local_rank
from ...latent.statistics import MOST_COVARIANCES, CodeStatistics
from ...metrics.intrinsic_dimension import calibration, over_subsets
from ...metrics.intrinsic_dimension import intrinsic_dimension as dimension_of
from ...metrics.latent_health import (
    active_units,
    aggregate_gap,
    code_correlations,
    kl_summary,
    pairwise_information,
    relative_unit_activity,
    unit_activity,
)
from ...metrics.latent_health import total_correlation as gaussian_total_correlation
from .likelihood import kl_from_prior
from .subject import Subject
from .values import Measured, MetricValue

__all__ = [
    "activity",
    "correlation",
    "correlation_problem",
    "dimension",
    "dimension_problem",
    "local_rank",
    "local_rank_problem",
    "prior_gap",
    "prior_problem",
]

SUBSETS = 5
FEWEST_PER_SUBSET = 30
MOST_CALIBRATED = 64
MOST_INFORMED = 64  # axes whose pairs are looked at
RANKED = 100


def activity(subject: Subject) -> Measured:
    """Active units, absolute and relative to an axis' variance, axes that the KL is spent on; and all of it axis by axis."""
    posterior, latent = subject.posterior, subject.model.latent_axes
    absolute = unit_activity(posterior.mean, latent)
    relative = relative_unit_activity(posterior.mean, posterior.log_variance, latent)
    n = len(posterior)
    counts = {
        "active_units": ("variance of posterior means > 0.01", active_units(absolute)),
        "active_units_relative": ("variance of posterior means > 0.01 of that of codes", active_units(relative)),
    }
    rows: list[dict[str, Any]] = [
        {"axis": axis, "activity": a, "relative_activity": r}
        for axis, (a, r) in enumerate(zip(absolute.tolist(), relative.tolist(), strict=True))
    ]
    if posterior.log_variance is not None and subject.codes is not None:
        kl = kl_summary(kl_from_prior(subject), latent)
        counts["axes_with_kl"] = ("KL from the prior > 0.01 nats", kl.used)
        for row, value, error in zip(rows, kl.per_axis.tolist(), kl.stderr.tolist(), strict=True):
            row |= {"kl": value, "kl_stderr": error}
    values = {
        name: MetricValue(count, math.nan, n, "all", "axes", "activity", {"counted": counted}) for name, (counted, count) in counts.items()
    }
    return Measured(values, {"axes": rows})


def correlation_problem(subject: Subject) -> str:
    """What codes lack to have correlations; "" where nothing."""
    if subject.network.latent_shape[0] > MOST_COVARIANCES:
        return f"codes of at most {MOST_COVARIANCES:,} elements"
    return "" if len(subject.index) > 1 else "more than one sample"


def correlation(subject: Subject) -> Measured:
    """Total correlation, correlations and mutual information of posterior means; lower is more independent."""
    values = {}
    for suffix, axes, elements in _element_sets(subject):
        means = subject.posterior.mean[:, elements]
        covariance = CodeStatistics.of(means).covariance if elements else torch.zeros(0, 0)
        pairs = code_correlations(covariance) if elements else None
        found: dict[str, tuple[float, str]] = {
            "total_correlation": (gaussian_total_correlation(covariance) if elements else 0.0, "nats, 0 if independent"),
            "correlation_mean": (pairs.mean if pairs else 0.0, "0-1, of pairs of axes"),
            "correlation_largest": (pairs.largest if pairs else 0.0, "0-1, of pairs of axes"),
        }
        if len(elements) <= MOST_INFORMED:
            found["mutual_information"] = (pairwise_information(means), "nats, of pairs of axes")
        how = {"representation": "posterior mean"}
        for name, (value, unit) in found.items():
            values[f"{name}{suffix}"] = MetricValue(value, math.nan, len(means), axes, unit, "correlation", how)
    return Measured(values)


def prior_problem(subject: Subject) -> str:
    """What a model lacks to be compared with its prior; "" where nothing."""
    has_prior = subject.codes is not None and (subject.codes.prior is not None or subject.model.metadata.get("sampler") == "prior")
    return correlation_problem(subject) or ("" if has_prior else "a prior")


def prior_gap(subject: Subject) -> Measured:
    """How far sampled codes of these data are from the prior, both taken for Gaussians; lower is closer."""
    codes = subject.codes
    assert codes is not None, "checked by `prior_problem`"
    z = subject.posterior.sample(subject.generator())
    prior = codes.prior.variance if codes.prior is not None else torch.ones(codes.latent_dim, dtype=torch.float64)
    values = {}
    for suffix, axes, elements in _element_sets(subject):
        if not elements:
            continue
        gap = aggregate_gap(CodeStatistics.of(z[:, elements]), prior[elements])
        details = {"total_correlation": gap.total_correlation, "per_latent": gap.kl / len(elements)}
        how = {"codes": "sampled", "distance": "of fitted Gaussians"}
        values[f"prior_kl{suffix}"] = MetricValue(gap.kl, math.nan, len(z), axes, "nats, 0 if equal", "prior_gap", how, details)
        values[f"prior_wasserstein{suffix}"] = MetricValue(
            gap.wasserstein, math.nan, len(z), axes, "prior std, 0 if equal", "prior_gap", how
        )
    return Measured(values)


def dimension_problem(subject: Subject) -> str:
    """What data lack to have an intrinsic dimension estimated; "" where nothing."""
    least = SUBSETS * FEWEST_PER_SUBSET
    return "" if len(subject.index) >= least else f"at least {least} samples"


def dimension(subject: Subject) -> Measured:
    """Intrinsic dimension by TwoNN and by MacKay and Ghahramani of data, posterior means and sampled codes.

    The error is that of five disjoint subsets; what the same estimator finds for a Gaussian cloud of as many points and the dimension found
    is in the details: that many dimensions look like this number.
    """
    posterior = subject.posterior
    clouds = {"data": subject.data.batch(subject.index).flatten(1), "means": posterior.mean}
    if posterior.log_variance is not None:
        clouds["codes"] = posterior.sample(subject.generator())
    values = {}
    for number, (cloud, points) in enumerate(clouds.items()):
        subject.progress(f"intrinsic dimension of {cloud}", number, len(clouds))
        for name, value in _dimensions(subject, points, "-" if cloud == "data" else "all").items():
            values[f"dimension_{cloud}{name}"] = value
    grid = isinstance(subject.data.values, DrawnImages) or subject.data.grid is not None
    lattice = "The data are a grid of factors, whose neighbours are equally far: their intrinsic dimension means little."
    return Measured(values, notes=(lattice,) if grid else ())


def local_rank_problem(subject: Subject) -> str:
    """What codes lack to have a local rank; "" where nothing."""
    elements, outputs = subject.network.latent_shape[0], math.prod(subject.data.shape)
    if elements > MOST_COVARIANCES:
        return f"codes of at most {MOST_COVARIANCES:,} elements"
    return "" if elements * outputs <= LARGEST else f"samples of at most {LARGEST // elements:,} numbers for codes of {elements:,}"


def local_rank(subject: Subject) -> Measured:
    """In how many directions a reconstruction can move: the median over 100 samples, whatever the axes are."""
    index = subject.index[:: max(1, len(subject.index) // RANKED)][:RANKED]
    subject.progress("local rank", 0, len(index))
    found = measure_local_rank(subject.network, subject.data.batch(index), device=subject.device)
    ranks = found.ranks.double()
    details = {"mean": float(ranks.mean()), "lowest": int(ranks.min()), "highest": int(ranks.max())}
    spectrum = {"singular_values": found.spectra.mean(dim=0).tolist()}
    how = {"counted": f"singular values of the reconstruction's Jacobian > {HALF}", "derivatives": found.mode}
    values = {
        "local_rank": (float(torch.quantile(ranks, 0.5)), "dimensions", details | spectrum),
        "local_rank_gap": (found.gap, "ratio, 1 if nothing tells it", {}),
    }
    return Measured(
        {name: MetricValue(value, math.nan, len(ranks), "-", unit, "local_rank", how, more) for name, (value, unit, more) in values.items()}
    )


def _dimensions(subject: Subject, points: Tensor, axes: str) -> dict[str, MetricValue]:
    """TwoNN (no suffix) and MacKay–Ghahramani at k = 20 (`_mg20`), with all other estimates as details of the first."""
    found = dimension_of(points)
    errors = over_subsets(points, lambda some: dimension_of(some).estimates, generator=subject.generator(7), subsets=SUBSETS)
    truth = min(max(1, round(_finite(found.estimates["twonn_mle"]))), MOST_CALIBRATED)
    known = calibration(truth, found.count, generator=subject.generator(8), law="gaussian").estimates
    values = {}
    for suffix, name in (("", "twonn_mle"), ("_mg20", "mackay_ghahramani_20")):
        details = {"duplicates": found.duplicates, f"estimate_for_{truth}_dimensions": known[name]}
        if not suffix:
            details |= {
                other: estimate for other, estimate in found.estimates.items() if other not in ("twonn_mle", "mackay_ghahramani_20")
            }
        values[suffix] = MetricValue(
            found.estimates[name], errors[name][1], found.count, axes, "dimensions", "dimension", {"estimator": name}, details
        )
    return values


def _finite(value: float) -> float:
    return value if math.isfinite(value) else MOST_CALIBRATED


def _element_sets(subject: Subject) -> list[tuple[str, str, list[int]]]:
    """(suffix, axes, elements of the code): all, and those of the active axes where they are known."""
    sets = [("", "all", list(range(subject.network.latent_shape[0])))]
    if subject.active is not None:
        sets.append(("_active", "active", subject.model.latent_axes.elements_of(subject.active)))
    return sets
