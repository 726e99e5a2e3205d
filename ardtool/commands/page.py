"""The page of a model: what its axes do, what fewer of them cost, new samples, how training went, and how all of it was made."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..autoencoder import Posterior
from ..data.dataset import DataSet
from ..errors import ConfigError
from ..latent.codes import LatentCodes
from ..latent.traversal import traversal_codes, traversal_offsets
from ..metrics.reconstruction import curve_counts
from ..report.page import Page, Rebuilt, page_html
from ..report.page.pictures import Picture, heat_strip, image_strip
from ..storage.atomic import write_text
from ..storage.images import check_suffix, to_uint8
from ..storage.model_file import SavedModel
from ..storage.record import read_record
from .estimation import Request
from .evaluating.record import metrics_path
from .opening import encode_all
from .page_facts import command_of, facts_of
from .pruning.spaces import KeptAxes, Ranking, rank_directions
from .relevance import RelevanceResult
from .sample import decode_in_units, drawn_codes, pixel_range

__all__ = ["MOST_EXAMPLES", "check_page", "examples_of", "write_page"]

MOST_EXAMPLES = 200  # samples that errors are measured on
MOST_VALUES = 2**25  # of all examples together
SHOWN = 10  # of them in pictures
MOST_STRIPS = 64
STEPS, SIGMAS = 9, 3.0
SAMPLES, SAMPLE_COLUMNS, STRIP_CELL = 40, 10, 38


def check_page(path: Path) -> None:
    """Raise `ConfigError` for a path that is no .html file."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--report is {path}; expected a .html file.", "Use --report report.html.")


