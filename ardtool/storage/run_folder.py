"""Run folders: `runs/<data>-<method>-L<latent>-s<seed>[-<hash>]/` with everything that one training run leaves behind.

    model.safetensors   the finished model, complete in itself
    config.yaml         resolved settings; `ardtool train --config` takes it
    history.jsonl       one line an epoch
    relevance.json      and the pictures
    resume/             the state after the last epoch; removed as the last act of training

A folder with resume/ is unfinished, whatever else it holds: an older model that `--force` is about to replace, or a new one whose last
files were still being written. `--resume` completes both.

`runs/latest` holds the name of the newest run.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelFileError
from .atomic import write_atomically, write_text

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RUNS", "RunFolder", "newest_model", "run_named_by"]

RUNS = Path("runs")
LATEST = "latest"
RECORD = "run"


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

    def write_history(self, history: list[dict[str, Any]]) -> None:
        """Write history.jsonl, one line an epoch."""
        write_text(self.history, "".join(json.dumps(record) + "\n" for record in history))

    def write_checkpoint(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        """Write the state after an epoch.

        Arguments:
            tensors: all tensors of the state by name.
            record: the rest, as JSON: `state` (the skeleton), `settings` and `identity` of the run.
        """
        from safetensors.torch import save_file

        header = {RECORD: json.dumps(record)}
        write_atomically(self.checkpoint, lambda aside: save_file(tensors, aside, metadata=header))

    def checkpoint_record(self) -> dict[str, Any]:
        """What `write_checkpoint` recorded, without the tensors.

        Raises:
            ModelFileError: the file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.checkpoint, framework="pt") as file:
                record = json.loads(file.metadata()[RECORD])
                return {name: record[name] for name in ("state", "settings", "identity")}
        except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            raise self.damaged(error) from error

    def checkpoint_tensors(self) -> dict[str, Tensor]:
        """The tensors of the state.

        Raises:
            ModelFileError: the file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(self.checkpoint)
        except (SafetensorError, OSError, ValueError) as error:
            raise self.damaged(error) from error

    def damaged(self, error: Exception) -> ModelFileError:
        """The error that says this run cannot be continued."""
        what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return ModelFileError(f"{self.checkpoint} is damaged ({what}).", "Start again with --force.")

    def forget_unfinished(self) -> None:
        """Remove what only an unfinished run needs."""
        shutil.rmtree(self.path / "resume", ignore_errors=True)

    def forget_pictures(self) -> None:
        """Remove pictures and metrics of a former model that lived here."""
        for name in ("scree.png", "history.png", "traversal.png", "samples.png", "metrics.json"):
            (self.path / name).unlink(missing_ok=True)

    def mark_newest(self) -> None:
        """Let `runs/latest` name this run, if it lives under `runs/`."""
        if self.path.parent.resolve() == RUNS.resolve():
            write_text(RUNS / LATEST, self.path.name + "\n")


def run_named_by(path: Path) -> Path | None:
    """The run folder that a file such as `runs/latest` names; None for every other path, as in `runs/*`."""
    try:
        folder = path.parent / path.read_text().strip() if path.name == LATEST and path.is_file() else None
    except (OSError, ValueError):
        return None
    return folder if folder is not None and folder.is_dir() else None


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
