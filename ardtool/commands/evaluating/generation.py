"""Generated samples, reconstructions and other real samples beside the data, by their features: `fid`, `kid`, `prd`, `prdc`.

Names tell the features: `fid` and `kid` are by the published Inception network, `fd[…]` and `kd[…]` by any other; other names get the same
brackets. Every set has as many samples as its reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ...errors import DataError
from ...metrics.frechet import frechet
from ...metrics.kernel_distance import kernel_distance
from ...metrics.manifold import neighbour_metrics
from ...metrics.precision_recall import CLUSTERS, RUNS, precision_recall
from .feature_choice import metric_name
from .feature_sets import FeatureSet, feature_sets
from .subject import Subject
from .values import Measured, MetricValue

__all__ = ["fid", "kid", "prd", "prdc"]

SHARE = "0-1, higher is better"
LARGE_BIAS = 0.1  # of the distance


@dataclass(frozen=True)
class _Found:
    """One number of one set of samples."""

    name: str
    value: float
    stderr: float
    unit: str
    details: dict[str, Any] = field(default_factory=dict)
    convention: dict[str, Any] = field(default_factory=dict)
    note: str = ""


def fid(subject: Subject) -> Measured:
    """Fréchet distance of Gaussians fitted to features; biased upwards by an amount that is in the details."""

    def measure(each: FeatureSet) -> Iterable[_Found]:
        n = len(each.features)
        found = frechet(generated=each.features, reference=each.reference, generator=subject.generator(9))
        note = ""
        if not each.suffix and found.bias > LARGE_BIAS * abs(found.value):
            note = (
                f"With {n:,} samples about {found.bias:.3g} of the Fréchet distance is bias: compare it only with distances from as many "
                "samples, and measure more of them."
            )
        yield _Found("fid", found.value, found.stderr, "lower is better", {"bias": found.bias}, note=note)

    return _over_sets(subject, "fid", measure)


def kid(subject: Subject) -> Measured:
    """Kernel distance, unbiased: values from different numbers of samples can be compared."""

    def measure(each: FeatureSet) -> Iterable[_Found]:
        found = kernel_distance(generated=each.features, reference=each.reference, generator=subject.generator(10))
        convention = {"kernel": "(x·y / F + 1)³", "subsets": found.subsets, "subset_size": found.subset_size}
        yield _Found("kid", found.value, found.stderr, "lower is better", {"deviation_over_subsets": found.deviation}, convention)

    return _over_sets(subject, "kid", measure)


def prd(subject: Subject) -> Measured:
    """Precision and recall of distributions: F_1/8 weights precision, F_8 recall."""

    def measure(each: FeatureSet) -> Iterable[_Found]:
        subject.progress("precision and recall of distributions", 0, len(each.features))
        found = precision_recall(generated=each.features, reference=each.reference, seed=subject.request.seed)
        convention = {"clusters": CLUSTERS, "runs": RUNS}
        for name, weighting, value, deviation in (
            ("prd_precision", "F_1/8", found.precision, found.precision_deviation),
            ("prd_recall", "F_8", found.recall, found.recall_deviation),
        ):
            details = {"deviation_over_runs": deviation, "stderr_counts": "clusterings alone"}
            yield _Found(name, value, deviation / math.sqrt(RUNS), SHARE, details, convention | {"is": weighting})

    return _over_sets(subject, "prd", measure)


def prdc(subject: Subject) -> Measured:
    """Improved precision and recall (k = 3), density and coverage (k = 5)."""

    def measure(each: FeatureSet) -> Iterable[_Found]:
        subject.progress("nearest neighbours", 0, len(each.features))
        found = neighbour_metrics(generated=each.features, reference=each.reference)
        yield _Found("precision", found.precision, found.precision_stderr, SHARE, convention={"neighbours": 3})
        yield _Found("recall", found.recall, found.recall_stderr, SHARE, convention={"neighbours": 3})
        yield _Found("density", found.density, found.density_stderr, "1 where equal", convention={"neighbours": 5})
        expected = {"for_equal_distributions": found.expected_coverage}
        yield _Found("coverage", found.coverage, found.coverage_stderr, SHARE, expected, {"neighbours": 5})

    return _over_sets(subject, "prdc", measure)


def _over_sets(subject: Subject, family: str, measure: Callable[[FeatureSet], Iterable[_Found]]) -> Measured:
    features = subject.once("features", lambda: feature_sets(subject))
    values, notes = {}, []
    for each in features.sets:
        try:
            measured = list(measure(each))
        except DataError as error:
            if each.suffix != "_floor":
                raise
            notes.append(f"{family} has no floor: {error.message}")
            continue
        for found in measured:
            name = metric_name(found.name, features.source)
            plain, bracket, label = name.partition("[")
            provenance = features.source.provenance() | {"data": subject.unscaled.name} | each.provenance | found.convention
            values[f"{plain}{each.suffix}{bracket}{label}"] = MetricValue(
                found.value,
                found.stderr if math.isfinite(found.stderr) else math.nan,
                len(each.features),
                each.axes,
                found.unit,
                metric_name(family, features.source),
                provenance,
                found.details,
            )
            notes += [found.note] if found.note else []
    return Measured(values, notes=tuple(notes))