def examples_of(data: DataSet, index: Tensor | None = None) -> Tensor:
    """A few samples as a model takes them, with shape (N, *input_shape), N ≤ 200: those of `index`, or evenly spaced ones."""
    index = torch.arange(len(data)) if index is None else index
    most = max(SHOWN, min(MOST_EXAMPLES, MOST_VALUES // max(1, int(np.prod(data.shape)))))
    if len(index) > most:
        index = index[torch.linspace(0, len(index) - 1, most).round().long()]
    return data.batch(index).float().cpu()


def write_page(
    path: Path,
    model: SavedModel,
    codes: LatentCodes,
    scores: RelevanceResult,
    *,
    examples: Tensor | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
    command: str | None = None,
) -> Path:
    """Write the page of a model as one .html file.

    Arguments:
        codes: that the scores were measured by.
        examples: samples as the model takes them, with shape (N, *input_shape), to be reconstructed; None to decode reference codes.
        command: that made the page.

    Raises:
        StorageError: it cannot be written.
        ModelFileError: the decoder's values are not finite.
    """
    check_suffix(path, (".html", ".htm"), "a page")
    device = torch.device(device)
    ranking = _ranking(model, codes, scores, device, seed)
    things, thing = _nouns(model, scores)
    rebuilt, curves = _with_fewer(model, codes, ranking, examples, device, things)
    history, metrics, measured = _beside(model.path, model.metadata.get("content_sha256"))
    page = Page(
        scores=scores.to_dict(),
        things=things,
        thing=thing,
        strips=_strips(model, codes, scores, device, thing) if scores.basis == "axes" else {},
        rebuilt=rebuilt,
        curves=curves | measured,
        samples=_samples(model, codes, scores, device, seed),
        history=history,
        metrics=metrics,
        facts=facts_of(model, scores),
        commands=_commands(model, command),
    )
    write_text(path, page_html(page))
    return path


def _nouns(model: SavedModel, scores: RelevanceResult) -> tuple[str, str]:
    """What was counted, and one of it."""
    if scores.basis != "axes":
        return "principal directions", "direction"
    noun = model.latent_axes.noun
    return ("latent axes" if noun == "axis" else f"latent {noun}s"), noun


def _ranking(model: SavedModel, codes: LatentCodes, scores: RelevanceResult, device: torch.device, seed: int) -> Ranking:
    if scores.basis != "axes":
        return rank_directions(model, codes, Request(threshold=scores.threshold, seed=seed, device=device))
    order = [axis.axis for axis in scores.axes]
    return Ranking(len(order), scores.active, lambda k: KeptAxes(model.latent_axes, order[:k], codes.statistics.mean))


def _with_fewer(
    model: SavedModel, codes: LatentCodes, ranking: Ranking, examples: Tensor | None, device: torch.device, things: str
) -> tuple[Rebuilt | None, dict[str, list[tuple[int, float]]]]:
    """Reconstructions from the k most relevant axes for several k, and their errors."""
    if ranking.count == 0:
        return None, {}
    most = max(SHOWN, min(MOST_EXAMPLES, MOST_VALUES // int(np.prod(model.autoencoder.input_shape))))
    posterior = codes.reference.rows(slice(0, most)) if examples is None else _encoded(model, examples, device)
    plain = replace(model, scaling=None)  # errors are in the units of the loss
    full = decode_in_units(plain, posterior.mean, device, posterior.context)
    draw = _drawing(model, full if examples is None else torch.cat([examples, full]))
    by_k, change, mse = [], [], []
    for k in curve_counts(ranking.count, include=[min(ranking.active, ranking.count)] if ranking.active else []):
        held = ranking.first(k).hold(posterior.mean)
        values = decode_in_units(plain, held.to(posterior.mean.dtype), device, posterior.context)
        by_k.append((k, draw(values[:SHOWN], f"The same decoded from {k} {things}")))
        change.append((k, float((values - full).double().square().mean())))
        if examples is not None:
            mse.append((k, float((values - examples).double().square().mean())))
    if by_k[-1][0] != ranking.count or ranking.count < codes.reference.mean.shape[1]:
        by_k.append((by_k[-1][0] + 1, draw(full[:SHOWN], "The same decoded from all axes")))
    original = None if examples is None else draw(examples[:SHOWN], "Samples of the data")
    errors = {"mse": mse} if mse else {"output_change": change}
    return Rebuilt(original, by_k, max(1, ranking.active)), errors


def _encoded(model: SavedModel, examples: Tensor, device: torch.device) -> Posterior:
    data = DataSet(name="examples", values=examples, value_range=None)
    return encode_all(model.autoencoder, data, device)


def _drawing(model: SavedModel, all_values: Tensor) -> Any:
    """A function that draws samples with shape (N, *input_shape): images in a row, vectors as rows of colours on a scale for all."""
    if len(model.autoencoder.input_shape) == 3:
        return lambda values, alt: image_strip(to_uint8(values, pixel_range(model)), alt)
    flat = all_values.flatten(1)
    centre, reach = flat.mean(dim=0), float(flat.std(dim=0).max()) * 2 or 1.0
    return lambda values, alt: heat_strip((values.flatten(1) - centre).numpy(), reach, alt)


def _strips(model: SavedModel, codes: LatentCodes, scores: RelevanceResult, device: torch.device, thing: str) -> dict[int, Picture]:
    """What each axis does alone, of the most relevant ones."""
    order = [axis.axis for axis in scores.axes][:MOST_STRIPS]
    offsets, start = traversal_offsets(STEPS, SIGMAS), codes.statistics.mean.float()
    z = traversal_codes(start, codes.statistics.variance.sqrt().float(), order, offsets, model.latent_axes)
    context = codes.reference.context
    rows = None if context is None else context[:1].expand(len(order) * STEPS, *context.shape[1:])
    values = decode_in_units(replace(model, scaling=None), z.flatten(0, 1), device, rows).unflatten(0, (len(order), STEPS))
    alts = [f"What the decoder gives as {thing} {axis} moves from −3 to 3 standard deviations" for axis in order]
    if len(model.autoencoder.input_shape) == 3:
        images = to_uint8(values.flatten(0, 1), pixel_range(model))
        images = images.reshape(len(order), STEPS, *images.shape[1:])
        return {axis: image_strip(row, alt, cell=STRIP_CELL) for axis, row, alt in zip(order, images, alts, strict=True)}
    moved = values.flatten(2) - values.flatten(2)[:, STEPS // 2 : STEPS // 2 + 1]
    reach = float(moved.abs().max()) or 1.0
    return {axis: heat_strip(row.numpy(), reach, alt) for axis, row, alt in zip(order, moved, alts, strict=True)}


def _samples(model: SavedModel, codes: LatentCodes, scores: RelevanceResult, device: torch.device, seed: int) -> Picture | None:
    """New samples from the relevant axes, in several rows."""
    if not scores.active or scores.basis != "axes":
        return None
    z, context = drawn_codes(model, codes, SAMPLES, scores.active_axes, seed)
    values = decode_in_units(replace(model, scaling=None), z, device, context)
    alt = f"{SAMPLES} samples decoded from codes drawn on the relevant axes"
    if len(model.autoencoder.input_shape) == 3:
        return image_strip(to_uint8(values, pixel_range(model)), alt, columns=SAMPLE_COLUMNS)
    return _drawing(model, values)(values[:SAMPLES], alt)


def _beside(model: Path | None, sha256: str | None) -> tuple[list[dict[str, Any]], list[tuple[str, str, str, str]], dict[str, Any]]:
    """History, metrics and measured curves that lie beside a model file, as far as they belong to it and can be read."""
    if model is None:
        return [], [], {}
    try:
        history = [json.loads(line) for line in (model.parent / "history.jsonl").read_text(encoding="utf-8").splitlines() if line.strip()]
        if model.name != "model.safetensors" or not all(map(_is_record, history)):
            history = []
    except (OSError, ValueError, RecursionError):
        history = []
    try:
        record = read_record(metrics_path(model) or model)
        if sha256 is None or record["model_sha256"] != sha256:
            return history, [], {}
        curves = {f"mse on {record['data']}": [(int(row["k"]), float(row["mse"])) for row in record.get("curves", {}).get("mse", [])]}
        return history, _metric_rows(record), {name: points for name, points in curves.items() if points}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return history, [], {}


def _is_record(line: Any) -> bool:
    """Whether a line of history.jsonl is one: numbers by name, some of them in parts."""
    if not isinstance(line, dict) or "epoch" not in line:
        return False
    parts = [line.get(name) or {} for name in ("training", "validation", "state")]
    values = [line["epoch"], *(value for part in parts if isinstance(part, dict) for value in part.values())]
    return all(isinstance(part, dict) for part in parts) and all(value is None or isinstance(value, int | float) for value in values)


def _metric_rows(record: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    rows = []
    for name, entry in record["metrics"].items():
        value = "–" if entry["value"] is None else f"{float(entry['value']):.4g}"
        rows.append((str(name), str(entry["axes"]), value, str(entry.get("unit", ""))))
    return rows


def _commands(model: SavedModel, command: str | None) -> Sequence[tuple[str, str]]:
    """Commands that make all of this again."""
    trained = command_of(model.metadata.get("settings"))
    name = shlex.quote(str(model.path)) if model.path is not None else None
    found = [(trained, "the model")] if trained else []
    found += [(command, "this page")] if command else [(f"ardtool relevance {name} --report report.html", "this page")] if name else []
    found += [(f"ardtool prune {name} --out small.safetensors", "the model without the axes that do not count")] if name else []
    return found
