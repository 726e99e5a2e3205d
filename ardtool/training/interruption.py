"""Stopping a run when the system asks for it: the step is finished, the state saved, and only then the run ends.

The first SIGINT (Ctrl-C) or SIGTERM leaves a note that the loop reads between steps. The second one ends the run wherever it is, as the
first does while no steps are made: every file is written aside and renamed, so nothing is half written then either.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupted", "Interruption"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A run was told to stop.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interruption:
    """Takes the signals for as long as the context lasts, in the main thread; elsewhere whoever has them keeps them.

    Attributes:
        requested: the signal that came while the loop was at work, or None.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self._waits = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._received) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, the first signal is only noted: who looks at `requested` promises to end soon."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self._waits and self.requested is None:
            self.requested = number
            return
        raise Interrupted(number)
