"""`train`: train a method on data, save a complete model, and report which axes are relevant."""

from __future__ import annotations

import hashlib
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from ..data.catalogue import open_data
from ..data.dataset import DataSet
from ..errors import ConfigError, TrainingError
from ..storage.atomic import write_json
from ..storage.model_file import SavedModel, load_model, save_model
from ..storage.run_folder import RUNS, RunFolder
from ..training.config import TrainConfig, config_from
from ..training.loop import EpochRecord, TrainingRun
from ..training.resolve import prepare_run, resolved
from ..training.state import flatten_state, unflatten_state
from ..version import __version__
from .opening import choose_device
from .relevance import RelevanceResult, score_model

__all__ = ["Observer", "TrainResult", "train"]

SCHEMA = "ardtool.train/1"
CHECKPOINT_SHARE = 0.1


class Observer(Protocol):
    """What is told about a training run while it lasts."""

    def started(self, run: TrainingRun, folder: Path) -> None:
        """The run is prepared; `run.epoch` epochs are done already."""

    def stepped(self, done: int, steps: int) -> None:
        """A gradient step of the current epoch is done."""

    def epoch_ended(self, record: EpochRecord) -> None:
        """An epoch is done."""

    def noted(self, text: str) -> None:
        """Something the user should know."""


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes:
        run: the run folder.
        seconds: from the first epoch to the last, over all sessions.
        samples_per_second: SGD samples per second inside the step loop.
        known_factors: the true number of factors of the data, or None.
        converged: whether the number of active axes stood still over the last tenth of the epochs.
        repeated: whether this run had finished before and was only read again.
        relevance: every axis.
    """

    run: str
    model: str
    epochs: int
    seconds: float
    samples_per_second: float
    active: int
    active_interval: tuple[int, int]
    known_factors: int | None
    converged: bool
    validation_mse: float
    repeated: bool
    relevance: RelevanceResult

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract `ardtool.train/1`."""
        values = {name: value for name, value in vars(self).items() if name != "relevance"}
        return {"schema": SCHEMA, **values, "active_interval": list(self.active_interval)}


def train(
    config: TrainConfig | None = None,
    *,
    out: Path | None = None,
    data_root: Path | None = None,
    device: str = "auto",
    resume: bool = False,
    force: bool = False,
    observer: Observer | None = None,
    **settings: Any,
) -> TrainResult:
    """Train, save, and score the axes.

    Arguments:
        config: all settings; or give single ones by name: `train(data="sprites", latent=16)`.
        out: the run folder; None for one under `runs/` named after data, method, L and seed.
        data_root: where named data sets lie.
        device: auto, cpu, cuda[:i] or mps.
        resume: continue the unfinished run of these settings.
        force: train again although a run of these settings exists.
        observer: is told about the progress.

    Raises:
        ArdtoolError: with one line that says what to change.
    """
    config = config_from(settings, "train") if config is None else config.validated()
    chosen = choose_device(device)
    data = open_data(config.data, split="train", data_root=data_root, image_size=config.image_size)
    if config.image_size != "auto" and not data.is_images:
        raise ConfigError(f"--image-size is for images; '{data.name}' holds vectors.", "Leave --image-size out.")
    config = resolved(config, data)
    run = prepare_run(config, data, chosen)
    data_hash = data.sha256()
    folder = _folder(config, data, data_hash, out)
    if not force:
        _check_settings(folder, config.to_dict() | {"data_sha256": data_hash})
    if folder.is_finished and not force:
        return replace(_result_of(folder), repeated=True)
    if folder.is_resumable and not force and not resume:
        raise TrainingError(
            f"{folder.path} holds an unfinished run of these settings.", "Continue it with --resume, or start again with --force."
        )
    if folder.is_resumable and resume:
        run.restore(unflatten_state(*folder.read_checkpoint()))
    else:
        folder.clear()
    folder.write_settings(config.to_dict() | {"data_sha256": data_hash})
    if observer is not None:
        for note in data.notes:
            observer.noted(note)
        observer.started(run, folder.path)
    _fit(run, folder, observer)
    return _finish(run, folder, data_hash)


def _fit(run: TrainingRun, folder: RunFolder, observer: Observer | None) -> None:
    """Run the epochs; checkpoints are written after the first, the last, and as often between as costs a tenth of the time."""
    written, cost = 0.0, 0.0

    def after_epoch(record: EpochRecord) -> None:
        nonlocal written, cost
        began = time.perf_counter()
        if began - written >= cost / CHECKPOINT_SHARE or run.epoch == run.epochs:
            tensors, skeleton = flatten_state(run.state())
            folder.write_checkpoint(tensors, skeleton, [each.to_dict() for each in run.history])
            written = time.perf_counter()
            cost = written - began
        if observer is not None:
            observer.epoch_ended(record)

    run.fit(after_epoch, None if observer is None else observer.stepped)


