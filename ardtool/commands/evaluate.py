"""`evaluate`: how well a model reconstructs, compresses, generates and disentangles data, with all axes and with the active ones alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.catalogue import catalogue
from ..latent.axes import Granularity
from ..training.processes import joined
from .evaluating.record import metrics_path, save
from .evaluating.subject import Progress, Request, Subject
from .evaluating.table import METRICS, check_has_effect, chosen_metrics, measured
from .evaluating.values import EvaluateResult, Measured, MetricValue
from .inputs import scaled_for, unscaled_for, warnings_of
from .opening import ModelLike, choose_device, open_model

__all__ = ["METRICS", "EvaluateResult", "MetricValue", "evaluate"]

TRAINING_DATA = "These are the data that the model was trained on; new data tell more about how well it reconstructs."


def evaluate(
    model: ModelLike = None,
    *,
    data: Any,
    metrics: str | Sequence[str] | None = None,
    out: str | Path | None = None,
    granularity: Granularity = "channel",
    device: str = "auto",
    plugin: str | Path | None = None,
    trust: bool = False,
    progress: Progress | None = None,
    **request: Any,
) -> EvaluateResult:
    """Measure a model on data; under `torchrun` with all processes together.

    `METRICS` says what each metric is; docs/metrics.md gives formulas, conventions and what the numbers mean. Pixels are in the range
    of the training data. Vectors are standardised first: errors are in standard deviations, and log-likelihoods differ from those in
    the user's own units by the sum of the logarithms of all standard deviations.

    Arguments:
        model: a path, a run folder, an object with `encode` and `decode`, or None for the newest run.
        data: a name, a path, a `DataSet`, or samples with shape (N, *input_shape) in the units of the training data.
        metrics: names in `METRICS`, names of groups, or `all`, as "mse,fid" or a list; None for the usual ones that the model has.
        out: where the numbers go as JSON; None for metrics.json beside model.safetensors, NAME.metrics.json beside another NAME.
        granularity: whether the axes of a latent map are its channels or its elements.
        device: auto, cpu, cuda[:i] or mps.
        plugin: the name or file of the plugin that reads a foreign model.
        trust: load models whose loading can run foreign code.
        progress: is told what is being done, and how much of how much is done.
        request: how to measure, by the names of `Request`: samples, seed, features, generated, factors, data_root, …

    Raises:
        ConfigError: an unknown metric, one that was named and that the model or the data cannot have, or a request that has no effect.
    """
    wanted = chosen_metrics(metrics)
    how = Request(**request, plugin=plugin, trust=trust).validated()
    check_has_effect(how, wanted)
    with joined(device) as processes:
        chosen = choose_device(processes.device)
        opened = open_model(model, chosen, plugin, trust=trust, granularity=granularity)
        unscaled = processes.in_turn(lambda: unscaled_for(opened, data, how.data_root, skip_bad=how.skip_bad))
        is_named = isinstance(data, str) and data in {each.name for each in catalogue()}
        scaled = scaled_for(opened, unscaled)
        subject = Subject(opened, unscaled, scaled, how, chosen, progress, is_named=is_named, processes=processes)
        found, left_out = measured(subject, wanted)
        path = metrics_path(opened.path) if out is None else Path(out)
        result = _result(subject, found, left_out, path)
        if path is not None and processes.is_first:
            save(result, path)
    return result


def _result(subject: Subject, found: list[Measured], left_out: dict[str, str], path: Path | None) -> EvaluateResult:
    model = subject.model
    on_training_data = subject.data_sha256 == (model.metadata.get("data") or {}).get("sha256")
    notes = [*([TRAINING_DATA] if on_training_data else []), *warnings_of(subject.unscaled)]
    return EvaluateResult(
        model=str(model.path or type(model.autoencoder).__name__),
        data=subject.unscaled.name,
        metrics={name: value for each in found for name, value in each.values.items()},
        curves={name: rows for each in found for name, rows in each.curves.items()},
        active=None if subject.active is None else len(subject.active),
        model_sha256=model.metadata.get("content_sha256"),
        data_sha256=subject.data_sha256,
        left_out=left_out,
        note=" ".join(dict.fromkeys([*notes, *subject.notes, *(note for each in found for note in each.notes)])) or None,
        file=None if path is None else str(path),
    )
