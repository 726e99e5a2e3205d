"""`relevance`: which latent axes the decoder uses, and how sure that is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..autoencoder import FlatLatents
from ..errors import ConfigError
from ..latent.axes import Granularity
from ..latent.codes import REFERENCE_ROWS, LatentCodes
from ..latent.jacobian import Convention
from ..latent.relevance import AxisRelevance
from ..storage.model_file import SavedModel
from ..training.processes import joined
from .estimation import BASES, ESTIMATORS, Basis, Estimator, Request, estimate
from .inputs import data_for, threshold_of, warnings_of
from .memory import budget_for
from .opening import MOST_CODES, ModelLike, choose_device, codes_for, open_model

__all__ = ["RelevanceResult", "active_axes_of", "relevance", "score_model"]

SCHEMA = "ardtool.relevance/1"
MOST_LISTED = 12


@dataclass(frozen=True, repr=False)
class RelevanceResult:
    """Every axis with its score, most relevant first, and the number of active ones.

    Attributes:
        model: the file, or the class of a user's own object.
        latent_dim: how many axes there are: L of vectors, the channels or elements of maps.
        active: how many axes are active at `threshold`; `active_interval` holds 95 % of recounts (docs/decisions/0003).
        convention: `paper` or `authors-code`, see `latent/jacobian.py`.
        basis: `axes`: latent axes as they are; `principal`: directions, counted by descending score.
        variance_kind: `second_moment` (σ̂² of the ARD prior) or `centred` (variance of sampled codes about their mean).
        codes_from: `model`, `data`, `latents` or `prior`.
        estimator: its name, samples and seed; where `auto` chose it, the reason.
        original_axes: for a pruned model, the index of each axis in the model that was trained.
        latent_shape: shape of one code, (L,) or (C, H, W).
        granularity: what an axis of a map is, `channel` or `element`; None for vectors.
        warnings: what to keep in mind about these numbers.
    """

    model: str
    method: str
    latent_dim: int
    active: int
    active_interval: tuple[int, int]
    threshold: float
    convention: str
    basis: str
    variance_kind: str
    codes_from: str
    estimator: dict[str, Any]
    axes: tuple[AxisRelevance, ...]
    original_axes: tuple[int, ...]
    latent_shape: tuple[int, ...] = ()
    granularity: str | None = None
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        low, high = self.active_interval
        things = "latent axes" if self.basis == "axes" else "principal directions"
        return (
            f"<RelevanceResult: {self.active} of {self.latent_dim} {things} relevant, 95 % interval {low}–{high}, "
            f"threshold {100 * self.threshold:g} %: {_listed(self.active_axes)}; {self.model}>"
        )

    @property
    def active_axes(self) -> list[int]:
        """Indices of the active axes, most relevant first."""
        return [axis.axis for axis in self.axes if axis.active]

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract `ardtool.relevance/1`."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items() if name != "axes"}
        if not self.warnings:
            del values["warnings"]
        return {"schema": SCHEMA, **values, "axes": [asdict(axis) for axis in self.axes]}


def _listed(axes: list[int]) -> str:
    """The first of the axes."""
    shown = ", ".join(map(str, axes[:MOST_LISTED]))
    return (f"{shown}, …" if len(axes) > MOST_LISTED else shown) or "none"


def relevance(
    model: ModelLike = None,
    *,
    samples: int | None = None,
    tolerance: float | None = None,
    threshold: float = 0.99,
    convention: Convention = "paper",
    estimator: Estimator = "auto",
    basis: Basis = "axes",
    granularity: Granularity = "channel",
    data: Any = None,
    latents: str | Path | None = None,
    assume_prior: bool = False,
    max_memory: str | int | None = None,
    seed: int = 0,
    device: str = "auto",
    plugin: str | Path | None = None,
    trust: bool = False,
    data_root: str | Path | None = None,
    skip_bad: bool = False,
    report: str | Path | None = None,
    command: str | None = None,
) -> RelevanceResult:
    """Score every latent axis of a model and find the active set (paper Eq. 18-20); under `torchrun` with all processes together.

    Arguments:
        model: a path, a run folder, an object with `encode` and `decode`, or None for the newest run.
        samples: how many codes the decoder is differentiated at; None for 100, or all where there are fewer.
        tolerance: draw codes until the relative standard error of every active axis' weight is at most this, in (0, 1).
        threshold: share of the total score that the active axes exceed, in (0, 1].
        convention: `paper` (Eq. 19) or `authors-code`.
        estimator: `exact`, `sketch` (cost independent of L), `sobol` (no derivatives), or `auto` (the cheaper of the first two).
        basis: `axes`, or `principal` for the number of directions whatever the axes are.
        granularity: whether the axes of a latent map are its channels or its elements.
        data, latents, assume_prior: where the codes come from; one of them for models that carry none.
        max_memory: a size such as "2GiB" that the process (on a GPU: what torch allocates there) stays below.
        seed: chooses the codes and the bootstrap.
        device: auto, cpu, cuda[:i] or mps.
        plugin: the name or file of the plugin that reads a foreign model.
        trust: load models whose loading can run foreign code.
        data_root: where named data sets lie.
        skip_bad: leave out images of a folder or archive that cannot be decoded, instead of stopping.
        report: write a page of it all to this .html file; with `data` it reconstructs some of them.
        command: that the page says it was made by.

    Raises:
        ArdtoolError: with one line that says what to change.
    """
    from .page import check_page, examples_of, write_page  # which reads scores from here

    if report is not None:
        check_page(Path(report))
    threshold = threshold_of(threshold)
    _check(samples, tolerance, convention=convention, estimator=estimator, basis=basis)
    with joined(device) as processes:
        chosen = choose_device(processes.device)
        opened = open_model(model, chosen, plugin, trust=trust, granularity=granularity)
        data_set = None if data is None else processes.in_turn(lambda: data_for(opened, data, data_root, skip_bad=skip_bad))
        sources = {"data": data_set, "latents": latents, "assume_prior": assume_prior}
        rows = max(REFERENCE_ROWS, samples or 0, 0 if tolerance is None else MOST_CODES)
        memory = budget_for(max_memory, chosen)
        codes = codes_for(opened, **sources, rows=rows, seed=seed, device=chosen, memory=memory, processes=processes)
        memory = budget_for(max_memory, chosen)
        request = Request(samples, tolerance, threshold, convention, estimator, basis, seed, chosen, memory, processes)
        found = score_model(opened, codes, request)
        if report is not None and processes.is_first:
            examples = None if data_set is None else examples_of(data_set)
            write_page(Path(report), opened, codes, found, examples=examples, device=chosen, seed=seed, command=command)
    # of data that were not made for this model, what had to be done to them matters
    notes = data_set.notes if data_set is not None and opened.method == "foreign" else warnings_of(data_set)
    return replace(found, warnings=(*found.warnings, *notes))


def _check(samples: int | None, tolerance: float | None, **names: str) -> None:
    """Raise `ConfigError` for a setting out of its range."""
    if samples is not None and samples < 2:
        raise ConfigError(f"--samples is {samples}; expected at least 2.", "100 is the paper's choice.")
    if tolerance is not None and not 0 < tolerance < 1:
        raise ConfigError(f"--tolerance is {tolerance:g}; expected a share in (0, 1) such as 2%.", "5% is what auto aims at.")
    for name, value in names.items():
        known = {"convention": ("paper", "authors-code"), "estimator": ESTIMATORS, "basis": BASES}[name]
        if value not in known:
            raise ConfigError(f"--{name} is '{value}'; expected {' or '.join(known)}.", f"The default is {known[0]}.")


def score_model(model: SavedModel, codes: LatentCodes, request: Request | None = None) -> RelevanceResult:
    """`relevance` on a model that is open already."""
    request = request or Request()
    axes = model.latent_axes
    found = estimate(model.autoencoder, codes, axes, request)
    scores, by_axes = found.scores, request.basis == "axes"
    return RelevanceResult(
        model=str(model.path or type(_inner(model.autoencoder)).__name__),
        method=model.method,
        latent_dim=axes.count if by_axes else axes.elements,
        active=scores.active,
        active_interval=scores.active_interval,
        threshold=request.threshold,
        convention=request.convention,
        basis=request.basis,
        variance_kind=found.codes.variance_kind,
        codes_from=codes.source,
        estimator=found.record,
        axes=scores.axes,
        original_axes=tuple(model.original_axes) if by_axes else (),
        latent_shape=axes.shape,
        granularity=axes.granularity if len(axes.shape) > 1 and by_axes else None,
        warnings=tuple(found.warnings),
    )


def _inner(model: Any) -> Any:
    return model.model if isinstance(model, FlatLatents) else model


def active_axes_of(model: SavedModel, codes: LatentCodes, device: torch.device | str = "cpu") -> tuple[list[int], list[float]]:
    """Active axes by descending relevance, and the share of every axis of the total: as saved with the model, else measured now."""
    saved = model.metadata.get("relevance")
    if saved is not None:
        return list(saved["active_axes"]), list(saved["explained"])
    result = score_model(model, codes, Request(device=device))
    shares = {axis.axis: axis.explained for axis in result.axes}
    return result.active_axes, [shares[axis] for axis in range(result.latent_dim)]
