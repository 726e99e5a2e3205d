"""From a choice to the axes or directions that stay, with the curve of errors where a limit chose them or a picture is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ...errors import ArdtoolError, ConfigError
from ...latent.codes import LatentCodes
from ...storage.model_file import SavedModel
from ..estimation import Request
from .choice import Choice, CurvePoint, Limit, search_curve, smallest_within
from .measure import Meter
from .spaces import KeptAxes, KeptSpace, Ranking, rank_axes, rank_directions

__all__ = ["Selection", "select_space"]


@dataclass(frozen=True)
class Selection:
    """What stays, and why.

    Attributes:
        space: the axes or directions.
        curve: the cost of keeping the k most relevant by ascending k, where it was measured.
        limits: by metric, the largest allowed value of the limit that chose.
    """

    space: KeptSpace
    curve: list[CurvePoint] | None = None
    limits: dict[str, float] = field(default_factory=dict)


def select_space(
    model: SavedModel, codes: LatentCodes, choice: Choice, basis: str, meter: Meter, request: Request, wants_curve: bool
) -> Selection:
    """The axes, or with `--basis principal` the directions, that a choice keeps.

    Arguments:
        request: how relevance is measured.
        wants_curve: measure the curve whether or not a limit needs it.

    Raises:
        ConfigError: the choice does not fit the model.
        ArdtoolError: the decoder ignores its code, or nothing keeps within the limit.
    """
    latent = model.latent_axes
    nouns = {"axis": "axes"}.get(latent.noun, f"{latent.noun}s")
    if choice.axes is not None:
        wrong = [axis for axis in choice.axes if not 0 <= axis < latent.count]
        if wrong or not choice.axes:
            raise ConfigError(
                f"--axes names {wrong or f'no {latent.noun}'}; the model has {nouns} 0 to {latent.count - 1}.",
                "`ardtool relevance` lists them.",
            )
        return Selection(KeptAxes(latent, sorted(set(choice.axes)), codes.statistics.mean))
    if basis == "axes":
        _check_keep(choice.keep, latent.count, f"`ardtool relevance` shows how many {nouns} are relevant.")
        ranking = rank_axes(model, codes, request)
    else:
        nouns = "directions"
        ranking = rank_directions(model, codes, request)
        _check_keep(choice.keep, ranking.count, "The decoder does not change along any further direction.")
    if ranking.count == 0 or (choice.keep is None and choice.limit is None and ranking.active == 0):
        what = "axis" if basis == "axes" else "direction"
        raise ArdtoolError(
            f"No {what} is relevant: the decoder ignores its code.", "Train longer or with a smaller --beta, or give --keep."
        )
    if choice.limit is not None:
        return _within(ranking, choice.limit, meter, nouns)
    k = ranking.active if choice.keep is None else choice.keep
    curve = _curve(ranking, meter, k) if wants_curve else None
    return Selection(ranking.first(k), curve)


def _check_keep(keep: int | None, most: int, hint: str) -> None:
    if keep is not None and not 1 <= keep <= most:
        raise ConfigError(f"--keep is {keep}; expected 1 to {most}.", hint)


def _curve(ranking: Ranking, meter: Meter, k: int) -> list[CurvePoint]:
    """A curve that holds the point of k."""
    points = search_curve(ranking.count, _measure(ranking, meter))
    if all(point.k != k for point in points):
        points = sorted([*points, *_measure(ranking, meter)([k])], key=lambda point: point.k)
    return points


def _within(ranking: Ranking, limit: Limit, meter: Meter, nouns: str) -> Selection:
    """The smallest number of axes or directions within a limit."""
    if limit.metric == "mse":
        largest = (1 + limit.value) * meter.full_mse()
    else:
        largest = limit.value * (meter.output_spread() if limit.relative else 1)

    def within(point: CurvePoint) -> bool:
        return point.value(limit.metric) <= largest

    points = search_curve(ranking.count, _measure(ranking, meter), within)
    best = smallest_within(points, within)
    if best is None:
        last = points[-1]
        name = "MSE" if limit.metric == "mse" else "output change"
        raise ArdtoolError(
            f"No number of {nouns} keeps within {limit.option} {limit.text}: with all {last.k} the {name} is "
            f"{last.value(limit.metric):.3g}; allowed is {largest:.3g}.",
            "Allow more, or use --keep.",
        )
    return Selection(ranking.first(best.k), points, {limit.metric: largest})


def _measure(ranking: Ranking, meter: Meter) -> Callable[[list[int]], list[CurvePoint]]:
    return lambda numbers: meter.points([(k, ranking.first(k)) for k in numbers])
