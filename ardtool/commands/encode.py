"""`encode` and `decode`: from data to (reduced) codes and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from ..errors import ConfigError, DataError
from ..latent.axes import Granularity
from ..latent.pruning import full_codes
from ..storage.images import image_grid, save_array, save_picture, to_uint8
from ..storage.model_file import SavedModel
from .codes_file import StoredCodes, read_codes
from .inputs import data_for, warnings_of
from .opening import ModelLike, choose_device, codes_for, encode_all, open_model
from .relevance import active_axes_of
from .sample import ARRAYS, PICTURES, FilesResult, decode_in_units, in_users_range, pixel_range

__all__ = ["decode", "encode"]


def encode(
    model: ModelLike = None,
    *,
    data: Any,
    out: str | Path,
    axes: Literal["all", "active"] = "all",
    split: str = "test",
    granularity: Granularity = "channel",
    seed: int = 0,
    device: str = "auto",
    plugin: str | Path | None = None,
    trust: bool = False,
    data_root: str | Path | None = None,
    skip_bad: bool = False,
) -> FilesResult:
    """Write the codes of data: posterior means and log variances (.npz, with the indices of the axes), or means alone (.npy, .csv).

    Arguments:
        model: a path, a run folder, an object with `encode` and `decode`, or None for the newest run.
        data: a name, a path, a `DataSet`, or samples with shape (N, *input_shape) in the units of the training data.
        out: an .npz, .npy or .csv file; K axes give arrays with shape (N, K), channels of maps (N, K, H, W).
        axes: all axes, or the active ones alone in ascending order.
        split: which part of a named data set, train or test.
        granularity: whether the axes of a latent map are its channels, written as maps (.npz, .npy), or its elements.
        seed: chooses the codes that active axes are found by, where the model does not say which are.
        device: auto, cpu, cuda[:i] or mps.
        plugin: the name or file of the plugin that reads a foreign model.
        trust: load models whose loading can run foreign code.
        data_root: where named data sets lie.
        skip_bad: leave out images of a folder or archive that cannot be decoded, instead of stopping.

    Raises:
        ArdtoolError: with one line that says what to change.
    """
    path = Path(out)
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".npy", ".csv"):
        raise ConfigError(f"--out is {path}; expected an .npz, .npy or .csv file.", "Use --out codes.npz.")
    if axes not in ("all", "active"):
        raise ConfigError(f"--axes is '{axes}'; --axes must be all or active.", "active keeps the relevant axes alone.")
    chosen = choose_device(device)
    opened = open_model(model, chosen, plugin, trust=trust, granularity=granularity)
    data_set = data_for(opened, data, data_root, split, skip_bad=skip_bad)
    posterior = encode_all(opened.autoencoder, data_set, chosen)
    latent = opened.latent_axes
    kept = list(range(latent.count))
    if axes == "active":
        codes = opened.codes or codes_for(opened, data=data_set, seed=seed, device=chosen)
        kept = sorted(active_axes_of(opened, codes, chosen)[0])
    chosen_codes = posterior.axes(latent.elements_of(kept))
    shape = (-1, *latent.keeping(kept).shape)
    mean = chosen_codes.mean.reshape(shape).numpy()
    if suffix == ".npz":
        more = {"log_variance": chosen_codes.log_variance, "context": chosen_codes.context}
        arrays = {name: value.numpy() for name, value in more.items() if value is not None}
        if "log_variance" in arrays:
            arrays["log_variance"] = arrays["log_variance"].reshape(mean.shape)
        save_array(path, columns=None, mean=mean, axes=torch.tensor(kept).numpy(), **arrays)
    elif suffix == ".csv":
        elements = latent.elements_of(kept)
        save_array(path, columns=[f"axis_{element}" for element in elements], mean=mean.reshape(len(mean), -1))
    else:
        save_array(path, mean=mean)
    return FilesResult("ardtool.encode/1", [str(path)], list(mean.shape), kept, seed, warnings_of(data_set))


def decode(
    model: ModelLike = None,
    *,
    codes: str | Path,
    out: str | Path,
    device: str = "auto",
    plugin: str | Path | None = None,
    trust: bool = False,
) -> FilesResult:
    """Decode codes from a file that `encode` wrote, or an array with shape (N, L); axes that the file lacks are held at their mean.

    Arguments:
        model: a path, a run folder, an object with `encode` and `decode`, or None for the newest run.
        codes: see `codes_file.py`.
        out: an array (.npz, .npy, in the units of the training data), or for images a picture.
        device: auto, cpu, cuda[:i] or mps.
        plugin: the name or file of the plugin that reads a foreign model.
        trust: load models whose loading can run foreign code.

    Raises:
        ArdtoolError: with one line that says what to change.
    """
    path = Path(out)
    chosen = choose_device(device)
    opened = open_model(model, chosen, plugin, trust=trust)
    as_picture = path.suffix.lower() in PICTURES and len(opened.autoencoder.input_shape) == 3
    if not as_picture and path.suffix.lower() not in ARRAYS:
        raise ConfigError(f"--out is {path}; expected .npz or .npy, or a picture for images.", "Use --out decoded.npz.")
    stored = read_codes(codes, opened.latent_axes)
    z = stored.mean
    if stored.elements != list(range(stored.latent_dim)):
        z = full_codes(z, stored.elements, _mean_code(opened, stored))
    values = decode_in_units(opened, z, chosen, stored.context)
    if as_picture:
        save_picture(image_grid(to_uint8(values, pixel_range(opened))), path)
    else:
        save_array(path, samples=in_users_range(opened, values).numpy())
    return FilesResult("ardtool.decode/1", [str(path)], list(values.shape), stored.axes, 0)


def _mean_code(model: SavedModel, stored: StoredCodes) -> torch.Tensor:
    """Where axes that the file lacks are held, shape (L,).

    Raises:
        DataError: some are lacking, and the model carries no codes.
    """
    if model.codes is not None:
        return model.codes.statistics.mean
    if len(stored.elements) < stored.latent_dim:
        raise DataError(
            f"{stored.path} holds {len(stored.elements)} of {stored.latent_dim} axes, and this model carries no mean code for the others.",
            "Encode with --axes all.",
        )
    return torch.zeros(stored.latent_dim)
