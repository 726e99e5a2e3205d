"""Disentanglement against known factors, with all axes and with the active ones: the protocols are in `metrics/disentanglement/`.

Values are means over `Request.eval_seeds` draws; their error is that of the mean over draws, or of one draw where the protocol's last step
is a share of right votes. All factors that vary count, also where the paper counts a constant one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from ...metrics.disentanglement.beta_vae import beta_vae as measure_beta_vae
from ...metrics.disentanglement.dci import dci as measure_dci
from ...metrics.disentanglement.factor_vae import factor_vae as measure_factor_vae
from ...metrics.disentanglement.mig import mig as measure_mig
from ...metrics.disentanglement.modularity import modularity as measure_modularity
from ...metrics.disentanglement.sap import sap as measure_sap
from ...metrics.disentanglement.table import FactorTable
from ...metrics.reconstruction import mean_and_stderr
from .known_factors import factor_table
from .subject import Subject
from .values import Measured, MetricValue

__all__ = ["beta_vae", "dci", "factor_vae", "mig", "modularity", "sap"]

UNIT = "0-1, higher is better"
FIXED_PRIOR = "prior"  # the sampler of methods that fit their codes to N(0, I)


@dataclass(frozen=True)
class _Score:
    """One number of one draw: its own standard error where it is a share of votes, and how many samples or votes it is made from."""

    value: float
    n: int
    stderr: float = math.nan
    details: dict[str, Any] = field(default_factory=dict)


Draw = Callable[[FactorTable, torch.Generator], dict[str, _Score]]


def factor_vae(subject: Subject) -> Measured:
    """FactorVAE metric; axes that hardly vary do not vote."""

    def draw(table: FactorTable, generator: torch.Generator) -> dict[str, _Score]:
        found = measure_factor_vae(table, generator=generator, **_least_variation(subject, table))
        voting = {"voting_axes": int(found.active.sum()), "train_accuracy": found.train_accuracy}
        return {"factor_vae": _Score(found.value, found.test_votes, _share_error(found.value, found.test_votes), voting)}

    provenance = {"representation": "posterior mean", "inactive": _inactivity(subject), "batch": 64}
    return _over_draws(subject, "factor_vae", draw, provenance)


def beta_vae(subject: Subject) -> Measured:
    """β-VAE metric, with axes as they are and in their own standard deviations."""

    def draw(table: FactorTable, generator: torch.Generator) -> dict[str, _Score]:
        found = measure_beta_vae(table, generator=generator)
        votes = found.test_votes
        own = {"train_accuracy": found.train_accuracy, "converged": found.converged}
        standardised = {"train_accuracy": found.standardised_train_accuracy, "converged": found.standardised_converged}
        return {
            "beta_vae": _Score(found.value, votes, _share_error(found.value, votes), own),
            "beta_vae_standardised": _Score(found.standardised, votes, _share_error(found.standardised, votes), standardised),
        }

    return _over_draws(subject, "beta_vae", draw, {"representation": "posterior mean", "batch": 64})


def mig(subject: Subject) -> Measured:
    """Mutual information gap."""

    def draw(table: FactorTable, generator: torch.Generator) -> dict[str, _Score]:
        found = measure_mig(table, generator=generator)
        gaps = dict(zip(table.names, found.gaps.tolist(), strict=True))
        return {"mig": _Score(found.value, found.samples, details={"gaps": gaps})}

    return _over_draws(subject, "mig", draw, {"representation": "posterior mean", "bins": 20})


def dci(subject: Subject) -> Measured:
    """Disentanglement, completeness and informativeness by gradient-boosted trees."""

    def draw(table: FactorTable, generator: torch.Generator) -> dict[str, _Score]:
        found = measure_dci(table, generator=generator, progress=lambda done, total: subject.progress("dci", done, total))
        n = found.train_samples
        return {
            "dci_disentanglement": _Score(found.disentanglement, n),
            "dci_completeness": _Score(found.completeness, n),
            "dci_informativeness": _Score(found.informativeness, found.test_samples, details={"train": found.informativeness_train}),
        }

    return _over_draws(subject, "dci", draw, {"representation": "posterior mean", "trees": 100})


def sap(subject: Subject) -> Measured:
    """Separated attribute predictability by linear support vector machines, with axes as they are and standardised."""

    def draw(table: FactorTable, generator: torch.Generator) -> dict[str, _Score]:
        seed = generator.get_state()
        plain = measure_sap(table, generator=generator)
        generator.set_state(seed)
        standardised = measure_sap(table, generator=generator, standardise=True)
        return {"sap": _Score(plain.value, plain.test_samples), "sap_standardised": _Score(standardised.value, standardised.test_samples)}

    return _over_draws(subject, "sap", draw, {"representation": "posterior mean", "C": 0.01})


def modularity(subject: Subject) -> Measured:
    """Modularity and explicitness."""

    def draw(table: FactorTable, generator: torch.Generator) -> dict[str, _Score]:
        found = measure_modularity(table, generator=generator)
        explicitness = _Score(found.explicitness, found.test_samples, details={"train": found.explicitness_train})
        return {"modularity": _Score(found.value, found.train_samples), "explicitness": explicitness}

    return _over_draws(subject, "modularity", draw, {"representation": "posterior mean", "bins": 20})


def _over_draws(subject: Subject, family: str, draw: Draw, provenance: dict[str, Any]) -> Measured:
    """Means over draws, for all axes and for the active ones; both see the same draws."""
    values = {}
    for suffix, axes, table in _tables(subject):
        found = []
        for seed in range(subject.request.eval_seeds):
            subject.progress(f"{family}, {axes} axes", seed, subject.request.eval_seeds)
            found.append(draw(table, subject.generator(seed)))
        how = (
            provenance | {"eval_seeds": len(found), "factors": list(table.names)} | ({"binned": list(table.binned)} if table.binned else {})
        )
        for name, first in found[0].items():
            mean, stderr = mean_and_stderr(torch.tensor([each[name].value for each in found], dtype=torch.float64))
            stderr = first.stderr if len(found) == 1 else stderr
            values[f"{name}{suffix}"] = MetricValue(mean, stderr, first.n, axes, UNIT, family, how, first.details)
    return Measured(values)


def _tables(subject: Subject) -> Iterator[tuple[str, str, FactorTable]]:
    table = subject.once("factors", lambda: factor_table(subject))
    yield "", "all", table
    if subject.active is not None:
        yield "_active", "active", table.on(subject.model.latent_axes.elements_of(subject.active))


def _least_variation(subject: Subject, table: FactorTable) -> dict[str, Any]:
    """How FactorVAE tells axes that do not vary: as the protocol does where the prior is N(0, I); chosen axes all vote."""
    if table.axes is not None:
        return {"threshold": 0.0}
    if subject.model.metadata.get("sampler") == FIXED_PRIOR or subject.codes is None:
        return {}
    return {"scale": subject.codes.statistics.variance.sqrt()}


def _inactivity(subject: Subject) -> str:
    if subject.model.metadata.get("sampler") == FIXED_PRIOR or subject.codes is None:
        return "standard deviation of means < 0.05, as in the protocol"
    return "standard deviation of means < 0.05 of that of sampled codes, since the scale of codes is free"


def _share_error(share: float, votes: int) -> float:
    return math.sqrt(share * (1 - share) / votes)
