"""Files of a model: `config.json`, and weights under the names that `save_pretrained` gives them.

diffusion_pytorch_model.safetensors                        one file
diffusion_pytorch_model.safetensors.index.json             several files; the index says which tensor is in which
diffusion_pytorch_model.bin, …bin.index.json               the same as pickles, read by torch's weights-only reader
diffusion_pytorch_model.fp16.safetensors                   a variant, taken where it is the only one
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ardtool.errors import ModelFileError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CLASSES", "config_path", "read_config", "read_weights", "weight_files"]

CLASSES = ("AutoencoderKL", "AsymmetricAutoencoderKL", "AutoencoderTiny", "AutoencoderDC", "VQModel")
STEM = "diffusion_pytorch_model"
ENDINGS = (".safetensors", ".bin")
# names that attention layers had before diffusers 0.17; many published files still have them
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def config_path(path: Path) -> Path | None:
    """The `config.json` of a model's folder, in the `vae/` of a pipeline's folder, or beside a file of weights; None without one."""
    if path.is_dir():
        folder = path / "vae" if (path / "model_index.json").is_file() else path
    elif path.suffix in ENDINGS:
        folder = path.parent
    else:
        return None
    found = folder / "config.json"
    return found if found.is_file() else None


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a `config.json`.

    Raises:
        ModelFileError: it is not JSON, or not an object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}.", "Copy the file again from where the model is from.") from None
    if not isinstance(config, dict):
        raise ModelFileError(f"{path} holds a {type(config).__name__}; expected an object with `_class_name`.", "Is it another file?")
    return config


def weight_files(path: Path, folder: Path) -> list[Path]:
    """The files that hold the weights: the path itself where it is a file, else those of the folder.

    Raises:
        ModelFileError: there are none, several variants, or some of those that the index lists are missing.
    """
    if path.is_file():
        return [path]
    for ending in ENDINGS:
        whole, index = folder / f"{STEM}{ending}", folder / f"{STEM}{ending}.index.json"
        if whole.is_file():
            return [whole]
        if index.is_file():
            return _shards(index)
        variants = sorted(found for found in folder.glob(f"{STEM}.*{ending}") if "-of-" not in found.name)
        if len(variants) == 1:
            return variants
        if variants:
            names = ", ".join(found.name for found in variants)
            raise ModelFileError(f"{folder} holds several variants of the weights: {names}.", "Give the path of one of these files.")
    raise ModelFileError(f"{folder} holds no weights; expected {STEM}.safetensors or {STEM}.bin.", "Copy the weights beside config.json.")


def _shards(index: Path) -> list[Path]:
    weight_map = read_config(index).get("weight_map")
    names = set(weight_map.values()) if isinstance(weight_map, dict) else set()
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise ModelFileError(f"{index} has no `weight_map` from tensors to files beside it.", "Save the model again with save_pretrained.")
    files = [index.parent / name for name in sorted(names)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelFileError(f"{index.parent} lacks {', '.join(missing)}, which {index.name} lists.", "Copy the missing files too.")
    return files


def read_weights(files: list[Path]) -> dict[str, Tensor]:
    """All tensors by name, with today's names of attention layers, on the CPU.

    Raises:
        ModelFileError: a file is damaged, or a pickle holds more than tensors; that is never executed.
    """
    weights: dict[str, Tensor] = {}
    for file in files:
        weights |= _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)
    return {_new_name(name): value for name, value in weights.items()}


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        hint = "Copy it again; a file of about 130 bytes is a Git LFS pointer, which `git lfs pull` replaces."
        raise ModelFileError(f"{file} is not a whole safetensors file: {error}.", hint) from None


def _read_pickle(file: Path) -> dict[str, Tensor]:
    import torch

    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file makes the reader raise
        found = _unsafe_names(file)
        what = f"would run {', '.join(found)} when unpickled" if found else f"is not a file of weights ({type(error).__name__})"
        raise ModelFileError(f"{file} {what}; it is not loaded.", "Ask its author for safetensors.") from None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ModelFileError(f"{file} holds something other than tensors by name.", "Save the model again with save_pretrained.")
    return weights


def _unsafe_names(file: Path) -> list[str]:
    """What a pickle imports beside torch's own building blocks, without importing it; empty where the file cannot be read."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        return sorted(get_unsafe_globals_in_checkpoint(file))
    except Exception:  # a damaged file, or torch's format before zip archives
        return []


def _new_name(name: str) -> str:
    parts = name.split(".")
    if "attentions" in parts and len(parts) > 1:
        parts[-2] = OLD_NAMES.get(parts[-2], parts[-2])
    return ".".join(parts)
