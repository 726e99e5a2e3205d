"""All metrics by name: what each measures and which function does. A new metric is a function in one of the families, and a line here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ...errors import ConfigError, DataError
from . import disentanglement, generation, latent, likelihood, reconstruction
from .known_factors import factor_problem
from .subject import Request, Subject
from .values import Measured

__all__ = ["METRICS", "Metric", "check_has_effect", "chosen_metrics", "measured"]


def _nothing(subject: Subject) -> str:
    return ""


@dataclass(frozen=True)
class Metric:
    """A line of the table.

    Attributes:
        group: the family it belongs to; naming a group names all of its metrics that the model and the data have.
        summary: what it measures, in half a line.
        measure: does so.
        lacking: what a model or its data lack for it, the end of a sentence; "" where nothing.
        usual: measured when no metric is named.
    """

    group: str
    summary: str
    measure: Callable[[Subject], Measured]
    lacking: Callable[[Subject], str] = _nothing
    usual: bool = False


RECONSTRUCTION, LIKELIHOOD, GENERATION, DISENTANGLEMENT, LATENT = (
    "reconstruction",
    "likelihood",
    "generation",
    "disentanglement",
    "latent",
)
METRICS: dict[str, Metric] = {
    "mse": Metric(RECONSTRUCTION, "mean squared error per output", reconstruction.mse, usual=True),
    "psnr": Metric(RECONSTRUCTION, "peak signal-to-noise ratio of images", reconstruction.psnr, reconstruction.image_problem),
    "ssim": Metric(RECONSTRUCTION, "structural similarity of images", reconstruction.ssim, reconstruction.similarity_problem),
    "curve": Metric(RECONSTRUCTION, "error over the number of axes kept", reconstruction.mse_curve, reconstruction.ranking_problem),
    "elbo": Metric(LIKELIHOOD, "evidence lower bound and its terms", likelihood.elbo, likelihood.likelihood_problem, usual=True),
    "iwae": Metric(
        LIKELIHOOD, "importance-weighted bound, bits per dimension of 8-bit images", likelihood.iwae, likelihood.likelihood_problem
    ),
    "fid": Metric(GENERATION, "Fréchet distance of features", generation.fid),
    "kid": Metric(GENERATION, "kernel distance of features", generation.kid),
    "prd": Metric(GENERATION, "precision and recall of distributions (Sajjadi)", generation.prd),
    "prdc": Metric(GENERATION, "improved precision and recall, density and coverage", generation.prdc),
    "factor-vae": Metric(DISENTANGLEMENT, "FactorVAE metric", disentanglement.factor_vae, factor_problem),
    "mig": Metric(DISENTANGLEMENT, "mutual information gap", disentanglement.mig, factor_problem),
    "beta-vae": Metric(DISENTANGLEMENT, "β-VAE metric", disentanglement.beta_vae, factor_problem),
    "sap": Metric(DISENTANGLEMENT, "separated attribute predictability", disentanglement.sap, factor_problem),
    "modularity": Metric(DISENTANGLEMENT, "modularity and explicitness", disentanglement.modularity, factor_problem),
    "dci": Metric(DISENTANGLEMENT, "disentanglement, completeness, informativeness; takes long", disentanglement.dci, factor_problem),
    "activity": Metric(LATENT, "active units, KL of each axis", latent.activity),
    "correlation": Metric(LATENT, "total correlation, correlations, mutual information", latent.correlation, latent.correlation_problem),
    "prior-gap": Metric(LATENT, "distance of codes from the prior", latent.prior_gap, latent.prior_problem),
    "dimension": Metric(LATENT, "intrinsic dimension of data, means and codes", latent.dimension, latent.dimension_problem),
    "local-rank": Metric(LATENT, "directions that reconstructions can move in", latent.local_rank, latent.local_rank_problem),
}
"""Name → metric, in the order in which they are measured."""
OF_ONE_GROUP = {
    "features": GENERATION,
    "inception_weights": GENERATION,
    "generated": GENERATION,
    "sampler": GENERATION,
    "all_axes": GENERATION,
    "factors": DISENTANGLEMENT,
}
"""What is asked for by `Request` and has an effect on one group of metrics alone."""


def chosen_metrics(wanted: str | Sequence[str] | None) -> dict[str, bool]:
    """Names of metrics in the order of the table, and whether each was named itself: only then is it an error where it cannot be measured.

    Arguments:
        wanted: names of metrics or of groups, or `all`, in one text with commas or several; None for the usual ones.

    Raises:
        ConfigError: an unknown name, or none.
    """
    if wanted is None:
        return {name: False for name, metric in METRICS.items() if metric.usual}
    if isinstance(wanted, str):
        wanted = [name.strip() for name in wanted.split(",") if name.strip()]
    groups = list(dict.fromkeys(metric.group for metric in METRICS.values()))
    known = [*METRICS, *groups, "all"]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        name = unknown[0] if unknown else ""
        near = difflib.get_close_matches(name, known, n=1)
        listed = f"Known are {', '.join(METRICS)}; groups are {', '.join(groups)} and all."
        raise ConfigError(f"Unknown metric '{name}'.", f"Did you mean '{near[0]}'? {listed}" if near else listed)
    return {name: name in wanted for name, metric in METRICS.items() if {name, metric.group, "all"} & set(wanted)}


def check_has_effect(request: Request, wanted: Iterable[str]) -> None:
    """Raise `ConfigError` for what was asked for and has no effect on any of the metrics."""
    groups = {METRICS[name].group for name in wanted}
    for name, group in OF_ONE_GROUP.items():
        if getattr(request, name) and group not in groups:
            able = ", ".join(other for other, metric in METRICS.items() if metric.group == group)
            raise ConfigError(
                f"--{name.replace('_', '-')} has no effect on {', '.join(wanted)}.",
                f"Leave it out, or ask for what it is for: --metrics {group}, or some of {able}.",
            )


def measured(subject: Subject, wanted: dict[str, bool]) -> tuple[list[Measured], dict[str, str]]:
    """What `chosen_metrics` chose, and what of it model or data cannot have: name → what they lack.

    Raises:
        ConfigError: a metric that was named itself cannot be measured.
        DataError: there is too little in the data for one that was named, or for all.
    """
    lacking = {name: METRICS[name].lacking(subject) for name in wanted}
    for name, named in wanted.items():
        if named and lacking[name]:
            able = [other for other, metric in METRICS.items() if metric.usual and not metric.lacking(subject)]
            raise ConfigError(f"{name} needs {lacking[name]}.", f"Use --metrics {','.join(able)}; --list-metrics lists all.")
    found, left_out = [], {name: f"needs {what}" for name, what in lacking.items() if what and not METRICS[name].usual}
    failed: DataError | None = None
    for name, named in wanted.items():
        if lacking[name]:
            continue
        try:
            found.append(METRICS[name].measure(subject))
        except DataError as error:
            if named:
                raise
            failed, left_out[name] = error, error.message
    if failed is not None and not found:
        raise failed
    return found, left_out
