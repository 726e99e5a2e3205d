"""From codes to scores: which estimator measures the decoder, on latent axes or on principal directions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from ..autoencoder import Autoencoder, Posterior
from ..errors import ConfigError
from ..latent.codes import LatentCodes
from ..latent.directions import score_directions
from ..latent.jacobian import Convention, JacobianNorms, column_norms
from ..latent.principal import principal_directions
from ..latent.relevance import RelevanceScores, score_axes
from ..latent.sketch import choose_estimator, sketched_norms
from ..latent.sobol import total_effects

__all__ = ["BASES", "ESTIMATORS", "Basis", "Estimation", "Estimator", "estimate"]

Estimator = Literal["auto", "exact", "sketch", "sobol"]
Basis = Literal["axes", "principal"]
ESTIMATORS, BASES = ("auto", "exact", "sketch", "sobol"), ("axes", "principal")
DEFAULT_SAMPLES = 100


@dataclass(frozen=True)
class Estimation:
    """Scores, how they were measured, and the codes they belong to (`variance_kind` depends on the estimator)."""

    scores: RelevanceScores
    record: dict[str, Any]
    codes: LatentCodes


def estimate(
    model: Autoencoder,
    codes: LatentCodes,
    *,
    samples: int | None,
    threshold: float,
    convention: Convention,
    estimator: Estimator,
    basis: Basis,
    seed: int,
    device: torch.device | str,
) -> Estimation:
    """Score all axes or directions.

    Arguments:
        samples: codes to measure at; None for 100, or what `auto` finds the error needs.
        estimator: `exact` derivatives; `sketch`, whose cost does not depend on L; `sobol`, without derivatives; `auto`, the cheaper of
            the first two by counted cost.
        basis: `axes`, or `principal`: the directions that the decoder reads, for models whose axes are rotated.

    Raises:
        ConfigError: more samples than codes, or a combination that is not defined.
    """
    rows = len(codes.reference)
    if samples is not None and samples > rows:
        source = "the model file holds" if codes.source == "model" else "there are"
        raise ConfigError(f"--samples is {samples}; {source} {rows} reference codes.", f"Use --samples {rows} or fewer.")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(rows, generator=generator)
    wanted = min(DEFAULT_SAMPLES, rows) if samples is None else samples
    if basis == "principal":
        return _principal(model, codes, codes.reference.rows(order[:wanted]), threshold, convention, estimator, generator, device, seed)
    record: dict[str, Any] = {"name": estimator, "samples": wanted, "seed": seed}
    probes = 1
    if estimator == "auto":
        choice = choose_estimator(codes.latent_dim, wanted, available=rows if samples is None else samples, convention=convention)
        wanted, probes = choice.samples, choice.probes
        record = {"name": choice.estimator, "samples": wanted, "seed": seed, "reason": choice.reason}
    reference = codes.reference.rows(order[:wanted])
    if record["name"] == "sketch":
        norms = sketched_norms(model, reference, generator=generator, probes=probes, convention=convention, device=device)
        record["probes"] = probes
    elif record["name"] == "sobol":
        codes, norms = _sobol(model, codes, reference, convention, generator, device)
        record["pairs"] = len(norms.contributions)
    else:
        norms = column_norms(model, reference, convention=convention, generator=generator, device=device)
    return Estimation(score_axes(codes, norms, threshold, generator), record, codes)


def _sobol(
    model: Autoencoder,
    codes: LatentCodes,
    reference: Posterior,
    convention: Convention,
    generator: torch.Generator,
    device: torch.device | str,
) -> tuple[LatentCodes, JacobianNorms]:
    """Total effects as weights: divided by the variance about the mean, which the score multiplies again."""
    if convention != "paper":
        raise ConfigError(f"--estimator sobol has no derivatives, so --convention {convention} is not defined for it.", "Use paper.")
    effects = total_effects(model, reference, generator=generator, device=device)
    centred = replace(codes, prior=None)
    variance = centred.axis_variance.clamp(min=torch.finfo(torch.float64).tiny)
    return centred, JacobianNorms(effects.contributions / variance, effects.outputs, "paper")


def _principal(
    model: Autoencoder,
    codes: LatentCodes,
    reference: Posterior,
    threshold: float,
    convention: Convention,
    estimator: Estimator,
    generator: torch.Generator,
    device: torch.device | str,
    seed: int,
) -> Estimation:
    if convention != "paper" or estimator not in ("auto", "exact"):
        raise ConfigError("--basis principal is defined for --convention paper and --estimator auto or exact.", "Leave those options out.")
    moments = codes.statistics
    about_zero = codes.prior is not None
    covariance = moments.covariance + (torch.outer(moments.mean, moments.mean) if about_zero else 0)
    found = principal_directions(model, reference, covariance, generator=generator, threshold=threshold, device=device)
    centre = torch.zeros_like(moments.mean) if about_zero else moments.mean
    scores = score_directions(found, codes, centre, threshold, generator)
    return Estimation(scores, {"name": found.route, "samples": len(reference), "seed": seed}, codes)
