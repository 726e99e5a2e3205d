"""Autoencoders of diffusers: AutoencoderKL, AsymmetricAutoencoderKL, AutoencoderTiny, AutoencoderDC and VQModel.

A model is a folder as `save_pretrained` writes it, a pipeline's folder with such a folder `vae/` in it, or a file of weights beside its
`config.json`. Nothing is downloaded, and nothing in these files is executed: the class comes from a closed table, the weights from
safetensors or from torch's weights-only reader.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ardtool import PluginSpec
from ardtool.errors import ModelFileError

from .files import CLASSES, config_path, read_config

if TYPE_CHECKING:
    from .model import DiffusersAutoencoder

__all__ = ["build", "load", "matches", "plugin"]


def matches(path: Path) -> bool:
    """Whether the `config.json` that belongs to a path names one of the five classes; nothing else is read."""
    found = config_path(Path(path))
    try:
        return found is not None and read_config(found).get("_class_name") in CLASSES
    except ModelFileError:  # another program's config.json
        return False


def load(path: Path, device: Any) -> DiffusersAutoencoder:
    """The model in float32 and inference mode on a device; diffusers is imported here, not when ardtool looks for plugins.

    Raises:
        ModelFileError: `config.json` or the weights are missing, unreadable, or do not fit together.
    """
    from .model import load_model

    return load_model(Path(path), device)


def build(record: dict[str, Any]) -> DiffusersAutoencoder:
    """The model of a `build_record`, with any weights.

    Raises:
        ModelFileError: the record names another class, or describes no model.
    """
    from .model import build_model

    return build_model(record)


plugin = PluginSpec("diffusers", "autoencoders of diffusers (KL, asymmetric KL, tiny, DC, VQ)", matches, load, build)
