"""Training progress on stderr: a live line in a terminal, else plain lines, about thirty of them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from ..errors import ArdtoolError
from ..storage.run_folder import RunFolder
from ..training.processes import ProcessEnded
from .processes import command_again
from .rendering import Output, counted, number

if TYPE_CHECKING:
    from ..training.loop import EpochRecord, TrainingRun

__all__ = ["TrainingProgress"]

MOST_LINES = 30
REFRESH = 0.1  # seconds


class TrainingProgress:
    """The observer that the command line gives to `commands.train.train`."""

    def __init__(self, output: Output, again: Sequence[str] = ()) -> None:
        """Where to print, and the options of the command that continues the run."""
        self._output = output
        self._again = again
        self._live: Progress | None = None
        self._run: TrainingRun | None = None
        self._folder: Path | None = None
        self._first_epoch = 0
        self._losses = ""
        self._active: int | None = None
        self._epoch_began: float | None = None
        self._first_step = 0
        self._shown = 0.0

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def interrupted(self) -> str:
        """What to say after Ctrl-C."""
        if (again := self._again_command()) is None:
            return "Interrupted before anything was saved; start again."
        assert self._run is not None
        return f"Interrupted {_where(self._run)}; continue with: {again}"

    def failed(self, error: ArdtoolError) -> ArdtoolError:
        """The error that ends a run, with the command that continues it where something of it was saved."""
        self.stop()
        if self._run is None or (again := self._again_command()) is None:
            return error
        return type(error)(error.message, f"{error.hint} To go on from the last checkpoint: {again}".strip())

    def _again_command(self) -> str | None:
        """The command that continues the run; None where nothing of it was saved."""
        if self._run is None or self._folder is None or not RunFolder(self._folder).is_resumable:
            return None
        return command_again(self._folder, *self._again)

    def lost(self, error: ProcessEnded) -> ProcessEnded:
        """What to say where several processes end: who ended, where the run stopped and how to continue."""
        self.stop()
        message = error.message.rstrip(".")
        if self._run is None or self._folder is None or not self._run.epoch:
            return ProcessEnded(f"{message} before the first epoch was done.", "Start again.")
        return ProcessEnded(
            f"{message}; the run stopped {_where(self._run)}.", f"Continue with: {command_again(self._folder, *self._again)}"
        )

    def started(self, run: TrainingRun, folder: Path) -> None:
        self._run, self._folder, self._first_epoch = run, folder, run.epoch
        for label, text in _description(run, folder).items():
            self._output.note(Text.assemble((f"{label:<6}", "dim"), text))
        if run.epoch or run.partial is not None:
            steps = "" if run.partial is None else f" and {counted(run.partial.steps, 'step')} of the next"
            self._output.note(Text.assemble((f"{'':<6}", "dim"), f"continuing after epoch {run.epoch} of {run.epochs}{steps}"))
        self._output.note()
        if not self._output.quiet and self._output.stderr.is_terminal:
            columns = (
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                BarColumn(None, complete_style="green", finished_style="green", table_column=Column(ratio=1)),
                _Left(table_column=Column(no_wrap=True)),
                _Numbers(table_column=Column(no_wrap=True)),
            )
            self._live = Progress(*columns, console=self._output.stderr, transient=True, expand=True)
            self._task = self._live.add_task(self._epoch_text(), total=None, numbers="", epochs_left=None)
            self._live.start()

    def stepped(self, done: int, steps: int) -> None:
        if self._live is None or self._run is None:
            return
        now = time.perf_counter()
        if self._epoch_began is None:
            self._epoch_began, self._first_step = now, done
        if now - self._shown >= REFRESH or done == steps:
            self._shown = now
            since = done - self._first_step
            speed = f"{number(since * self._run.batch_size / max(now - self._epoch_began, 1e-9))} samples/s" if since else ""
            completed = (self._run.epoch - self._first_epoch) * steps + done
            total = (self._run.epochs - self._first_epoch) * steps
            numbers = " · ".join(filter(None, (self._losses, speed)))
            self._live.update(self._task, description=self._epoch_text(), completed=completed, total=total, numbers=numbers)

    def epoch_ended(self, record: EpochRecord) -> None:
        self._epoch_began = None
        self._losses = f"loss {number(record.training['loss'])} · val MSE {number(record.validation['mse'])}"
        self._active = self._active if record.active is None else record.active
        if self._active is not None:
            self._losses += f" · {self._active} relevant"
        if self._live is not None or self._run is None:
            return
        last, every = self._run.epochs, math.ceil(self._run.epochs / MOST_LINES)
        if record.epoch % every == 0 or record.epoch in (self._first_epoch + 1, last):
            speed = number(record.samples / max(record.step_seconds, 1e-9))
            self._output.note(f"epoch {record.epoch:>{len(str(last))}}/{last}  {self._losses} · {speed} samples/s")

    def noted(self, text: str) -> None:
        self._output.note(Text.assemble((f"{'note':<6}", "dim"), text))

    def _epoch_text(self) -> str:
        assert self._run is not None
        return f"epoch {min(self._run.epoch + 1, self._run.epochs)}/{self._run.epochs}"


def _where(run: TrainingRun) -> str:
    steps = "" if run.partial is None else f" after {counted(run.partial.steps, 'step')}"
    return f"in epoch {min(run.epoch + 1, run.epochs)} of {run.epochs}{steps}"


class _Left(ProgressColumn):
    """Time left, from the mean speed so far."""

    def render(self, task: Task) -> Text:
        if not task.total or not task.completed or task.elapsed is None:
            return Text("")
        seconds = math.ceil(task.elapsed * (task.total - task.completed) / task.completed)
        hours, minutes = seconds // 3600, seconds % 3600 // 60
        text = f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
        return Text(f"{text} left", "dim")


class _Numbers(ProgressColumn):
    """Losses and speed."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["numbers"], "dim")


def _description(run: TrainingRun, folder: Path) -> dict[str, str]:
    """What is about to be trained, by label."""
    config = run.config
    alpha = f" ({run.alpha_size:,} of them in X_α)" if run.alpha_size else ""
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    beta = "" if config.beta is None else f" · β {config.beta if isinstance(config.beta, str) else f'{config.beta:g}'}"
    steered = "" if config.target_mse is None else f", steered to MSE {config.target_mse:g}"
    if config.beta_warmup:
        steered = f", rising to it over the first {100 * config.beta_warmup:g} % of the epochs"
    name = run.model.record.get("name", config.arch)
    several = f" · {run.processes.size} processes" if run.processes.size > 1 else ""
    return {
        "data": f"{run.data.name}: {len(run.train):,} training samples{alpha}, {len(run.validation):,} for validation",
        "model": f"{config.method} · {name} network · {config.latent:,} latent axes · {parameters:,} parameters",
        "fit": f"{counted(run.epochs, 'epoch')} · batches of {run.batch_size:,}{beta}{steered} · on {run.device}{several}",
        "run": str(folder),
    }
