"""A model of diffusers as an `ardtool.Autoencoder`.

Conventions, which stop here:

    images     [0, 1] outside, x̃ = 2 x − 1 in [−1, 1] inside for all five classes (AutoencoderTiny returns to [0, 1] by itself, further in).
               Decoded images come back by x = (x̃ + 1) / 2 and are not clamped.
    latents    raw, as the encoder gives them. `scaling_factor`, `shift_factor`, `latents_mean` and `latents_std` are what a diffusion
               pipeline applies between the autoencoder and its denoiser; the autoencoder does not apply them, and neither does this.
    encode     AutoencoderKL, AsymmetricAutoencoderKL: mean and log variance; AutoencoderTiny, AutoencoderDC: a point;
               VQModel: the point before quantisation, which is decoded without quantisation, so that decoding has derivatives.
               AsymmetricAutoencoderKL decodes without a mask.
    sizes      `sample_size` of config.json, H×W or one number for both; where it is missing (AutoencoderTiny, AutoencoderDC), 256×256.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from ardtool import Posterior
from ardtool.errors import ModelFileError

from .files import CLASSES, config_path, read_config, read_weights, weight_files

__all__ = ["DiffusersAutoencoder", "build_model", "load_model"]

DEFAULT_SIZE = 256
library: Any = diffusers  # makes its names when they are first used, which type checkers do not see


class DiffusersAutoencoder(nn.Module):
    """One of the five classes with images in [0, 1] and raw latent maps.

    Arguments:
        model: the model of diffusers.
        input_shape: (C, H, W) of an image.
        latent_shape: (C, H, W) of a code.
        config: the arguments that `model` was made with, as JSON.

    Attributes:
        build_record: what `build_model` makes the same model from.
    """

    def __init__(self, model: Any, input_shape: tuple[int, ...], latent_shape: tuple[int, ...], config: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.input_shape = input_shape
        self.latent_shape = latent_shape
        self.build_record = {"class": type(model).__name__, "config": config, "input_shape": list(input_shape)}

    def encode(self, x: Tensor) -> Posterior:
        """Posteriors of images with shape (N, C, H, W) in [0, 1]; the log variance is None for the classes without one."""
        return _encode(self.model, 2 * x - 1)

    def decode(self, z: Tensor, context: Any = None) -> Tensor:
        """Images with shape (N, C, H, W) from raw latents; what the model leaves outside [0, 1] stays outside."""
        return (_decode(self.model, z) + 1) / 2


def load_model(path: Path, device: Any) -> DiffusersAutoencoder:
    """The model of a folder or of a file of weights, float32, in inference mode."""
    found = config_path(path)
    if found is None:
        raise ModelFileError(f"{path} has no config.json.", "Give the folder that save_pretrained wrote, or its pipeline's folder.")
    config = read_config(found)
    name = config.get("_class_name")
    if name not in CLASSES:
        raise ModelFileError(f"{found} describes a '{name}'; expected one of {', '.join(CLASSES)}.", "Write a plugin for other classes.")
    model = _make(name, config, (config.get("in_channels", 3), *_image_size(config, str(found))), str(found))
    files = weight_files(path, found.parent)
    _fill(model.model, read_weights(files), str(files[0] if len(files) == 1 else found.parent))
    return model.to(device).eval()


def build_model(record: dict[str, Any]) -> DiffusersAutoencoder:
    """The model that a `build_record` describes, with any weights."""
    name = record.get("class")
    if name not in CLASSES:
        raise ModelFileError(f"The record describes a '{name}'; expected one of {', '.join(CLASSES)}.", "Upgrade ardtool-diffusers.")
    return _make(name, record["config"], tuple(record["input_shape"]), "the record").eval()


def _image_size(config: dict[str, Any], where: str) -> list[int]:
    """Height and width of the images."""
    size = config.get("sample_size") or DEFAULT_SIZE
    sizes = list(size) if isinstance(size, list | tuple) else [size, size]
    if len(sizes) != 2 or not all(isinstance(number, int) and number > 0 for number in sizes):
        raise ModelFileError(f"{where}: sample_size is {size!r}; expected a number of pixels or [height, width].", "Correct the file.")
    return sizes


def _make(name: str, config: dict[str, Any], input_shape: tuple[int, ...], where: str) -> DiffusersAutoencoder:
    """A model with any weights. It is made once without memory to see the shapes, then in float32."""
    classes: dict[str, Any] = {
        "AutoencoderKL": library.AutoencoderKL,
        "AsymmetricAutoencoderKL": library.AsymmetricAutoencoderKL,
        "AutoencoderTiny": library.AutoencoderTiny,
        "AutoencoderDC": library.AutoencoderDC,
        "VQModel": library.VQModel,
    }
    known = inspect.signature(classes[name].__init__).parameters
    settings = {key: value for key, value in config.items() if key in known}
    try:
        with torch.device("meta"):
            outline = classes[name](**settings).eval()
        model = classes[name](**settings).float()
    except Exception as error:
        raise ModelFileError(f"diffusers makes no {name} of {where}: {type(error).__name__}: {error}.", "Is diffusers too old?") from error
    return DiffusersAutoencoder(model, input_shape, _latent_shape(outline, input_shape, where), settings)


@torch.no_grad()
def _latent_shape(outline: Any, input_shape: tuple[int, ...], where: str) -> tuple[int, ...]:
    """The shape of a code, found by sending one image through a model on the meta device, where only shapes are computed."""
    expected = "×".join(map(str, input_shape))
    hint = "Set sample_size in config.json to a size that the model's downsampling divides."
    try:
        code = _encode(outline, torch.empty(1, *input_shape, device="meta")).mean
        image = _decode(outline, code)
    except Exception as error:
        raise ModelFileError(f"{where}: the model takes no images of {expected} ({type(error).__name__}: {error}).", hint) from error
    if tuple(image.shape[1:]) != input_shape:
        found = "×".join(map(str, image.shape[1:]))
        raise ModelFileError(f"{where}: images of {expected} come back as {found}; expected the same shape.", hint)
    return tuple(code.shape[1:])


def _encode(model: Any, images: Tensor) -> Posterior:
    found = model.encode(images)
    if hasattr(found, "latent_dist"):
        return Posterior(found.latent_dist.mean, found.latent_dist.logvar)
    return Posterior(found.latents if hasattr(found, "latents") else found.latent)


def _decode(model: Any, z: Tensor) -> Tensor:
    if isinstance(model, library.VQModel):
        # decode(z, force_not_quantize=True), but for models with lookup_from_codebook too, whose decode takes indices
        spatial = z if model.config["norm_type"] == "spatial" else None
        return model.decoder(model.post_quant_conv(z), spatial)
    return model.decode(z).sample


def _fill(model: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Copy weights by name, after comparing names and shapes."""
    own = model.state_dict()
    hint = "The weights and config.json must come from one model."
    for problem, names in (("lacks", own.keys() - weights.keys()), ("has the unknown", weights.keys() - own.keys())):
        if names:
            first, more = min(names), len(names) - 1
            raise ModelFileError(f"{where} {problem} '{first}'{f' and {more} more tensors' if more else ''}.", hint)
    for name, value in weights.items():
        if value.shape != own[name].shape:
            found, expected = ("×".join(map(str, shape)) for shape in (value.shape, own[name].shape))
            raise ModelFileError(f"{where}: '{name}' is {found} in the file; config.json makes it {expected}.", hint)
    model.load_state_dict(weights)
