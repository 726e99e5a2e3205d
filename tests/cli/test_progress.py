"""The live line of training in a terminal."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ardtool.cli.progress import TrainingProgress
from ardtool.cli.train import again_options
from ardtool.storage.run_folder import RunFolder


def shown_after(steps_per_epoch: int) -> list[dict[str, Any]]:
    """What the live line is told in the second epoch of three."""
    told: list[dict[str, Any]] = []
    progress = TrainingProgress(SimpleNamespace())  # pyright: ignore[reportArgumentType]
    progress._run = SimpleNamespace(epoch=1, epochs=3, batch_size=10)  # pyright: ignore[reportAttributeAccessIssue]
    progress._live = SimpleNamespace(update=lambda task, **values: told.append(values))  # pyright: ignore[reportAttributeAccessIssue]
    progress._losses = "loss 2"
    progress._task = 0  # pyright: ignore[reportAttributeAccessIssue]
    progress._shown = float("inf")  # as if the line had been drawn just now: only the last step of an epoch is shown
    for done in range(1, steps_per_epoch + 1):
        progress.stepped(done, steps_per_epoch)
    return told


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [
        ("auto", {"data_root": None, "skip_bad": False, "deterministic": False, "tensorboard": False, "checkpoint_minutes": 10.0}, ""),
        (
            "cpu",
            {"data_root": Path("d"), "skip_bad": True, "deterministic": True, "tensorboard": False, "checkpoint_minutes": 0.5},
            " --data-root d --skip-bad --deterministic --device cpu --checkpoint-minutes 0.5",
        ),
    ],
)
def test_what_continues_a_run_reads_and_computes_as_before(tmp_path, monkeypatch, device, options, expected):
    monkeypatch.chdir(tmp_path)
    RunFolder(Path("k")).write_checkpoint({"x": torch.zeros(1)}, {"state": {}, "settings": {}, "identity": {}})
    progress = TrainingProgress(SimpleNamespace(), again_options(device, options))  # pyright: ignore[reportArgumentType]
    progress._run, progress._folder = SimpleNamespace(epoch=1, epochs=3, partial=None), Path("k")  # pyright: ignore[reportAttributeAccessIssue]
    assert progress.interrupted() == f"Interrupted in epoch 2 of 3; continue with: ardtool train --resume --out k{expected}"


def test_the_line_moves_where_an_epoch_has_a_single_step():
    (line,) = shown_after(1)
    assert (line["completed"], line["total"]) == (2, 3)
    assert line["numbers"] == "loss 2", "one step alone has no speed"


def test_the_last_step_of_an_epoch_is_always_shown_with_its_speed():
    line = shown_after(4)[-1]
    assert (line["completed"], line["total"]) == (8, 12)
    assert re.fullmatch(r"loss 2 · [\d,.e]+ samples/s", line["numbers"])
