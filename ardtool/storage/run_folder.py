"""Run folders: `runs/<data>-<method>-L<latent>-s<seed>[-<hash>]/` with everything that one training run leaves behind.

    model.safetensors   the finished model, complete in itself
    config.yaml         resolved settings; `ardtool train --config` takes it
    history.jsonl       one line an epoch
    relevance.json      and the pictures
    resume/             the state after the last epoch; removed when training has finished

`runs/latest` holds the name of the newest run.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import ModelFileError
from .atomic import write_atomically, write_text

__all__ = ["RUNS", "RunFolder", "newest_model"]

RUNS = Path("runs")
LATEST = "latest"


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def relevance(self) -> Path:
        return self.path / "relevance.json"

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.path / "resume" / "state.safetensors"

    @property
    def is_finished(self) -> bool:
        return self.model.exists()

    @property
    def is_resumable(self) -> bool:
        return self.checkpoint.exists()

    def write_settings(self, settings: dict[str, Any]) -> None:
        """Write config.yaml."""
        import yaml

        write_text(self.config, yaml.safe_dump(settings, sort_keys=False))

    def read_settings(self) -> dict[str, Any] | None:
        """The settings of the run that lives here, or None."""
        import yaml

        try:
            settings = yaml.safe_load(self.config.read_text())
        except (OSError, yaml.YAMLError):
            return None
        return settings if isinstance(settings, dict) else None

    def write_checkpoint(self, tensors: dict[str, Tensor], skeleton: Any, history: list[dict[str, Any]]) -> None:
        """Write the state after an epoch and the history up to it."""
        header = {"state": json.dumps(skeleton)}
        write_atomically(self.checkpoint, lambda aside: save_file(tensors, aside, metadata=header))
        write_text(self.history, "".join(json.dumps(record) + "\n" for record in history))

    def read_checkpoint(self) -> tuple[dict[str, Tensor], Any]:
        """The tensors and the skeleton that `write_checkpoint` wrote.

        Raises:
            ModelFileError: the file is damaged.
        """
        try:
            with safe_open(self.checkpoint, framework="pt") as file:
                skeleton = json.loads(file.metadata()["state"])
                return {name: file.get_tensor(name) for name in file.keys()}, skeleton  # noqa: SIM118 (not a mapping)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ModelFileError(f"{self.checkpoint} is damaged: {error}.", "Start again with --force.") from error

    def clear(self) -> None:
        """Forget a former run that lived here."""
        for path in (self.model, self.relevance, self.history):
            path.unlink(missing_ok=True)
        self.finish()

    def finish(self) -> None:
        """Remove what only an unfinished run needs."""
        shutil.rmtree(self.path / "resume", ignore_errors=True)

    def mark_newest(self) -> None:
        """Let `runs/latest` name this run, if it lives under `runs/`."""
        if self.path.parent.resolve() == RUNS.resolve():
            write_text(RUNS / LATEST, self.path.name + "\n")


def newest_model(runs: Path = RUNS) -> Path:
    """The model of the newest finished run.

    Raises:
        ModelFileError: there is none.
    """
    try:
        newest = RunFolder(runs / (runs / LATEST).read_text().strip())
        if newest.is_finished:
            return newest.model
    except OSError:
        pass
    finished = sorted(runs.glob("*/model.safetensors"), key=lambda path: path.stat().st_mtime)
    if not finished:
        raise ModelFileError(
            f"No model was given and {runs}/ holds no finished run.", "Train one with `ardtool train`, or give a model file."
        )
    return finished[-1]
