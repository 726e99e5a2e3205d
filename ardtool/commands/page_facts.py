"""What a page says of a model in words: data, settings, how the scores were measured, versions; and the command that trains it again."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping
from typing import Any

import torch

from ..storage.model_file import SavedModel
from ..training.config import TrainConfig
from ..version import __version__
from .relevance import RelevanceResult

__all__ = ["command_of", "facts_of"]

OPTIONS = (  # settings with an option of their own, in the order of a command; all others go by --set
    "data", "samples", "image_size", "val_fraction", "latent", "method", "arch", "beta", "target_mse", "beta_warmup", "likelihood",
    "prior", "alpha_samples", "alpha_every", "threshold", "epochs", "batch_size", "lr", "precision", "compile", "seed",
)  # fmt: skip


def command_of(settings: Mapping[str, Any] | None) -> str | None:
    """The command that trains with these settings, without those that are the defaults; None without settings."""
    if not settings:
        return None
    defaults = TrainConfig().to_dict()
    given = {name: value for name, value in settings.items() if value is not None and value != defaults.get(name)}
    words = ["ardtool", "train"]
    for name in OPTIONS:
        if name in given:
            words += [f"--{name.replace('_', '-')}", _word(given.pop(name))]
    for name, value in given.items():
        for key, inner in _leaves(name, value):
            words += ["--set", f"{key}={_word(inner)}"]
    return shlex.join(words)


def _leaves(name: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [leaf for key, inner in value.items() for leaf in _leaves(f"{name}.{key}", inner)]
    return [(name, value)]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


def facts_of(model: SavedModel, scores: RelevanceResult) -> dict[str, dict[str, str]]:
    """Tables of labels and what they say, by heading."""
    metadata = model.metadata
    shape, codes = ("×".join(map(str, each)) for each in (model.autoencoder.input_shape, scores.latent_shape))
    estimator = ", ".join(f"{name} {value}" for name, value in scores.estimator.items())
    measured = {
        "model": scores.model,
        "method": scores.method,
        "samples have": shape,
        "codes have": codes,
        "codes from": scores.codes_from,
        "variance": {"second_moment": "σ̂² of the prior", "centred": "of the codes"}.get(scores.variance_kind, scores.variance_kind),
        "convention": scores.convention,
        "estimator": estimator,
        "basis": scores.basis,
        "threshold": f"{100 * scores.threshold:g} %",
        "measured by": f"ardtool {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }
    found = {"Measured": measured}
    for heading, name in (("Data", "data"), ("Settings", "settings"), ("Training", "training")):
        entries = metadata.get(name)
        if isinstance(entries, Mapping):
            found[heading] = {str(key).replace("_", " "): _said(value) for key, value in entries.items() if key != "active_trace"}
    return found


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_said(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_said(each) for each in value) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
