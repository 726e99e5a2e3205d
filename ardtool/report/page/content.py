"""What a page shows, before it is HTML. Everything but the scores may be missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .pictures import Picture

__all__ = ["Page", "Rebuilt"]


@dataclass(frozen=True)
class Rebuilt:
    """The same few samples, decoded from fewer and fewer axes.

    Attributes:
        original: the samples themselves; None where only their codes are known.
        by_k: what the k most relevant axes give, all others held at their mean, by ascending k; the last is of all axes.
        chosen: the k that is shown first.
    """

    original: Picture | None
    by_k: Sequence[tuple[int, Picture]]
    chosen: int


@dataclass(frozen=True)
class Page:
    """What is known of a model.

    Attributes:
        scores: the record `ardtool.relevance/1`.
        things: what was counted, such as "latent axes"; `thing` is one of them.
        strips: by axis, what its traversal gives: the axis from −3 to 3 standard deviations, all others at their mean.
        rebuilt: reconstructions.
        curves: by the name of a metric, pairs (k, value) by ascending k.
        samples: decoded from codes that were drawn.
        history: one record an epoch, as in history.jsonl.
        metrics: rows (name, axes, value, unit) of what `evaluate` measured.
        facts: by heading, labels and what they say.
        commands: that make this again, with what each makes.
    """

    scores: Mapping[str, Any]
    things: str
    thing: str
    strips: Mapping[int, Picture] = field(default_factory=dict)
    rebuilt: Rebuilt | None = None
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    samples: Picture | None = None
    history: Sequence[Mapping[str, Any]] = ()
    metrics: Sequence[tuple[str, str, str, str]] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    commands: Sequence[tuple[str, str]] = ()
