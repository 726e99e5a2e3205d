"""Features that need no Inception network: pixels, the codes of a model, and a user's own function."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.dataset import DataSet, Scaling, name_of
from ...errors import ConfigError, DataError, first_line
from ..opening import encode_all, open_model
from ..sample import pixel_range
from .features import BYTES, Extractor
from .hashes import content_sha256

__all__ = ["FunctionFeatures", "ModelFeatures", "PixelFeatures"]

FORM = "Write it as def function(images): images is a uint8 tensor (B, C, H, W), vectors are float32 (B, D); return numbers (B, F)."


class PixelFeatures(Extractor):
    """Flattened pixels in [0, 1], F = C·H·W; of vectors their values, F = D, standardised where the model's training data were.

    Arguments:
        example: some of the samples.
        scaling: how vectors are standardised; None to take them as they are.
    """

    label = "pixels"

    def __init__(self, example: Tensor, scaling: Scaling | None = None) -> None:
        self.is_images, self.scaling = example.ndim == 4, scaling
        self.width = example[0].numel()

    def __call__(self, samples: Tensor) -> Tensor:
        if self.is_images:
            return samples.flatten(1).float() / 255
        return samples.flatten(1).float() if self.scaling is None else self.scaling.apply(samples)

    def provenance(self) -> dict[str, Any]:
        vectors = "values as they are" if self.scaling is None else "standardised as the model's training data"
        return {
            "extractor": "pixels" if self.is_images else "values",
            "weights_sha256": None,
            "input": BYTES if self.is_images else "real numbers",
            "resize": None,
            "convention": "byte / 255" if self.is_images else vectors,
        }


class ModelFeatures(Extractor):
    """Posterior means of a model's encoder, all of its axes, F = L; maps are flattened.

    Arguments:
        path: a model file or run folder of ardtool, or a foreign model.
        example: some of the samples.
        device: where the encoder computes.
        plugin, trust: see `open_model`.

    Raises:
        DataError: the model takes samples of another shape.
        ModelFileError, PluginError: it cannot be opened.
    """

    def __init__(
        self, path: Path, example: Tensor, device: torch.device | str = "cpu", *, plugin: str | Path | None = None, trust: bool = False
    ) -> None:
        self.model = open_model(path, device, plugin, trust=trust)
        self.device = device
        taken, given = tuple(self.model.autoencoder.input_shape), tuple(example.shape[1:])
        if taken != given:
            taken, given = "×".join(map(str, taken)), "×".join(map(str, given))
            raise DataError(
                f"--features {path}: this model takes samples of {taken}; the data are {given}.", "Name a model of data of the same shape."
            )
        file = (self.model.path or path).resolve()
        sha256 = self.model.metadata.get("content_sha256") or content_sha256(file)
        self.sha256 = sha256
        self.label = f"{name_of(file.parent if file.name == 'model.safetensors' else file)}:{sha256[:8]}"
        self.width = self.model.autoencoder.latent_shape[0]

    def __call__(self, samples: Tensor) -> Tensor:
        data = DataSet("samples", samples.cpu(), pixel_range(self.model) if samples.ndim == 4 else None)
        data = data if self.model.scaling is None else data.standardised(self.model.scaling)
        return encode_all(self.model.autoencoder, data, self.device).mean

    def provenance(self) -> dict[str, Any]:
        low, high = pixel_range(self.model)
        is_images = len(self.model.autoencoder.input_shape) == 3
        return {
            "extractor": f"encoder of {self.label.rpartition(':')[0]} ({self.model.method})",
            "weights_sha256": self.sha256,
            "input": BYTES if is_images else "real numbers",
            "resize": None,
            "convention": f"posterior means of pixels in [{low:g}, {high:g}]" if is_images else "posterior means",
        }


class FunctionFeatures(Extractor):
    """Features by a function of the user's own, named `module:function`; naming it is the word to import it, and executes its module.

    Modules are looked for in the working directory too, first, as `python -m` does. The function is called without gradients on samples on
    the CPU: uint8 images with shape (B, C, H, W), or float32 vectors (B, D) in the user's units. It returns an array or tensor of real
    numbers with shape (B, F). Nothing tells whether it has changed since the last call, so that its features are not kept in the cache.

    Arguments:
        name: `module:function`.
        example: some of the samples, which it is tried on.

    Raises:
        ConfigError: the module or function is missing, fails, or returns something else.
    """

    rows = 100

    def __init__(self, name: str, example: Tensor) -> None:
        self.label = name
        self.function = _imported(name)
        self.width = self(example).shape[1]

    def __call__(self, samples: Tensor) -> Tensor:
        given = samples.detach().to(
            "cpu", torch.uint8 if samples.dtype == torch.uint8 else torch.float32, copy=True
        )  # it may write into them
        try:
            with torch.no_grad():
                returned = self.function(given)
        except Exception as error:
            problem = f"{type(error).__name__}: {first_line(error)}"
            raise ConfigError(f"--features {self.label} fails on {len(given)} samples: {problem}.", FORM) from error
        try:
            found = torch.as_tensor(returned).detach().cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"--features {self.label} returned a {type(returned).__name__}, which is no array of numbers.", FORM
            ) from error
        if found.ndim != 2 or len(found) != len(given) or found.shape[1] == 0 or found.is_complex():
            shape = "×".join(map(str, found.shape)) or "no dimensions"
            kind = "complex numbers" if found.is_complex() else "numbers"
            expected = f"expected real ones with shape {len(given)}×F"
            raise ConfigError(f"--features {self.label} returned {kind} with shape {shape} for {len(given)} samples; {expected}.", FORM)
        return found.float()

    def provenance(self) -> dict[str, Any]:
        return {
            "extractor": f"function {self.label}",
            "weights_sha256": None,
            "input": f"{BYTES}, or real numbers of vectors",
            "resize": None,
            "convention": "the function's own",
        }


def _imported(name: str) -> Callable[[Tensor], Any]:
    """The function that `module:function` names."""
    module_name, _, function_name = name.partition(":")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"--features {name}: importing {module_name} needs {error.name}, which is not there.", "Install it."
            ) from error
        raise ConfigError(
            f"--features {name}: there is no module '{module_name}', neither in {folder} nor installed.",
            "Name it as `import` does, without .py, and start ardtool in its folder.",
        ) from error
    except Exception as error:
        problem = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(f"--features {name}: importing {module_name} fails: {problem}.", "Mend the module.") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        where = module.__file__ or module_name
        raise ConfigError(f"--features {name}: {where} defines no function '{function_name}'.", FORM)
    return function
