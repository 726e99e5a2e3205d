"""Progress of long measurements on stderr: a live bar in a terminal, else one line for each thing that takes longer than some seconds."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from .rendering import Output

__all__ = ["MeasuringProgress"]

PATIENCE = 10.0  # seconds without a word


class MeasuringProgress:
    """What the command line gives to `commands.evaluate.evaluate` as its progress."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._live: Progress | None = None
        self._text = ""
        self._said = time.monotonic()

    def __enter__(self) -> MeasuringProgress:
        if not self._output.quiet and self._output.stderr.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
            self._live = Progress(*columns, console=self._output.stderr, transient=True, expand=True)
            self._task = self._live.add_task("preparing", total=None)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, text: str, done: int, total: int) -> None:
        if self._live is not None:
            if text != self._text:
                self._live.reset(self._task)
            self._live.update(self._task, description=text, completed=done, total=total or None)
        elif time.monotonic() - self._said >= PATIENCE:
            self._said = time.monotonic()
            self._output.note(Text(f"{text}: {done:,} of {total:,}", "dim"))
        self._text = text
