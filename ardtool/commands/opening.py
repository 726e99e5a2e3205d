"""Opening a model: a path, the newest run, or a user's own object, with the codes that its analysis needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..autoencoder import Autoencoder, Posterior
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

__all__ = ["ModelLike", "choose_device", "codes_for", "data_for", "open_model", "require_codes"]

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
    if not there.get(chosen.type, False):
        raise ConfigError(f"--device {device}: torch finds no such device here.", "Use --device auto.")
    return chosen


def open_model(model: ModelLike, device: torch.device | str = "cpu", plugin: str | None = None) -> SavedModel:
    """A model from a file, a run folder, the newest run (None), or an object with `encode` and `decode`.

    Raises:
        ModelFileError: there is no such model, or it cannot be read.
        PluginError: no plugin reads it.
    """
    if isinstance(model, SavedModel):
        return model
    if model is not None and not isinstance(model, str | Path):
        if not isinstance(model, Autoencoder):
            raise ModelFileError(
                f"A {type(model).__name__} is not an autoencoder: it lacks encode, decode, input_shape or latent_shape.",
                "Wrap your modules in ardtool.ModulePair(encoder, decoder, input_shape, latent_dim).",
            )
        return SavedModel(model, None, {"method": "foreign"})
    path = newest_model() if model is None else Path(model)
    if path.is_dir() and RunFolder(path).is_finished:
        path = RunFolder(path).model
    if plugin is None and (
        not path.exists() or is_ardtool_file(path) or path.suffix == ".safetensors" or (path.is_dir() and _is_run(path))
    ):
        return load_model(path, device)
    spec = find_plugin(path, plugin)
    return SavedModel(spec.load(path, device), None, {"method": "foreign", "plugin": spec.name}, path)


def _is_run(path: Path) -> bool:
    return RunFolder(path).config.exists()


def data_for(model: SavedModel, data: str | Path | DataSet | Tensor | Any, data_root: Path | None, split: str = "test") -> DataSet:
    """Data as this model takes them: opened by name or path, sized and standardised like the data it was trained on.

    Arguments:
        data: a name, a path, a `DataSet`, or samples with shape (N, *input_shape) in the model's own range (images) or units (vectors).
        split: which part of a named data set.

    Raises:
        DataError: the shape does not fit the model.
    """
    shape = tuple(model.autoencoder.input_shape)
    if isinstance(data, str | Path):
        size = f"{shape[1]}x{shape[2]}" if len(shape) == 3 else "auto"
        data = open_data(str(data), split=split, data_root=data_root, image_size=size)
    elif not isinstance(data, DataSet):
        values = torch.as_tensor(data)
        data = DataSet("array", values if values.dtype == torch.uint8 else values.float())
    if data.shape != shape:
        raise DataError(
            f"'{data.name}' holds samples of {'×'.join(map(str, data.shape))}; the model takes {'×'.join(map(str, shape))}.",
            "Give the data that the model was trained on, or data of the same shape.",
        )
    return data.standardised(model.scaling) if model.scaling is not None else data


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
    """
    if sum((data is not None, latents is not None, assume_prior)) > 1:
        raise ConfigError("--data, --latents and --assume-prior each say where codes come from.", "Give one of them.")
    generator = torch.Generator().manual_seed(seed)
    if data is not None:
        chosen = torch.randperm(len(data), generator=generator)[:MOST_CODES]
        return _summarise(model, encode_all(model.autoencoder, data, device, chosen), "data", generator)
    if latents is not None:
        return _summarise(model, _read_latents(Path(latents), model.autoencoder.latent_shape[0]), "latents", generator)
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


def require_codes(model: SavedModel) -> LatentCodes:
    """The codes that a model carries."""
    return codes_for(model)


def encode_all(model: Autoencoder, data: DataSet, device: torch.device | str, index: Tensor | None = None) -> Posterior:
    """Posteriors of data, or of the chosen samples, in inference mode."""
    chosen = torch.arange(len(data)) if index is None else index
    with inference_mode(model):
        return encode_batches(model, _batches(data, chosen, device))


def _batches(data: DataSet, index: Tensor, device: torch.device | str) -> Iterator[Tensor]:
    for part in index.split(ENCODING_BATCH):
        yield data.batch(part, device)


def _summarise(model: SavedModel, posterior: Posterior, source: Any, generator: torch.Generator) -> LatentCodes:
    """Moments of sampled codes; for an ARD model the prior is estimated from them as in training (Eq. 8, 9)."""
    z = posterior.sample(generator)
    former = model.codes.prior if model.codes is not None else None
    prior = None if former is None else GammaPosterior.uninformed(z.shape[1], mean=former.mean).updated(z)
    codes = LatentCodes(CodeStatistics.of(z), posterior.rows(slice(0, REFERENCE_ROWS)), prior)
    return replace(codes, source=source)


def _read_latents(path: Path, latent_dim: int) -> Posterior:
    """Codes from an .npz (`mean`, optionally `log_variance`) or an .npy.

    Raises:
        DataError: the file is missing or its shape does not fit.
    """
    import numpy as np

    if not path.exists():
        raise DataError(f"--latents {path} does not exist.", "Make it with `ardtool encode`, or save codes with shape (N, L) as .npy.")
    try:
        file = np.load(path, allow_pickle=False)
        arrays = {"mean": file} if isinstance(file, np.ndarray) else dict(file)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"--latents {path} cannot be read: {error}.", "Give an .npz with an array `mean`, or an .npy.") from error
    mean = next((arrays[name] for name in ("mean", "codes", "z", "arr_0") if name in arrays), None)
    if mean is None or mean.ndim != 2 or mean.shape[1] != latent_dim or len(mean) < 2:
        found = "no array `mean`" if mean is None else "×".join(map(str, mean.shape))
        raise DataError(
            f"--latents {path} holds {found}; the model needs N×{latent_dim} with N ≥ 2.", "Make the file with `ardtool encode`."
        )
    if not np.isfinite(mean).all():
        raise DataError(f"--latents {path} holds values that are not finite.", "Encode the data again.")
    log_variance = arrays.get("log_variance")
    return Posterior(torch.from_numpy(mean).float(), None if log_variance is None else torch.from_numpy(log_variance).float())
