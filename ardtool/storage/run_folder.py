"""Run folders: `runs/<data>-<method>-L<latent>-s<seed>[-<hash>]/` with everything that one training run leaves behind.

    model.safetensors   the finished model, complete in itself
    config.yaml         resolved settings; `ardtool train --config` takes it
    history.jsonl       one line an epoch
    relevance.json, report.html and the pictures
    resume/             removed as the last act of training; until then
        state.safetensors     where the run stands
        previous.safetensors  where it stood one checkpoint earlier, for when that file is damaged
        lock, holder.json     of the process that trains

A folder with such a state is unfinished, whatever else it holds: an older model that `--force` is about to replace, or a new one whose last
files were still being written. `--resume` completes both.

`runs/latest` holds the name of the newest run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ModelFileError
from .atomic import forget_leftovers, write_atomically, write_text

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RUNS", "RunFolder", "damaged", "newest_model", "run_named_by"]

T = TypeVar("T")

RUNS = Path("runs")
LATEST = "latest"
PICTURES = ("report.html", "scree.png", "history.png", "traversal.png", "samples.png", "metrics.json")
FILES = ("model.safetensors", "config.yaml", "history.jsonl", "relevance.json", *PICTURES)
RECORD, DIGEST = "run", "sha256"
PARTS = ("state", "settings", "identity")


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
    def page(self) -> Path:
        return self.path / "report.html"

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def resume(self) -> Path:
        return self.path / "resume"

    @property
    def checkpoint(self) -> Path:
        return self.resume / "state.safetensors"

    @property
    def checkpoint_before(self) -> Path:
        return self.resume / "previous.safetensors"

    @property
    def is_finished(self) -> bool:
        return self.model.exists()

    @property
    def is_resumable(self) -> bool:
        return bool(self._checkpoints())

    def write_settings(self, settings: dict[str, Any]) -> None:
        """Write config.yaml."""
        import yaml

        write_text(self.config, yaml.safe_dump(settings, sort_keys=False))

    def write_history(self, history: list[dict[str, Any]]) -> None:
        """Write history.jsonl, one line an epoch."""
        write_text(self.history, "".join(json.dumps(record) + "\n" for record in history))

    def write_checkpoint(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        """Write where the run stands; the checkpoint before stays beside it.

        Arguments:
            tensors: all tensors of the state by name.
            record: the rest, as JSON: `state` (the skeleton), `settings` and `identity` of the run.
        """
        from safetensors.torch import save_file

        from .digest import content_hash

        text = json.dumps(record)
        header = {RECORD: text, DIGEST: content_hash(tensors, text)}
        write_atomically(self.checkpoint, lambda aside: save_file(tensors, aside, metadata=header), keep=self.checkpoint_before)

    def checkpoint_record(self) -> dict[str, Any]:
        """What `write_checkpoint` recorded last, without the tensors.

        Raises:
            ModelFileError: no checkpoint can be read.
        """
        return self._newest(lambda path: _read_record(path)[0], lambda text: None)

    def checkpoint_state(self, tell: Callable[[str], None]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors and the record of the newest checkpoint that is whole.

        Arguments:
            tell: is told where the newest one is damaged and the one before is taken.

        Raises:
            ModelFileError: none is whole.
        """
        return self._newest(_read_state, tell)

    def _checkpoints(self) -> list[Path]:
        return [path for path in (self.checkpoint, self.checkpoint_before) if path.exists()]

    def _newest(self, read: Callable[[Path], T], tell: Callable[[str], None]) -> T:
        """What `read` gives for the newest checkpoint for which it does not fail."""
        from safetensors import SafetensorError

        problem: ModelFileError | None = None
        for path in self._checkpoints():
            try:
                value = read(path)
            except (SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError) as error:
                problem = problem or damaged(path, error)
                continue
            if problem is not None:
                tell(f"{problem.message} Going on from the checkpoint before it.")
            return value
        raise problem or damaged(self.checkpoint, FileNotFoundError("no such file"))

    def forget_unfinished(self) -> None:
        """Remove what only an unfinished run needs; the lock stays as long as it is held."""
        for path in (self.checkpoint, self.checkpoint_before):
            path.unlink(missing_ok=True)

    def forget_lock(self) -> None:
        """Remove the folder that held it, if nothing else is there: the last act of a run that is finished."""
        if not self.is_resumable:
            shutil.rmtree(self.resume, ignore_errors=True)

    def forget_leftovers(self) -> None:
        """Remove what a writer that was killed left beside its files."""
        for path in (self.checkpoint, *(self.path / name for name in FILES)):
            forget_leftovers(path)

    def forget_pictures(self) -> None:
        """Remove pictures and metrics of a former model that lived here."""
        for name in PICTURES:
            (self.path / name).unlink(missing_ok=True)

    def mark_newest(self) -> None:
        """Let `runs/latest` name this run, if it lives under `runs/`."""
        if self.path.parent.resolve() == RUNS.resolve():
            write_text(RUNS / LATEST, self.path.name + "\n")


def damaged(path: Path, error: Exception) -> ModelFileError:
    """The error that says a run cannot be continued from this checkpoint."""
    what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return ModelFileError(f"{path} is damaged ({what}).", "Start again with --force.")


def _read_record(path: Path) -> tuple[dict[str, Any], str, str]:
    """Record, the same as text, and hash of a checkpoint."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    record = json.loads(header[RECORD])
    if not all(isinstance(record[name], dict) for name in PARTS):
        raise ValueError("its record is incomplete")
    return {name: record[name] for name in PARTS}, header[RECORD], header[DIGEST]


def _read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and record of a checkpoint that is as it was written."""
    from safetensors.torch import load_file

    from .digest import content_hash

    record, text, digest = _read_record(path)
    tensors = load_file(path)
    if content_hash(tensors, text) != digest:
        raise ValueError("its content is not what was written")
    return tensors, record


def run_named_by(path: Path) -> Path | None:
    """The run folder that a file such as `runs/latest` names; None for every other path, as in `runs/*`."""
    try:
        if path.name != LATEST or not path.is_file():
            return None
        folder = path.parent / _name(path.read_text())
        return folder if folder.is_dir() else None
    except (OSError, ValueError):
        return None


def _name(text: str) -> str:
    """The name of a folder beside the file that names it; raises `ValueError` for a path that leads elsewhere."""
    name = text.strip()
    if not name or name in (".", "..") or "/" in name or "\\" in name:
        raise ValueError("no name of a run")
    return name


def newest_model(runs: Path = RUNS) -> Path:
    """The model of the newest finished run.

    Raises:
        ModelFileError: there is none.
    """
    try:
        newest = RunFolder(runs / _name((runs / LATEST).read_text()))
        if newest.is_finished:
            return newest.model
    except (OSError, ValueError):
        pass
    finished = sorted(runs.glob("*/model.safetensors"), key=lambda path: path.stat().st_mtime)
    if not finished:
        raise ModelFileError(
            f"No model was given and {runs}/ holds no finished run.", "Train one with `ardtool train`, or give a model file."
        )
    return finished[-1]