def _finish(run: TrainingRun, folder: RunFolder, data_hash: str) -> TrainResult:
    """Estimate the prior once more, score the axes, write the model and the report."""
    codes = run.final_codes()
    metadata = _metadata(run, data_hash)
    model = SavedModel(run.model, codes, metadata, folder.model, run.data.scaling)
    scores = score_model(model, codes, threshold=run.config.threshold, device=run.device)
    model = replace(model, metadata=metadata | {"relevance": _relevance_record(scores)})
    save_model(model, folder.model)
    write_json(folder.relevance, scores.to_dict())
    folder.finish()
    folder.mark_newest()
    return _result(folder, model, scores)


def _relevance_record(scores: RelevanceResult) -> dict[str, Any]:
    """What the model file keeps of its scores, so that sampling and traversing need not measure them again."""
    shares = {axis.axis: axis.explained for axis in scores.axes}
    return {
        "threshold": scores.threshold,
        "convention": scores.convention,
        "active_axes": scores.active_axes,
        "explained": [shares[axis] for axis in range(scores.latent_dim)],
    }


def _metadata(run: TrainingRun, data_hash: str) -> dict[str, Any]:
    data, last = run.data, run.history[-1]
    return {
        "ardtool_version": __version__,
        "method": run.config.method,
        "settings": run.config.to_dict(),
        "likelihood": {"kind": run.config.likelihood, "beta": last.state.get("beta")},
        "data": {
            "name": data.name,
            "shape": list(data.shape),
            "value_range": None if data.value_range is None else list(data.value_range),
            "standardised": data.scaling is not None,
            "samples": len(data),
            "training_samples": len(run.train),
            "validation_samples": len(run.validation),
            "alpha_samples": run.alpha_size,
            "sha256": data_hash,
            "factor_names": list(data.factor_names),
            "notes": list(data.notes),
        },
        "training": {
            "epochs": run.epoch,
            "seed": run.config.seed,
            "seconds": sum(each.step_seconds + each.prior_seconds + each.validation_seconds for each in run.history),
            "samples_per_second": sum(each.samples for each in run.history) / sum(each.step_seconds for each in run.history),
            "validation": last.validation,
            "active_trace": [[each.epoch, each.active] for each in run.history if each.active is not None],
            "converged": run.has_converged(),
            "device": str(run.device),
            "versions": {"ardtool": __version__, "torch": torch.__version__, "python": platform.python_version()},
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
        "axes": None,
    }


def _result_of(folder: RunFolder) -> TrainResult:
    """The result of a run that has finished before."""
    model = load_model(folder.model)
    assert model.codes is not None, "ardtool's own files hold codes"
    return _result(folder, model, score_model(model, model.codes, threshold=model.metadata["settings"]["threshold"]))


def _result(folder: RunFolder, model: SavedModel, scores: RelevanceResult) -> TrainResult:
    record = model.metadata["training"]
    return TrainResult(
        run=str(folder.path),
        model=str(folder.model),
        epochs=record["epochs"],
        seconds=record["seconds"],
        samples_per_second=record["samples_per_second"],
        active=scores.active,
        active_interval=scores.active_interval,
        known_factors=len(model.metadata["data"]["factor_names"]) or None,
        converged=record["converged"],
        validation_mse=record["validation"]["mse"],
        repeated=False,
        relevance=scores,
    )


def _folder(config: TrainConfig, data: DataSet, data_hash: str, out: Path | None) -> RunFolder:
    """Where a run of these settings on these data lives: the plain name, or one with a hash where the plain one is taken by another."""
    if out is not None:
        return RunFolder(out)
    plain = RunFolder(RUNS / f"{data.name}-{config.method}-L{config.latent}-s{config.seed}")
    settings = config.to_dict() | {"data_sha256": data_hash}
    there = plain.read_settings()
    if there is None or there == settings:
        return plain
    digest = hashlib.sha256((config.fingerprint() + data_hash).encode()).hexdigest()[:8]
    return RunFolder(Path(f"{plain.path}-{digest}"))


def _check_settings(folder: RunFolder, settings: dict[str, Any]) -> None:
    """A run that lives in the folder has the same settings and data.

    Raises:
        TrainingError: naming what differs.
    """
    there = folder.read_settings()
    if there is None or not (folder.is_finished or folder.is_resumable):
        return
    other = [name for name in settings if there.get(name) != settings[name]]
    if other:
        shown = ", ".join("other data" if name == "data_sha256" else f"{name} {there.get(name)}, not {settings[name]}" for name in other)
        raise TrainingError(
            f"{folder.path} holds a run of other settings: {shown}.", "Choose another --out, or replace that run with --force."
        )
