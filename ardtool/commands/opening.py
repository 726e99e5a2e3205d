"""Opening a model: a path, the newest run, or a user's own object, with the codes that its analysis needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..autoencoder import Autoencoder, Posterior
from ..data.arrays import MapChoice, data_of
from ..data.catalogue import open_data
from ..data.dataset import DataSet
from ..errors import ConfigError, DataError, ModelFileError
from ..latent.codes import REFERENCE_ROWS, LatentCodes, encode_batches
from ..latent.jacobian import inference_mode
from ..latent.precision import GammaPosterior
from ..latent.statistics import CodeStatistics
from ..registry import find_plugin
from ..storage.header import is_ardtool_file
from ..storage.model_file import SavedModel, load_model
from ..storage.run_folder import RunFolder, newest_model
from .codes_file import read_codes

__all__ = [
    "ModelLike",
    "choose_device",
    "codes_for",
    "data_for",
    "encode_all",
    "measured_by",
    "open_model",
    "saved_pixel_map",
    "scaled_for",
    "unscaled_for",
]

ModelLike = str | Path | SavedModel | Autoencoder | None
ENCODING_BATCH = 500
MOST_CODES = 10_000


def choose_device(device: str) -> torch.device:
    """`auto` is the first GPU, else the CPU.

    Raises:
        ConfigError: the device is unknown or not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"--device is '{device}'; expected auto, cpu, cuda, cuda:N or mps.", "auto chooses for you.") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    missing = chosen.type == "cuda" and chosen.index is not None and chosen.index >= torch.cuda.device_count()
    if not there.get(chosen.type, False) or missing:
        raise ConfigError(f"--device {device}: torch finds no such device here.", "Use --device auto.")
    return chosen


def open_model(model: ModelLike, device: torch.device | str = "cpu", plugin: str | None = None) -> SavedModel:
    """A model from a file, a run folder, the newest run (None), or an object with `encode` and `decode`; modules are moved to the device.

    Raises:
        ModelFileError: there is no such model, or it cannot be read.
        PluginError: no plugin reads it.
    """
    if model is not None and not isinstance(model, str | Path):
        return _open_object(model, device)
    path = newest_model() if model is None else Path(model)
    if path.is_dir() and RunFolder(path).is_finished:
        path = RunFolder(path).model
    if plugin is None and (
        not path.exists() or is_ardtool_file(path) or path.suffix == ".safetensors" or (path.is_dir() and _is_run(path))
    ):
        return load_model(path, device)
    spec = find_plugin(path, plugin)
    return SavedModel(spec.load(path, device), None, {"method": "foreign", "plugin": spec.name}, path)


def _open_object(model: Any, device: torch.device | str) -> SavedModel:
    """A loaded model, or a user's own object, on the device."""
    opened = model if isinstance(model, SavedModel) else SavedModel(model, None, {"method": "foreign"})
    if not isinstance(opened.autoencoder, Autoencoder):
        raise ModelFileError(
            f"A {type(model).__name__} is not an autoencoder: it lacks encode, decode, input_shape or latent_shape.",
            "Wrap your modules in ardtool.ModulePair(encoder, decoder, input_shape, latent_dim).",
        )
    if isinstance(opened.autoencoder, nn.Module):
        opened.autoencoder.to(device)
    return opened


def _is_run(path: Path) -> bool:
    return RunFolder(path).config.exists() or RunFolder(path).is_resumable


def data_for(model: SavedModel, data: str | Path | DataSet | Tensor | Any, data_root: Path | None, split: str = "test") -> DataSet:
    """Data as this model takes them: opened by name or path, sized, and scaled like the data it was trained on.

    Arguments:
        data: a name, a path, a `DataSet`, or samples with shape (N, *input_shape) in the units of the training data; for models that
            ardtool did not train, in the model's own range.
        split: which part of a named data set.

    Raises:
        DataError: there are no samples, some values are not finite, or the shape does not fit the model.
    """
    return scaled_for(model, unscaled_for(model, data, data_root, split))


def scaled_for(model: SavedModel, data: DataSet) -> DataSet:
    """Vectors standardised as the model's training data were; all else as it is."""
    return data if model.scaling is None else data.standardised(model.scaling)


def unscaled_for(model: SavedModel, data: Any, data_root: Path | None, split: str = "test") -> DataSet:
    """`data_for` before vectors are standardised: with the hash that training recorded, where the data are the same."""
    shape = tuple(model.autoencoder.input_shape)
    pixel_map = saved_pixel_map(model)
    if isinstance(data, str | Path):
        is_image = len(shape) == 3
        size = (shape[1], shape[2]) if is_image else "auto"
        channels = shape[0] if is_image else None
        data = open_data(
            str(data), split=split, data_root=data_root, image_size=size, pixel_map=pixel_map, channels=channels, for_training=False
        )
    elif not isinstance(data, DataSet):
        as_pixels = len(shape) == 3 and pixel_map != "guess"
        data = data_of(data, as_pixels=as_pixels, pixel_map=None if pixel_map == "guess" else pixel_map)
    elif len(data) == 0 or not all(bool(block.isfinite().all()) for block in data.values.split(1000)):
        raise DataError(f"'{data.name}' holds no samples, or values that are not finite.", "Remove these samples or fill in their values.")
    elif pixel_map != "guess":
        data = data.with_pixel_map(pixel_map)
    if data.shape != shape:
        raise DataError(
            f"'{data.name}' holds samples of {'×'.join(map(str, data.shape)) or 'one number'}; "
            f"the model takes {'×'.join(map(str, shape))}.",
            "Give the data that the model was trained on, or data of the same shape.",
        )
    return data


