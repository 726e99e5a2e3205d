"""Runs that differ in the seed alone form a group; every quantity of a group is summarised over its seeds.

A group has one method, one content of data, one L and one value of every other setting. Where runs of one method, data and L differ in
further settings they are not averaged: each combination is a group, and `differing` names what distinguishes it. β of a run that is steered
to a target is where the search for it starts: it distinguishes such runs from each other, not from those that keep their β.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .numbers import Summary, summarise
from .runs import LeftOut, MetricRecord, Run

__all__ = ["Group", "MetricSummary", "OwnSummary", "groups_of"]


@dataclass(frozen=True)
class MetricSummary:
    """A metric over the runs of a group that were measured alike.

    Attributes:
        axes, unit, samples, data, data_sha256, convention: what makes values comparable: axes used, unit, how many samples of which data,
            and a digest of how they were measured.
    """

    name: str
    axes: str
    unit: str
    samples: int
    data: str
    data_sha256: str
    summary: Summary
    convention: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "summary"} | self.summary.to_dict()


@dataclass(frozen=True)
class OwnSummary:
    """The method's own count: what is counted, and how many runs did not meet the method's own constraint."""

    notion: str
    missed: int
    summary: Summary

    def to_dict(self) -> dict[str, Any]:
        return {"notion": self.notion, "missed": self.missed, **self.summary.to_dict()}


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed alone.

    Attributes:
        differing: the settings that distinguish it from other groups of its method, data and L; a setting that its files lack is absent,
            and so is the first β of a steered run where all such runs have the same.
        settings: all settings but method, data, L and seed.
        runs: paths by ascending seed; `seeds`: their seeds.
        active: axes that are active by the common relevance score.
        validation_mse: mean squared error per output of the last epoch, decoding sampled codes; `losses`: every term of that epoch.
        unconverged: runs whose number of active axes still moved in the last tenth of the epochs, or that were too short to tell.
    """

    method: str
    data: str
    data_sha256: str
    latent: int
    differing: dict[str, Any]
    settings: dict[str, Any]
    runs: list[str]
    seeds: list[int]
    devices: list[str]
    unconverged: int
    active: Summary
    own_count: OwnSummary | None
    validation_mse: Summary
    epochs: Summary
    seconds_per_epoch: Summary
    losses: dict[str, Summary]
    metrics: list[MetricSummary]

    def to_dict(self) -> dict[str, Any]:
        return {"n": len(self.runs)} | {name: _plain(value) for name, value in vars(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Summary | OwnSummary | MetricSummary):
        return value.to_dict()
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def groups_of(runs: list[Run]) -> tuple[list[Group], list[LeftOut]]:
    """The groups, by data, method and L, and the runs that are another one again: the same settings, seed and data."""
    bundles: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        bundles.setdefault((run.data, run.data_sha256, run.method, run.latent), []).append(run)
    groups, again = [], []
    for bundle in bundles.values():
        differing = [
            name for name in sorted({name for run in bundle for name in run.settings}) if len({_key(run, name) for run in bundle}) > 1
        ]
        parts: dict[tuple[str, ...], dict[int, Run]] = {}
        for run in bundle:
            members = parts.setdefault(tuple(_key(run, name) for name in differing), {})
            first = members.setdefault(run.seed, run)
            if first is not run:
                again.append(LeftOut(run.path, f"the same run as {first.path}, counted once"))
        groups += [_group([members[seed] for seed in sorted(members)], differing, bundle) for members in parts.values()]
    return sorted(groups, key=_order), again


def _key(run: Run, name: str) -> str:
    return json.dumps(run.settings[name], sort_keys=True) if name in run.settings else ""


def _distinguishes(name: str, run: Run, bundle: list[Run]) -> bool:
    """Whether a setting in which runs differ says what this one is."""
    if name not in run.settings:
        return False
    return name != "beta" or not _is_steered(run) or len({_key(each, name) for each in bundle if _is_steered(each)}) > 1


def _is_steered(run: Run) -> bool:
    return run.settings.get("target_mse") is not None


def _order(group: Group) -> tuple[Any, ...]:
    values = [
        (name, *((0, value, "") if isinstance(value, int | float) else (1, 0, str(value)))) for name, value in group.differing.items()
    ]
    return (group.data, group.data_sha256, group.method, group.latent, values)


def _group(runs: list[Run], differing: list[str], bundle: list[Run]) -> Group:
    """The summary of runs with different seeds, in ascending order of these; `bundle`: all runs of this method, data and L."""
    first = runs[0]
    losses = list(dict.fromkeys(name for run in runs for name in run.losses))

    def over(value: Callable[[Run], float | None]) -> Summary:
        return summarise({run.seed: value(run) for run in runs}, len(runs))

    return Group(
        method=first.method,
        data=first.data,
        data_sha256=first.data_sha256,
        latent=first.latent,
        differing={name: first.settings[name] for name in differing if _distinguishes(name, first, bundle)},
        settings=first.settings,
        runs=[run.path for run in runs],
        seeds=[run.seed for run in runs],
        devices=sorted({run.device for run in runs}),
        unconverged=sum(not run.converged for run in runs),
        active=over(lambda run: run.active),
        own_count=_own(runs),
        validation_mse=over(lambda run: run.losses.get("mse")),
        epochs=over(lambda run: run.epochs),
        seconds_per_epoch=over(lambda run: run.seconds / run.epochs if run.epochs else None),
        losses={name: over(lambda run, name=name: run.losses.get(name)) for name in losses},
        metrics=_metrics(runs),
    )


def _own(runs: list[Run]) -> OwnSummary | None:
    counts = {run.seed: run.own_count for run in runs if run.own_count is not None}
    if not counts:
        return None
    notions = dict.fromkeys(str(own["notion"]) for own in counts.values())
    missed = sum(own.get("constraint_met") is False for own in counts.values())
    return OwnSummary(" or ".join(notions), missed, summarise({seed: len(own["axes"]) for seed, own in counts.items()}, len(runs)))


def _metrics(runs: list[Run]) -> list[MetricSummary]:
    """One summary for each metric and way of measuring it."""
    values: dict[MetricRecord, dict[int, float | None]] = {}
    for run in runs:
        for metric in run.metrics:
            values.setdefault(replace(metric, value=None), {})[run.seed] = metric.value
    return [
        MetricSummary(each.name, each.axes, each.unit, each.n, each.data, each.data_sha256, summarise(by_seed, len(runs)), each.convention)
        for each, by_seed in values.items()
    ]
