"""Which run a folder holds: a run is told from others by its settings and its data, and continued or read again only as itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from ..data.dataset import DataSet
from ..errors import ModelFileError, TrainingError
from ..storage.header import read_metadata
from ..storage.run_folder import RUNS, RunFolder, damaged
from ..training.config import TrainConfig
from ..training.loop import TrainingRun
from ..training.state import unflatten_state

__all__ = ["State", "check_identity", "folder_of", "identity_of", "restore", "unfinished_state"]

State = tuple[dict[str, Tensor], Any]


def identity_of(config: TrainConfig, data: DataSet) -> dict[str, Any]:
    """What makes a run this run: all settings but how its steps are run, and the content of the data instead of their path."""
    settings = {name: value for name, value in config.to_dict().items() if name != "compile"}
    return settings | {"data": data.name, "data_sha256": data.sha256()}


def folder_of(config: TrainConfig, data: DataSet, identity: dict[str, Any], *, resume: bool) -> RunFolder:
    """Where a run lives under `runs/`: the plain name, or one with a hash where the plain one is taken by another run.

    An unfinished run that is to be continued is found although its data have changed since, so that this is noticed.
    """
    plain = RunFolder(RUNS / f"{data.name}-{config.method}-L{config.latent}-s{config.seed}")
    found = _identity_in(plain)
    if found in (None, identity) or (resume and plain.is_resumable and found and _differing(found, identity) == ["data_sha256"]):
        return plain
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    return RunFolder(Path(f"{plain.path}-{digest}"))


def _identity_in(folder: RunFolder) -> dict[str, Any] | None:
    """The identity of the run in a folder; None where there is none, {} where it cannot be told."""
    try:
        if folder.is_resumable:
            return folder.checkpoint_record()["identity"]
        return read_metadata(folder.model).get("identity", {}) if folder.is_finished else None
    except ModelFileError:
        return {}


def unfinished_state(
    folder: RunFolder, identity: dict[str, Any], tell: Callable[[str], None], *, resume: bool, allow_changed_data: bool
) -> State:
    """The state of the unfinished run of a folder.

    Arguments:
        tell: is told where an older checkpoint has to do, or the data have changed.
        resume: whether the user asked for the run to be continued.
        allow_changed_data: continue it although its data have changed.

    Raises:
        TrainingError: it is another run, its data have changed, or the user did not ask for it to be continued.
        ModelFileError: its state is damaged.
    """
    found = folder.checkpoint_record()["identity"]
    if _differing(found, identity) == ["data_sha256"]:
        if not (resume and allow_changed_data):
            raise TrainingError(
                f"The data of the unfinished run {folder.path} have changed since it began.",
                "Restore them, start again with --force, or go on all the same with --resume --allow-changed-data.",
            )
        tell("the data have changed since this run began; it goes on with those of now")
    else:
        check_identity(folder, found, identity)
    if not resume:
        raise TrainingError(
            f"{folder.path} holds an unfinished run of these settings.", "Continue it with --resume, or start again with --force."
        )
    tensors, record = folder.checkpoint_state(tell)
    return tensors, record["state"]


def restore(run: TrainingRun, folder: RunFolder, state: State) -> None:
    """Continue from a state, or raise `ModelFileError` where it is not one of this run."""
    try:
        run.restore(unflatten_state(*state))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise damaged(folder.checkpoint, error) from error


def check_identity(folder: RunFolder, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse a folder that holds another run, naming what differs."""
    names = _differing(found, wanted)
    if names:
        name = next((name for name in names if name != "data_sha256"), "data_sha256")
        differs = "the data have changed" if name == "data_sha256" else f"{name} {found.get(name)}, not {wanted[name]}"
        raise TrainingError(
            f"{folder.path} holds a run of other settings: {differs}.", "Choose another --out, or replace that run with --force."
        )


def _differing(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    return [name for name in wanted if found.get(name) != wanted[name]]
