"""`relevance`: which latent axes the decoder uses, and how sure that is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigError
from ..latent.codes import LatentCodes
from ..latent.jacobian import Convention
from ..latent.relevance import AxisRelevance
from ..storage.model_file import SavedModel
from .estimation import BASES, ESTIMATORS, Basis, Estimator, estimate
from .opening import ModelLike, choose_device, codes_for, data_for, open_model

__all__ = ["RelevanceResult", "active_axes_of", "relevance", "score_model"]

SCHEMA = "ardtool.relevance/1"


@dataclass(frozen=True)
class RelevanceResult:
    """Every axis with its score, most relevant first, and the number of active ones.

    Attributes:
        model: the file, or the class of a user's own object.
        latent_dim: L.
        active: how many axes are active at `threshold`; `active_interval` holds 95 % of recounts (docs/decisions/0003).
        convention: `paper` or `authors-code`, see `latent/jacobian.py`.
        basis: `axes`: latent axes as they are; `principal`: directions, counted by descending score.
        variance_kind: `second_moment` (σ̂² of the ARD prior) or `centred` (variance of sampled codes about their mean).
        codes_from: `model`, `data`, `latents` or `prior`.
        estimator: its name, samples and seed; where `auto` chose it, the reason.
        original_axes: for a pruned model, the index of each axis in the model that was trained.
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

    @property
    def active_axes(self) -> list[int]:
        """Indices of the active axes, most relevant first."""
        return [axis.axis for axis in self.axes if axis.active]

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract `ardtool.relevance/1`."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items() if name != "axes"}
        return {"schema": SCHEMA, **values, "axes": [asdict(axis) for axis in self.axes]}


def relevance(
    model: ModelLike = None,
    *,
    samples: int | None = None,
    threshold: float = 0.99,
    convention: Convention = "paper",
    estimator: Estimator = "auto",
    basis: Basis = "axes",
    data: Any = None,
    latents: str | Path | None = None,
    assume_prior: bool = False,
    seed: int = 0,
    device: str = "auto",
    plugin: str | None = None,
    data_root: Path | None = None,
) -> RelevanceResult:
    """Score every latent axis of a model and find the active set (paper Eq. 18-20).

    Arguments:
        model: a path, a run folder, an object with `encode` and `decode`, or None for the newest run.
        samples: how many codes the decoder is differentiated at; None for 100, or all where there are fewer.
        threshold: share of the total score that the active axes exceed, in (0, 1].
        convention: `paper` (Eq. 19) or `authors-code`.
        estimator: `exact`, `sketch` (cost independent of L), `sobol` (no derivatives), or `auto` (the cheaper of the first two).
        basis: `axes`, or `principal` for the number of directions whatever the axes are.
        data, latents, assume_prior: where the codes come from; one of them for models that carry none.
        seed: chooses the codes and the bootstrap.
        device: auto, cpu, cuda[:i] or mps.
        plugin: the name or file of the plugin that reads a foreign model.
        data_root: where named data sets lie.

    Raises:
        ArdtoolError: with one line that says what to change.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"--threshold is {threshold:g}; expected a share in (0, 1].", "0.99 is the paper's choice.")
    if samples is not None and samples < 2:
        raise ConfigError(f"--samples is {samples}; expected at least 2.", "100 is the paper's choice.")
    for name, value, known in (
        ("convention", convention, ("paper", "authors-code")),
        ("estimator", estimator, ESTIMATORS),
        ("basis", basis, BASES),
    ):
        if value not in known:
            raise ConfigError(f"--{name} is '{value}'; expected {' or '.join(known)}.", f"The default is {known[0]}.")
    chosen = choose_device(device)
    opened = open_model(model, chosen, plugin)
    data_set = None if data is None else data_for(opened, data, data_root)
    codes = codes_for(opened, data=data_set, latents=latents, assume_prior=assume_prior, seed=seed, device=chosen)
    return score_model(
        opened,
        codes,
        samples=samples,
        threshold=threshold,
        convention=convention,
        estimator=estimator,
        basis=basis,
        seed=seed,
        device=chosen,
    )


def score_model(
    model: SavedModel,
    codes: LatentCodes,
    *,
    samples: int | None = None,
    threshold: float = 0.99,
    convention: Convention = "paper",
    estimator: Estimator = "auto",
    basis: Basis = "axes",
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> RelevanceResult:
    """`relevance` on a model that is open already."""
    found = estimate(
        model.autoencoder,
        codes,
        samples=samples,
        threshold=threshold,
        convention=convention,
        estimator=estimator,
        basis=basis,
        seed=seed,
        device=device,
    )
    scores = found.scores
    return RelevanceResult(
        model=str(model.path or type(model.autoencoder).__name__),
        method=model.method,
        latent_dim=codes.latent_dim,
        active=scores.active,
        active_interval=scores.active_interval,
        threshold=threshold,
        convention=convention,
        basis=basis,
        variance_kind=found.codes.variance_kind,
        codes_from=codes.source,
        estimator=found.record,
        axes=scores.axes,
        original_axes=tuple(model.original_axes) if basis == "axes" else (),
    )


def active_axes_of(model: SavedModel, codes: LatentCodes, device: torch.device | str = "cpu") -> tuple[list[int], list[float]]:
    """Active axes by descending relevance, and the share of every axis of the total: as saved with the model, else measured now."""
    saved = model.metadata.get("relevance")
    if saved is not None:
        return list(saved["active_axes"]), list(saved["explained"])
    result = score_model(model, codes, device=device)
    shares = {axis.axis: axis.explained for axis in result.axes}
    return result.active_axes, [shares[axis] for axis in range(codes.latent_dim)]
