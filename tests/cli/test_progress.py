"""The live line of training in a terminal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ardtool.cli.progress import TrainingProgress


def shown_after(steps_per_epoch: int) -> list[dict[str, Any]]:
    """What the live line is told in the second epoch of three."""
    told: list[dict[str, Any]] = []
    progress = TrainingProgress(SimpleNamespace())  # pyright: ignore[reportArgumentType]
    progress._run = SimpleNamespace(epoch=1, epochs=3, batch_size=10)  # pyright: ignore[reportAttributeAccessIssue]
    progress._live = SimpleNamespace(update=lambda task, **values: told.append(values))  # pyright: ignore[reportAttributeAccessIssue]
    progress._task = 0  # pyright: ignore[reportAttributeAccessIssue]
    progress._shown = float("inf")  # as if the line had been drawn just now: only the last step of an epoch is shown
    for done in range(1, steps_per_epoch + 1):
        progress.stepped(done, steps_per_epoch)
    return told


def test_the_line_moves_where_an_epoch_has_a_single_step():
    (line,) = shown_after(1)
    assert (line["completed"], line["total"]) == (2, 3)
    assert "samples/s" not in line["numbers"], "one step alone has no speed"


def test_the_last_step_of_an_epoch_is_always_shown_with_its_speed():
    line = shown_after(4)[-1]
    assert (line["completed"], line["total"]) == (8, 12)
    assert line["numbers"].endswith("samples/s")
