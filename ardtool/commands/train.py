"""`train`: train a method on data, save a complete model, and report which axes are relevant."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..data.catalogue import open_data
from ..data.dataset import DataSet
from ..errors import ArdtoolError, ConfigError
from ..storage.model_file import SavedModel, load_model, save_model
from ..storage.record import write_record
from ..storage.run_folder import RunFolder
from ..storage.run_lock import held
from ..training.config import CHECKPOINT_MINUTES, TrainConfig, config_from
from ..training.interruption import Interruption
from ..training.loop import EpochRecord, TrainingRun
from ..training.precision import deterministic_algorithms
from ..training.processes import Processes, joined
from ..training.profile import profile as measure
from ..training.resolve import prepare_run, resolved
from .estimation import Request
from .opening import choose_device
from .page import examples_of
from .relevance import RelevanceResult, score_model
from .tensorboard import TensorBoardLog
from .train_checkpoints import Checkpoints
from .train_identity import State, check_identity, folder_of, identity_of, restore, unfinished_state
from .train_record import relevance_record, run_metadata, warnings_of

__all__ = ["Observer", "TrainResult", "train"]

SCHEMA = "ardtool.train/1"


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


class Observers:
    """Several observers, told one after another."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = observers

    def started(self, run: TrainingRun, folder: Path) -> None:
        for each in self.observers:
            each.started(run, folder)

    def stepped(self, done: int, steps: int) -> None:
        for each in self.observers:
            each.stepped(done, steps)

    def epoch_ended(self, record: EpochRecord) -> None:
        for each in self.observers:
            each.epoch_ended(record)

    def noted(self, text: str) -> None:
        for each in self.observers:
            each.noted(text)


@dataclass(frozen=True)
class Options:
    """How a run is begun or continued, apart from its settings; see `train`."""

    out: str | Path | None
    observer: Observer | None
    resume: bool
    force: bool
    allow_changed_data: bool
    checkpoint_minutes: float
    profile: bool

    def tell(self, text: str) -> None:
        if self.observer is not None:
            self.observer.noted(text)


@dataclass(frozen=True, repr=False)
class TrainResult:
    """A finished run.

    Attributes:
        run: the run folder.
        seconds: spent in gradient steps, prior updates and validation, over all sessions.
        samples_per_second: SGD samples per second inside the step loop.
        known_factors: the true number of factors of the data, or None.
        converged: whether the number of active axes stood still over the last tenth of the epochs.
        validation_mse: mean squared error per output of the last epoch on the validation data, decoding sampled codes.
        own_count: the method's own notion of active axes (`notion`, `axes`, `constraint_met`, `reason`), or None where it has none.
        warnings: why the numbers may not be what was asked for, one sentence each.
        repeated: whether this run had finished before and was only read again.
        profile: where the time went, where that was asked for (`training/profile.py`).
        relevance: every axis.
        examples: a few samples of the validation data, as the model takes them, for a report; not in the JSON.
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
    own_count: dict[str, Any] | None
    warnings: tuple[str, ...]
    repeated: bool
    relevance: RelevanceResult
    profile: dict[str, Any] | None = None
    examples: Tensor | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        low, high = self.active_interval
        axes = f"{self.active} of {self.relevance.latent_dim} latent axes relevant, 95 % interval {low}–{high}"
        return f"<TrainResult: {axes}, validation MSE {self.validation_mse:.3g}, {self.epochs} epochs; {self.run}>"

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract `ardtool.train/1`."""
        values = {name: value for name, value in vars(self).items() if name not in ("relevance", "examples")}
        return {"schema": SCHEMA, **{name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}}


def train(
    config: TrainConfig | None = None,
    *,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    resume: bool = False,
    force: bool = False,
    cache: bool = True,
    skip_bad: bool = False,
    allow_changed_data: bool = False,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    profile: bool = False,
    deterministic: bool = False,
    tensorboard: bool = False,
    observer: Observer | None = None,
    **settings: Any,
) -> TrainResult:
    """Train, save, and score the axes; under `torchrun` with all processes together, of which the first writes the run folder.

    In the main thread of a single process SIGINT and SIGTERM let the step be finished and the run be saved before they end it.

    Arguments:
        config: all settings.
        settings: or single ones by name: `train(data="sprites", latent=16)`; those of `TrainConfig`. Options of a method by group,
            `rae={"variant": "gp"}`, or by dotted name, `options={"rae.variant": "gp"}`.
        out: the run folder; None for one under `runs/` named after data, method, L and seed.
        data_root: where named data sets lie.
        device: auto, cpu, cuda[:i] or mps; of several processes each takes a GPU of its own.
        resume: continue the unfinished run of these settings.
        force: train again although a run of these settings exists.
        cache: read images that were decoded before from the cache, and keep them there.
        skip_bad: leave out images of a folder or archive that cannot be decoded, instead of stopping.
        allow_changed_data: continue an unfinished run although its data are no longer those it began with.
        checkpoint_minutes: between checkpoints within an epoch; there is one after each epoch, too.
        profile: measure how near the steps come to what the hardware can do, after the last epoch.
        tensorboard: log every epoch for TensorBoard, in the run folder.
        deterministic: use only algorithms that give the same result each time; a GPU has others, that are faster.
        observer: is told about the progress, in each process.

    Raises:
        ArdtoolError: with one line that says what to change.
        ProcessEnded: another of several processes is gone; the run can be continued.
        Interrupted: a `KeyboardInterrupt`: a signal told the run to stop, and it is saved.
    """
    if config is not None and settings:
        raise ConfigError(f"Both a configuration and single settings were given: {', '.join(settings)}.", "Give one of them.")
    config = config_from(settings, "train") if config is None else config.validated()
    if not checkpoint_minutes > 0:
        raise ConfigError(
            f"--checkpoint-minutes is {checkpoint_minutes:g}; expected more than 0.", f"The default is {CHECKPOINT_MINUTES:g}."
        )
    log = TensorBoardLog() if tensorboard else None
    if log is not None:
        observer = log if observer is None else Observers([observer, log])
    tell = observer.noted if observer is not None else lambda text: None
    reading: dict[str, Any] = {"data_root": data_root, "cache": cache, "skip_bad": skip_bad, "tell": tell}
    with deterministic_algorithms(deterministic), nullcontext() if log is None else closing(log), joined(device) as processes:
        chosen = choose_device(processes.device)
        data = processes.in_turn(lambda: open_data(config.data, split="train", image_size=config.image_size, **reading))
        run = _prepared(config, data, chosen, processes)
        options = Options(out, observer, resume, force, allow_changed_data, checkpoint_minutes, profile)
        return _trained(run, identity_of(run.config, data), options)