def saved_pixel_map(model: SavedModel) -> MapChoice:
    """The map of pixel values that the model was trained with; "guess" where the model does not say."""
    found = model.metadata.get("data") or {}
    if "pixel_map" not in found:
        return "guess"
    pixel_map = found["pixel_map"]
    return None if pixel_map is None else (float(pixel_map[0]), float(pixel_map[1]))


def measured_by(model: SavedModel, codes: LatentCodes) -> SavedModel:
    """The model without its saved relevance where the codes are not its own: the active axes are then found anew."""
    if codes.source == "model":
        return model
    return replace(model, metadata={name: value for name, value in model.metadata.items() if name != "relevance"})


def codes_for(
    model: SavedModel,
    *,
    data: DataSet | None = None,
    latents: str | Path | None = None,
    assume_prior: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> LatentCodes:
    """The codes to analyse a model by: from data, from a file of codes, from N(0, I), or the ones it carries.

    Raises:
        ConfigError: more than one source is given.
        ModelFileError: none is given and the model carries none.
        DataError: fewer than two samples.
    """
    if sum((data is not None, latents is not None, assume_prior)) > 1:
        raise ConfigError("--data, --latents and --assume-prior each say where codes come from.", "Give one of them.")
    generator = torch.Generator().manual_seed(seed)
    if data is not None:
        if len(data) < 2:
            raise DataError(f"'{data.name}' holds 1 sample; at least 2 are needed to measure variances.", "Give more samples.")
        chosen = torch.randperm(len(data), generator=generator)[:MOST_CODES]
        return _summarise(model, encode_all(model.autoencoder, data, device, chosen), "data", generator)
    if latents is not None:
        return _summarise(model, read_codes(latents, model.autoencoder.latent_shape[0]).posterior(), "latents", generator)
    if assume_prior:
        latent_dim = model.autoencoder.latent_shape[0]
        reference = Posterior(torch.randn(REFERENCE_ROWS, latent_dim, generator=generator))
        identity = torch.eye(latent_dim, dtype=torch.float64)
        return LatentCodes(CodeStatistics.from_moments(REFERENCE_ROWS, torch.zeros(latent_dim), identity), reference, None, "prior")
    if model.codes is None:
        raise ModelFileError(
            "This model carries no codes, so there is nothing to measure variances by.",
            "Give --data DATA, or --latents codes.npz, or --assume-prior (z ~ N(0, I)).",
        )
    return model.codes


def encode_all(model: Autoencoder, data: DataSet, device: torch.device | str, index: Tensor | None = None) -> Posterior:
    """Posteriors of data, or of the chosen samples, in inference mode.

    Raises:
        ModelFileError: the encoder's codes have another shape than the model says, or are not finite.
    """
    chosen = torch.arange(len(data)) if index is None else index
    with inference_mode(model):
        posterior = encode_batches(model, _batches(data, chosen, device))
    _check_codes(posterior, len(chosen), model.latent_shape[0])
    return posterior


def _batches(data: DataSet, index: Tensor, device: torch.device | str) -> Iterator[Tensor]:
    for part in index.split(ENCODING_BATCH):
        yield data.batch(part, device)


def _check_codes(posterior: Posterior, samples: int, latent_dim: int) -> None:
    """Raise `ModelFileError` unless the posteriors of so many samples are finite numbers on so many axes."""
    for name, found in (("codes", posterior.mean), ("log variances", posterior.log_variance)):
        if found is None:
            continue
        if found.shape != (samples, latent_dim):
            shape = "×".join(map(str, found.shape))
            raise ModelFileError(
                f"The encoder gives {name} of {shape} for {samples} samples; the model says it has {latent_dim} latent axes.",
                f"Make it return {samples}×{latent_dim}, or set latent_dim to what it returns.",
            )
        broken = int((~found.isfinite()).any(dim=1).sum())
        if broken:
            raise ModelFileError(
                f"The encoder gives {name} that are not finite for {broken} of {samples} samples.",
                "Check that the data are in the units and the range that the model was trained on.",
            )


def _summarise(model: SavedModel, posterior: Posterior, source: Any, generator: torch.Generator) -> LatentCodes:
    """Moments of sampled codes; for an ARD model the prior is estimated from them with the hyperprior of its training (Eq. 8, 9)."""
    z = posterior.sample(generator)
    former = model.codes.prior if model.codes is not None else None
    prior = None
    if former is not None:
        settings = model.metadata.get("settings") or {}
        a0, b0 = settings.get("prior_a0", 0.0), settings.get("prior_b0", 0.0)
        hyperprior = GammaPosterior.uninformed(z.shape[1], a0, b0, settings.get("prior_mean", former.mean))
        if settings.get("rao_blackwell") and posterior.log_variance is not None:
            prior = hyperprior.updated_by_moments(posterior.mean, posterior.log_variance)
        else:
            prior = hyperprior.updated(z)
    return LatentCodes(CodeStatistics.of(z), posterior.rows(slice(0, REFERENCE_ROWS)), prior, source)
