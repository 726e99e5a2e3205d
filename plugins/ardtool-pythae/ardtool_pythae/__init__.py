"""Models of pythae: a folder with model_config.json and model.pt, as `model.save(folder)` writes it.

The description is JSON and model.pt is read as plain tensors, so a model with pythae's own networks is loaded without unpickling anything.
A model with networks of the user's own has them in encoder.pkl and decoder.pkl, which are programs: they are unpickled after --trust only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ardtool import PluginSpec

from .folder import CONFIG, listed, pickles_of, read_config

__all__ = ["plugin"]


def matches(path: Path) -> bool:
    """A folder whose model_config.json names a configuration of pythae."""
    return (path / CONFIG).is_file() and read_config(path)["name"].endswith("Config")


def risk(what: Path | dict[str, Any]) -> str | None:
    """What is unpickled: the networks that are not pythae's own."""
    if isinstance(what, dict):
        return f"unpickles networks in {what['folder']}" if "folder" in what else None
    pickles = pickles_of(read_config(what))
    return f"unpickles {listed(pickles)}" if pickles else None


def load(path: Path, device: Any) -> Any:
    """The model as an `Autoencoder`.

    Raises:
        ModelFileError: a file is missing or damaged, or describes something else than an autoencoder.
    """
    from .model import load_model

    return load_model(path).to(device)


def build(record: dict[str, Any]) -> Any:
    """The same model with any weights: from its configuration, or from its unchanged folder where its networks are pickled.

    Raises:
        ModelFileError: the folder is gone, or has changed since the model was pruned.
    """
    from .model import build_model

    return build_model(record)


plugin = PluginSpec("pythae", "models of pythae (model_config.json and model.pt)", matches, load, build=build, risk=risk)
