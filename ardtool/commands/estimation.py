"""From codes to scores: which estimator measures the decoder, on latent axes or on principal directions, and at how many codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from typing import Any, Literal

import torch
from torch import Tensor

from ..autoencoder import Autoencoder, Posterior
from ..errors import ConfigError
from ..latent.axes import LatentAxes
from ..latent.chunks import MEMORY_BUDGET, decode_footprint
from ..latent.codes import LatentCodes
from ..latent.derivatives import NotDifferentiable
from ..latent.directions import score_directions
from ..latent.jacobian import Convention, JacobianNorms, column_norms, inference_mode
from ..latent.principal import PrincipalDirections, principal_directions
from ..latent.relevance import RelevanceScores, score_axes
from ..latent.sketch import TOLERANCE, VARIATION, EstimatorChoice, choose_estimator, sketched_norms
from ..latent.sobol import total_effects
from ..training.processes import Processes

__all__ = ["BASES", "ESTIMATORS", "Basis", "Estimation", "Estimator", "Request", "estimate", "principal_basis"]

Estimator = Literal["auto", "exact", "sketch", "sobol"]
Basis = Literal["axes", "principal"]
ESTIMATORS, BASES = ("auto", "exact", "sketch", "sobol"), ("axes", "principal")
DEFAULT_SAMPLES, FIRST_SAMPLES = 100, 32
MOST_DIRECTION_SAMPLES = 1000


@dataclass(frozen=True)
class Request:
    """What is to be measured, and how.

    Attributes:
        samples: codes to measure at; None for 100, or for what a tolerance or `auto` needs.
        tolerance: relative standard error of an active axis' weight at which no more codes are drawn; None for no such rule.
        threshold: share of the total score that the active axes exceed, in (0, 1].
        convention: `paper` or `authors-code`.
        estimator: `exact` derivatives; `sketch`, whose cost does not depend on L; `sobol`, without derivatives; `auto`, the cheaper of
            the first two by counted cost.
        basis: `axes`, or `principal`: the directions that the decoder reads, for models whose axes are rotated.
        seed: chooses the codes, the projections and the bootstrap.
        device: where the decoder runs.
        memory: bytes that the intermediate values of one step may take, about.
        processes: those that measure together; `exact` (by the paper's convention) and `sketch` are shared between them.
    """

    samples: int | None = None
    tolerance: float | None = None
    threshold: float = 0.99
    convention: Convention = "paper"
    estimator: Estimator = "auto"
    basis: Basis = "axes"
    seed: int = 0
    device: torch.device | str = "cpu"
    memory: int = MEMORY_BUDGET
    processes: Processes = field(default_factory=Processes)


@dataclass(frozen=True)
class Estimation:
    """Scores, how they were measured, and the codes they belong to (`variance_kind` depends on the estimator)."""

    scores: RelevanceScores
    record: dict[str, Any]
    codes: LatentCodes
    warnings: list[str] = field(default_factory=list)


def estimate(model: Autoencoder, codes: LatentCodes, axes: LatentAxes, request: Request) -> Estimation:
    """Score all axes or directions.

    Raises:
        ConfigError: more samples than codes, or a combination that is not defined.
    """
    rows = len(codes.reference)
    if request.samples is not None and request.samples > rows:
        source = "the model file holds" if codes.source == "model" else "there are"
        more = f"Use --samples {rows} or fewer" + (", or give more codes with --data." if codes.source == "model" else ".")
        raise ConfigError(f"--samples is {request.samples}; {source} {rows} reference codes.", more)
    generator = torch.Generator().manual_seed(request.seed)
    order = torch.randperm(rows, generator=generator)
    if request.basis == "principal":
        return _principal(model, codes, order, request, generator)
    measured = _automatic if request.estimator == "auto" else _measured
    found = measured(model, codes, axes, order, request, generator)
    if request.tolerance is None or found.record["relative_error"] <= request.tolerance:
        return found
    missed = (
        f"The standard error is {100 * found.record['relative_error']:.3g} % with all {found.record['samples']:,} codes there are, above "
        f"the tolerance of {100 * request.tolerance:.3g} %; give more codes with --data."
    )
    return replace(found, warnings=[*found.warnings, missed])


def _automatic(
    model: Autoencoder, codes: LatentCodes, axes: LatentAxes, order: Tensor, request: Request, generator: torch.Generator
) -> Estimation:
    """The cheaper of exact and sketch; Sobol where the sketch was chosen and torch cannot differentiate the decoder."""
    choice = _choice(model, codes, axes, len(order), request)
    chosen = replace(request, estimator=choice.estimator)
    if request.tolerance is None:
        chosen = replace(chosen, samples=choice.samples)
        if choice.estimator == "sketch" and request.samples is None:  # often fewer codes than planned for suffice
            chosen = replace(chosen, tolerance=max(TOLERANCE, VARIATION / min(DEFAULT_SAMPLES, len(order)) ** 0.5))
    try:
        found = _measured(model, codes, axes, order, chosen, generator, choice.probes)
    except NotDifferentiable as error:
        if choice.estimator != "sketch" or request.convention != "paper":
            raise
        reason = f"sobol: {error.message}"
        found = _measured(model, codes, axes, order, replace(request, estimator="sobol"), generator)
        return replace(found, record=found.record | {"reason": reason})
    return replace(found, record=found.record | {"reason": choice.reason})


def _choice(model: Autoencoder, codes: LatentCodes, axes: LatentAxes, rows: int, request: Request) -> EstimatorChoice:
    one = codes.reference.rows(slice(0, 1))
    context = None if one.context is None else one.context.to(request.device)
    with inference_mode(model):
        outputs = decode_footprint(model, one.mean.to(request.device), context)[1]
    planned = DEFAULT_SAMPLES if request.tolerance is None else ceil((VARIATION / request.tolerance) ** 2)
    return choose_estimator(
        codes.latent_dim,
        min(planned, rows) if request.samples is None else request.samples,
        outputs=outputs,
        available=rows if request.samples is None else request.samples,
        elements=axes.size,
        convention=request.convention,
        **({} if request.tolerance is None else {"tolerance": request.tolerance}),
    )


def _measured(
    model: Autoencoder,
    codes: LatentCodes,
    axes: LatentAxes,
    order: Tensor,
    request: Request,
    generator: torch.Generator,
    probes: int = 1,
) -> Estimation:
    """One estimator at as many codes as were asked for, or until the tolerance is met."""
    measure = _estimator(model, codes, axes, request, probes)
    if request.estimator == "sobol":
        codes = replace(codes, centred=True)
    most = request.samples or (len(order) if request.tolerance is not None else min(DEFAULT_SAMPLES, len(order)))
    norms, scores, drawn = None, None, 0
    for size in _block_sizes(most, None if request.tolerance is None else FIRST_SAMPLES):
        part = codes.reference.rows(order[drawn : drawn + size] if request.convention == "paper" else order[: drawn + size])
        found = measure(part, generator)
        norms = found if norms is None or request.convention != "paper" else norms.joined(found)
        drawn += size
        scores = score_axes(codes, norms, request.threshold, generator, axes)
        if request.tolerance is not None and scores.weight_error <= request.tolerance:
            break
    assert norms is not None and scores is not None, "there is at least one block"
    record: dict[str, Any] = {"name": request.estimator, "samples": drawn, "seed": request.seed}
    if request.estimator == "sketch":
        record["probes"] = probes
    elif request.estimator == "sobol":
        record["pairs"] = len(norms.contributions)
    else:
        record["derivatives"] = norms.mode
    if request.tolerance is not None:
        record |= {"tolerance": request.tolerance, "relative_error": scores.weight_error}
    warnings = []
    if request.estimator == "exact" and norms.mode == "central differences":
        warnings.append("Torch cannot differentiate this decoder: derivatives are central differences, good to about 0.1 %.")
    return Estimation(scores, record, codes, warnings)


def _estimator(
    model: Autoencoder, codes: LatentCodes, axes: LatentAxes, request: Request, probes: int
) -> Callable[[Posterior, torch.Generator], JacobianNorms]:
    """What measures the decoder at some codes."""
    device, memory, convention = request.device, request.memory, request.convention
    if request.estimator == "sketch":
        sketch = partial(sketched_norms, model, probes=probes, convention=convention, device=device, memory=memory)
        return lambda codes, generator: _in_parts(
            request.processes, codes, lambda part, among: sketch(part, generator=generator, among=among)
        )
    if request.estimator == "exact":
        exact = partial(column_norms, model, convention=convention, device=device, memory=memory)
        if convention != "paper":  # no mean over samples
            return lambda codes, generator: exact(codes, generator=generator)
        return lambda codes, generator: _in_parts(request.processes, codes, lambda part, among: exact(part, generator=generator))
    if convention != "paper":
        raise ConfigError(f"--estimator sobol has no derivatives, so --convention {convention} is not defined for it.", "Use paper.")
    variance = axes.mean(replace(codes, centred=True).axis_variance.double()).clamp(min=torch.finfo(torch.float64).tiny)

    def effects(part: Posterior, generator: torch.Generator) -> JacobianNorms:
        """Total effects as weights: divided by the variance about the mean, which the score multiplies again."""
        groups = axes.groups() if axes.is_grouped else None
        found = total_effects(model, part, generator=generator, groups=groups, device=device, memory=memory)
        return JacobianNorms(found.contributions / variance, found.outputs, "paper")

    return effects


def _in_parts(processes: Processes, codes: Posterior, measure: Callable[[Posterior, tuple[int, int]], JacobianNorms]) -> JacobianNorms:
    """Norms at all codes, of which each process measures a part that it is given with how many codes are before and behind it."""
    shard = processes.shard(len(codes))
    among = (shard.rows.start, len(codes) - shard.rows.stop)
    parts = processes.everywhere(lambda: measure(codes.rows(shard.rows), among))
    return parts[0] if shard.is_whole else parts[0].joined(*parts[1:])


def _block_sizes(most: int, first: int | None) -> Iterator[int]:
    """All at once, or so many that the number drawn doubles each time."""
    drawn = 0
    while drawn < most:
        size = most if first is None else min(max(first, drawn), most - drawn)
        if most - drawn - size < 2:  # one code has no pair and no spread
            size = most - drawn
        yield size
        drawn += size


def principal_basis(
    model: Autoencoder, codes: LatentCodes, request: Request, generator: torch.Generator, order: Tensor
) -> tuple[PrincipalDirections, Tensor]:
    """Principal directions and the centre (L,) that codes are measured from: zero for ARD models, else the mean."""
    moments = codes.statistics
    reference = codes.reference.rows(order[: request.samples or min(DEFAULT_SAMPLES, len(order))])
    options = {"generator": generator, "threshold": request.threshold, "device": request.device, "memory": request.memory}
    about_zero = codes.prior is not None
    if moments.is_diagonal:
        sampled = codes.reference.rows(order[:MOST_DIRECTION_SAMPLES]).sample(generator).double()
        centre = torch.zeros_like(moments.mean) if about_zero else moments.mean
        deviations = sampled if about_zero else sampled - sampled.mean(dim=0)
        return principal_directions(model, reference, deviations=deviations, **options), centre
    covariance = moments.covariance + (torch.outer(moments.mean, moments.mean) if about_zero else 0)
    centre = torch.zeros_like(moments.mean) if about_zero else moments.mean
    return principal_directions(model, reference, covariance, **options), centre


def _principal(model: Autoencoder, codes: LatentCodes, order: Tensor, request: Request, generator: torch.Generator) -> Estimation:
    if request.convention != "paper" or request.estimator not in ("auto", "exact") or request.tolerance is not None:
        raise ConfigError(
            "--basis principal is defined for --convention paper and --estimator auto or exact, without --tolerance.",
            "Leave those options out.",
        )
    found, centre = principal_basis(model, codes, request, generator, order)
    scores = score_directions(found, codes, centre, request.threshold, generator)
    return Estimation(scores, {"name": found.route, "samples": len(found.contributions), "seed": request.seed}, codes)
