"""Opening a model: a path, the newest run, or a user's own object, with the codes that its analysis needs."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..autoencoder import Autoencoder, Posterior, flat_latents
from ..data.dataset import DataSet
from ..errors import ConfigError, DataError, ModelFileError
from ..latent.axes import Granularity, LatentAxes
from ..latent.chunks import MEMORY_BUDGET
from ..latent.codes import REFERENCE_ROWS, LatentCodes, encode_batches
from ..latent.jacobian import inference_mode
from ..latent.precision import GammaPosterior
from ..latent.statistics import MOST_COVARIANCES, CodeStatistics
from ..registry import find_plugin, foreign_record, load_foreign, matching_plugins
from ..storage.header import is_ardtool_file
from ..storage.model_file import SavedModel, load_model
from ..storage.run_folder import RunFolder, newest_model
from ..training.processes import Processes
from .codes_file import read_codes
from .memory import encoding_rows

__all__ = [
    "ModelLike",
    "choose_device",
    "codes_for",
    "encode_all",
    "measured_by",
    "open_model",
]

ModelLike = str | Path | SavedModel | Autoencoder | None
MOST_CODES, MOST_MAPS = 10_000, 1_000  # codes that variances are estimated from: vectors, and maps of more than 1,024 elements
ROWS_AT_ONCE = 500


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


def open_model(
    model: ModelLike,
    device: torch.device | str = "cpu",
    plugin: str | Path | None = None,
    *,
    trust: bool = False,
    granularity: Granularity = "channel",
) -> SavedModel:
    """A model from a file, a run folder, the newest run (None), or an object with `encode` and `decode`; modules are moved to the device.

    Latent maps are flattened: the model opened here has codes (L,), and `latent_axes` says which of their elements form an axis.

    Arguments:
        plugin: the name or file of the plugin that reads a foreign model; None to ask all.
        trust: load models whose loading can run foreign code.
        granularity: whether the axes of a latent map are its channels or its elements.

    Raises:
        ModelFileError: there is no such model, or it cannot be read.
        PluginError: no plugin reads it, or it is not trusted.
    """
    if model is not None and not isinstance(model, str | Path):
        return _with_axes(_open_object(model, device), granularity)
    path = newest_model() if model is None else Path(model)
    if path.is_dir() and RunFolder(path).is_finished:
        path = RunFolder(path).model
    if _is_our_own(path, plugin):
        return _with_axes(load_model(path, device, plugin=plugin, trust=trust), granularity)
    spec = find_plugin(path, plugin)
    loaded = load_foreign(spec, path, device, trust=trust)
    metadata = {"method": "foreign", "foreign": foreign_record(spec, loaded)}
    return _with_axes(SavedModel(loaded, None, metadata, path, open_data=spec.open_data), granularity)


def _with_axes(model: SavedModel, granularity: Granularity) -> SavedModel:
    """The model on flat codes. A file of codes with single elements of a map keeps its own granularity."""
    saved = model.metadata.get("granularity")
    metadata = model.metadata | {"granularity": saved or granularity}
    opened = replace(model, autoencoder=flat_latents(model.autoencoder), metadata=metadata)
    LatentAxes((1,), granularity)  # a wrong word is refused on vectors too
    return opened


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


def _is_our_own(path: Path, plugin: str | Path | None) -> bool:
    """Whether ardtool itself reads a path: its own files always, tensors without a description unless a plugin wants them."""
    if is_ardtool_file(path):
        return True
    if plugin is not None:
        return False
    if not path.exists() or (path.is_dir() and _is_run(path)):
        return True
    return path.suffix == ".safetensors" and not matching_plugins(path)


def _is_run(path: Path) -> bool:
    return RunFolder(path).config.exists() or RunFolder(path).is_resumable


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
    rows: int = REFERENCE_ROWS,
    seed: int = 0,
    device: torch.device | str = "cpu",
    memory: int = MEMORY_BUDGET,
    processes: Processes | None = None,
) -> LatentCodes:
    """The codes to analyse a model by: from data, from a file of codes, from N(0, I), or the ones it carries.

    Arguments:
        rows: how many reference codes to keep, where there are so many; a model's own are as many as its file holds.
        processes: those that encode data together; None for this one alone.

    Raises:
        ConfigError: more than one source is given.
        ModelFileError: none is given and the model carries none.
        DataError: fewer than two samples.
    """
    if sum((data is not None, latents is not None, assume_prior)) > 1:
        raise ConfigError("--data, --latents and --assume-prior each say where codes come from.", "Give one of them.")
    generator = torch.Generator().manual_seed(seed)
    latent_dim = model.autoencoder.latent_shape[0]
    if data is not None:
        if len(data) < 2:
            raise DataError(f"'{data.name}' holds 1 sample; at least 2 are needed to measure variances.", "Give more samples.")
        most = max(MOST_CODES if latent_dim <= MOST_COVARIANCES else MOST_MAPS, rows)
        chosen = torch.randperm(len(data), generator=generator)[:most]
        posterior = encode_all(model.autoencoder, data, device, chosen, memory=memory, processes=processes)
        return _summarise(model, posterior, "data", slice(0, rows), generator)
    if latents is not None:
        posterior = read_codes(latents, model.latent_axes).posterior()
        drawn = torch.randperm(len(posterior), generator=generator)[:rows]  # files are sorted, by class or by factor
        return _summarise(model, posterior, "latents", drawn, generator)
    if assume_prior:
        reference = Posterior(torch.randn(rows, latent_dim, generator=generator))
        one = torch.ones(latent_dim, dtype=torch.float64)
        covariance = one.diag() if latent_dim <= MOST_COVARIANCES else one
        return LatentCodes(CodeStatistics.from_moments(rows, 0 * one, covariance), reference, None, "prior")
    if model.codes is None:
        raise ModelFileError(
            "This model carries no codes, so there is nothing to measure variances by.",
            "Give --data DATA, or --latents codes.npz, or --assume-prior (z ~ N(0, I)).",
        )
    return model.codes


def encode_all(
    model: Autoencoder,
    data: DataSet,
    device: torch.device | str,
    index: Tensor | None = None,
    *,
    memory: int = MEMORY_BUDGET,
    processes: Processes | None = None,
) -> Posterior:
    """Posteriors of data, or of the chosen samples, in inference mode; each of several processes encodes a part, and gets all.

    Raises:
        ModelFileError: the encoder's codes have another shape than the model says, or are not finite.
    """
    chosen = torch.arange(len(data)) if index is None else index
    processes = processes or Processes()
    shard = processes.shard(len(chosen))
    with inference_mode(model):
        rows = encoding_rows(model, data.batch(chosen[:2], device), memory)
        own = chosen[shard.rows]
        posterior = encode_batches(model, len(own), rows, lambda part: data.batch(own[part], device))
    posterior = processes.gather_codes(posterior, shard)
    _check_codes(posterior, len(chosen), model.latent_shape[0])
    return posterior


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


def _summarise(model: SavedModel, posterior: Posterior, source: Any, rows: Tensor | slice, generator: torch.Generator) -> LatentCodes:
    """Moments of sampled codes, with some rows as reference; for an ARD model the prior is estimated from them with the hyperprior of its
    training (Eq. 8, 9)."""
    former = model.codes.prior if model.codes is not None else None
    reference = posterior.rows(rows)
    if former is None:
        parts = [CodeStatistics.of(posterior.rows(part).sample(generator)) for part in _slices(len(posterior))]
        return LatentCodes(reduce(CodeStatistics.merged, parts), reference, None, source)
    z = posterior.sample(generator)
    settings = model.metadata.get("settings") or {}
    a0, b0 = settings.get("prior_a0", 0.0), settings.get("prior_b0", 0.0)
    hyperprior = GammaPosterior.uninformed(z.shape[1], a0, b0, settings.get("prior_mean", former.mean))
    if settings.get("rao_blackwell") and posterior.log_variance is not None:
        prior = hyperprior.updated_by_moments(posterior.mean, posterior.log_variance)
    else:
        prior = hyperprior.updated(z)
    return LatentCodes(CodeStatistics.of(z), reference, prior, source)


def _slices(count: int) -> list[slice]:
    return [slice(start, start + ROWS_AT_ONCE) for start in range(0, count, ROWS_AT_ONCE)]
