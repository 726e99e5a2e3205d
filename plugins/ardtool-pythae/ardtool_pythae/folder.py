"""The folder of a saved model: its description, the networks that are pickled, and what its files must still be when it is read again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ardtool.errors import ModelFileError

__all__ = ["CONFIG", "WEIGHTS", "check_hashes", "hashes", "listed", "pickles_of", "read_config", "require"]

CONFIG, WEIGHTS = "model_config.json", "model.pt"
PICKLED = ("encoder", "decoder", "discriminator", "metric")


def read_config(folder: Path) -> dict[str, Any]:
    """The description of a model; `name` is that of its configuration class.

    Raises:
        ModelFileError: the description is missing or no JSON of pythae.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.", "Give the folder that `model.save(folder)` wrote.") from error
    except ValueError as error:
        raise ModelFileError(f"{path} is not JSON: {error}.", "Copy the file again.") from error
    if not isinstance(config, dict) or not isinstance(config.get("name"), str):
        raise ModelFileError(f"{path} has no `name`, which says what model it describes.", "Copy the file again.")
    return config


def pickles_of(config: dict[str, Any]) -> list[str]:
    """The files with networks that are not pythae's own."""
    return [f"{name}.pkl" for name in PICKLED if not config.get(f"uses_default_{name}", True)]


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def require(folder: Path, names: list[str]) -> None:
    """Raise `ModelFileError` unless the folder has these files."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelFileError(f"{folder} has a {CONFIG} but no {listed(missing)}.", "Copy the whole folder that `model.save(folder)` wrote.")


def hashes(folder: Path, names: list[str]) -> dict[str, str]:
    """The sha256 of files in a folder."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def check_hashes(folder: Path, expected: dict[str, str]) -> None:
    """Raise `ModelFileError` unless the files are still what they were when a model was pruned."""
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            raise ModelFileError(
                f"{path} does not exist; a pruned model reads its networks from there.", f"Put the original model back to {folder}."
            )
        if hashes(folder, [name])[name] != digest:
            raise ModelFileError(f"{path} has changed since the model was pruned.", "Put the original file back, or prune again.")
