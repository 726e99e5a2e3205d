"""`encode` and `decode`: from data to (reduced) codes and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from ..errors import ConfigError, DataError
from ..latent.pruning import full_codes
from ..storage.images import image_grid, save_array, save_picture, to_uint8
from .opening import ModelLike, choose_device, codes_for, data_for, encode_all, open_model
from .relevance import active_axes_of
from .sample import PICTURES, FilesResult, decode_in_units, pixel_range

__all__ = ["decode", "encode"]


def encode(
    model: ModelLike = None,
    *,
    data: Any,
    out: str | Path,
    axes: Literal["all", "active"] = "all",
    split: str = "test",
    seed: int = 0,
    device: str = "auto",
    plugin: str | None = None,
    data_root: Path | None = None,
) -> FilesResult:
    """Write the codes of data: posterior means and log variances (.npz, with the indices of the axes), or means alone (.npy, .csv).

    Arguments:
        axes: all axes, or the active ones alone in ascending order.
    """
    path = Path(out)
    if path.suffix not in (".npz", ".npy", ".csv"):
        raise ConfigError(f"--out is {path}; expected an .npz, .npy or .csv file.", "Use --out codes.npz.")
    chosen = choose_device(device)
    opened = open_model(model, chosen, plugin)
    data_set = data_for(opened, data, data_root, split)
    posterior = encode_all(opened.autoencoder, data_set, chosen)
    latent_dim = posterior.mean.shape[1]
    kept = list(range(latent_dim))
    if axes == "active":
        codes = opened.codes or codes_for(opened, data=data_set, seed=seed, device=chosen)
        kept = sorted(active_axes_of(opened, codes, chosen)[0])
    mean = posterior.mean[:, kept].numpy()
    if path.suffix == ".npz":
        spread = {} if posterior.log_variance is None else {"log_variance": posterior.log_variance[:, kept].numpy()}
        save_array(path, columns=None, mean=mean, axes=torch.tensor(kept).numpy(), **spread)
    elif path.suffix == ".csv":
        save_array(path, columns=[f"axis_{axis}" for axis in kept], mean=mean)
    else:
        save_array(path, mean=mean)
    return FilesResult("ardtool.encode/1", [str(path)], list(mean.shape), kept, seed)


def decode(
    model: ModelLike = None,
    *,
    codes: str | Path,
    out: str | Path,
    device: str = "auto",
    plugin: str | None = None,
) -> FilesResult:
    """Decode codes from a file that `encode` wrote, or an array with shape (N, L); axes that the file lacks are held at their mean."""
    import numpy as np

    chosen = choose_device(device)
    opened = open_model(model, chosen, plugin)
    path, source = Path(out), Path(codes)
    if not source.exists():
        raise DataError(f"{source} does not exist.", "Make it with `ardtool encode`.")
    try:
        if source.suffix == ".csv":
            header = source.read_text().split("\n", 1)[0]
            arrays = {"mean": np.loadtxt(source, delimiter=",", skiprows=1, ndmin=2, dtype=np.float32)}
            arrays["axes"] = np.array([int(name.strip().removeprefix("axis_")) for name in header.split(",")])
        else:
            file = np.load(source, allow_pickle=False)
            arrays = {"mean": file} if isinstance(file, np.ndarray) else dict(file)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{source} cannot be read: {error}.", "Give an .npz, .npy or .csv that `ardtool encode` wrote.") from error
    latent_dim = opened.autoencoder.latent_shape[0]
    z = torch.from_numpy(np.asarray(arrays.get("mean", np.zeros((0, 0))), dtype=np.float32))
    axes = [int(axis) for axis in arrays["axes"]] if "axes" in arrays else list(range(latent_dim))
    if z.ndim != 2 or z.shape[1] != len(axes) or not len(z) or any(not 0 <= axis < latent_dim for axis in axes):
        found = "×".join(map(str, z.shape))
        raise DataError(f"{source} holds codes of {found}; the model has {latent_dim} axes.", "Encode with the same model.")
    if len(axes) < latent_dim:
        z = full_codes(z, axes, codes_for(opened).statistics.mean)
    values = decode_in_units(opened, z, chosen)
    if path.suffix in PICTURES and values.ndim == 4:
        save_picture(image_grid(to_uint8(values, pixel_range(opened))), path)
    elif path.suffix in (".npz", ".npy"):
        save_array(path, samples=values.numpy())
    else:
        raise ConfigError(f"--out is {path}; expected .npz or .npy, or a picture for images.", "Use --out decoded.npz.")
    return FilesResult("ardtool.decode/1", [str(path)], list(values.shape), axes, 0)