def _prepared(config: TrainConfig, data: DataSet, device: torch.device, processes: Processes) -> TrainingRun:
    """The run at epoch 0."""
    if config.image_size != "auto" and not data.is_images:
        raise ConfigError(f"--image-size is for images; '{data.name}' holds vectors.", "Leave --image-size out.")
    return prepare_run(resolved(config, data), data, device, processes)


def _trained(run: TrainingRun, identity: dict[str, Any], options: Options) -> TrainResult:
    """Begin, continue or repeat the run."""
    run.processes.agree(identity)
    run.tell = options.tell
    with ExitStack() as until_done:
        interruption = until_done.enter_context(Interruption()) if run.processes.size == 1 else Interruption()
        folder, found = run.processes.on_first(lambda: _found(run, identity, options, until_done))
        if isinstance(found, TrainResult):
            return replace(found, examples=examples_of(run.data, run.validation))
        if found is not None:
            restore(run, folder, found)
        for note in run.data.notes:
            options.tell(note)
        if options.observer is not None:
            options.observer.started(run, folder.path)
        epochs_before = run.epoch
        with interruption.waiting():
            _fit(run, Checkpoints(run, folder, identity, options.checkpoint_minutes, interruption, options.tell), options.observer)
        measured = measure(run, run.history[epochs_before:]) if options.profile and run.epoch > epochs_before else None
        return replace(_finish(run, folder, identity), profile=measured, examples=examples_of(run.data, run.validation))


def _found(
    run: TrainingRun, identity: dict[str, Any], options: Options, until_done: ExitStack
) -> tuple[RunFolder, TrainResult | State | None]:
    """The folder of the run, held by this process until it is done, and what is there: the result, a state to go on from, or nothing."""
    out, force = options.out, options.force
    folder = RunFolder(Path(out)) if out is not None else folder_of(run.config, run.data, identity, resume=options.resume)
    if folder.is_finished and not folder.is_resumable and not force:
        if folder.resume.exists():  # its process was killed in its last act, or is in it
            with suppress(ArdtoolError), held(folder.resume, options.tell):
                folder.forget_lock()
        return folder, _result_again(folder, identity)
    until_done.enter_context(held(folder.resume, options.tell))
    until_done.callback(folder.forget_lock)
    folder.forget_leftovers()
    if force:
        folder.forget_unfinished()
    elif folder.is_resumable:
        allowed = options.allow_changed_data
        return folder, unfinished_state(folder, identity, options.tell, resume=options.resume, allow_changed_data=allowed)
    elif folder.is_finished:  # by whoever held it a moment ago
        return folder, _result_again(folder, identity)
    elif options.resume:
        options.tell(f"{folder.path} holds no unfinished run of these settings; starting with the first epoch")
    return folder, None


def _result_again(folder: RunFolder, identity: dict[str, Any]) -> TrainResult:
    """The result of a run that has finished before."""
    model = load_model(folder.model)
    check_identity(folder, model.metadata.get("identity", {}), identity)
    assert model.codes is not None, "ardtool's own files hold codes"
    scores = score_model(model, model.codes, Request(threshold=model.metadata["settings"]["threshold"]))
    return replace(_result(folder, model, scores), repeated=True)


def _fit(run: TrainingRun, checkpoints: Checkpoints, observer: Observer | None) -> None:
    """Run the epochs, with their checkpoints."""

    def after_epoch(record: EpochRecord) -> None:
        checkpoints.epoch_ended()
        if observer is not None:
            observer.epoch_ended(record)
        checkpoints.stop_if_asked()

    after_step = None if observer is None else observer.stepped
    run.fit(after_epoch, after_step, is_save_due=checkpoints.is_due, save=checkpoints.save)


def _finish(run: TrainingRun, folder: RunFolder, identity: dict[str, Any]) -> TrainResult:
    """Estimate the prior once more, score the axes, write the model and what goes with it; the unfinished state goes last."""
    run.finish()
    codes = run.final_codes()
    metadata = run_metadata(run, identity)
    model = SavedModel(run.model, codes, metadata, folder.model, run.data.scaling)
    scores = score_model(model, codes, Request(threshold=run.config.threshold, device=run.device, processes=run.processes))
    model = replace(model, metadata=metadata | {"relevance": relevance_record(scores)})
    if run.processes.is_first:
        folder.forget_pictures()
        save_model(model, folder.model)
        folder.write_settings(run.config.to_dict())
        folder.write_history([each.to_dict() for each in run.history])
        write_record(folder.relevance, scores.to_dict())
        folder.mark_newest()
        folder.forget_unfinished()
    return _result(folder, model, scores)


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
        own_count=model.metadata.get("own_count"),
        warnings=warnings_of(model.metadata["settings"], record),
        repeated=False,
        relevance=scores,
    )
