"""When a training run is saved: after its epochs, every few minutes in between, and when it is told to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from ..errors import StorageError
from ..storage.run_folder import RunFolder
from ..training.interruption import Interrupted, Interruption
from ..training.loop import TrainingRun
from ..training.state import flatten_state

__all__ = ["Checkpoints"]

SECONDS, SHARE = 1.0, 0.01


class Checkpoints:
    """Writes the checkpoints of a run.

    After each epoch one is due, but no two within a second, and not more than a hundredth of the time: vectors have hundreds of epochs a
    minute, and a checkpoint holds the record of each. Within an epoch one is due `minutes` after the last. A checkpoint that cannot be
    written ends the run only if there is none to go back to.

    Arguments:
        run, folder, identity: what is saved, and where.
        minutes: between checkpoints within an epoch.
        interruption: tells whether the run is to stop.
        tell: is told where a checkpoint cannot be written.
    """

    def __init__(
        self,
        run: TrainingRun,
        folder: RunFolder,
        identity: dict[str, Any],
        minutes: float,
        interruption: Interruption,
        tell: Callable[[str], None],
    ) -> None:
        self._run, self._folder, self._identity = run, folder, identity
        self._seconds, self._interruption, self._tell = 60 * minutes, interruption, tell
        self._epoch_due, self._due = -math.inf, time.monotonic() + self._seconds

    def is_due(self) -> bool:
        """Whether to save in the middle of an epoch."""
        return self._interruption.requested is not None or time.monotonic() >= self._due

    def save(self) -> None:
        """Save in the middle of an epoch; end the run if that was asked for."""
        self._write()
        self.stop_if_asked()

    def epoch_ended(self) -> None:
        """Save after an epoch if it is time to, if this was the last one, or if the run is to end."""
        run, asked = self._run, self._interruption.requested is not None
        if time.monotonic() >= self._epoch_due or run.epoch == run.epochs or asked:
            self._write()

    def stop_if_asked(self) -> None:
        """End the run if that was asked for; to be called when it is saved."""
        if self._interruption.requested is not None:
            raise Interrupted(self._interruption.requested)

    def _write(self) -> None:
        began = time.monotonic()
        if self._run.processes.is_first:
            tensors, skeleton = flatten_state(self._run.state())
            record = {"state": skeleton, "settings": self._run.config.to_dict(), "identity": self._identity}
            try:
                self._folder.write_checkpoint(tensors, record)
                self._folder.write_history([each.to_dict() for each in self._run.history])
            except StorageError as error:
                if not self._folder.is_resumable:
                    raise
                self._tell(f"{error.message} Training goes on; the checkpoint before it is kept.")
        ended = time.monotonic()
        self._epoch_due = ended + max(SECONDS, (ended - began) / SHARE)
        self._due = ended + max(self._seconds, (ended - began) / SHARE)
