"""`sample`: new data from a model, as a picture, an array, or a folder of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..data.pixels import from_unit
from ..errors import ConfigError, ModelFileError
from ..latent.axes import Granularity
from ..latent.chunks import in_pieces
from ..latent.codes import LatentCodes
from ..latent.jacobian import inference_mode
from ..latent.sampling import Sampler, check_sampler, draw_codes
from ..storage.atomic import write_folder
from ..storage.images import image_grid, save_array, save_picture, to_uint8
from ..storage.model_file import SavedModel
from .inputs import data_for, saved_pixel_map, warnings_of
from .memory import decoding_rows
from .opening import ModelLike, choose_device, codes_for, measured_by, open_model
from .relevance import active_axes_of

__all__ = ["FilesResult", "decode_in_units", "drawn_codes", "in_users_range", "pixel_range", "sample"]

PICTURES = (".png", ".jpg", ".webp")
ARRAYS = (".npz", ".npy")
MOST_SAMPLES = 1_000_000


@dataclass(frozen=True)
class FilesResult:
    """Files that a command wrote.

    Attributes:
        schema: the JSON contract's name.
        files: paths.
        shape: shape of the array behind them.
        axes: latent axes that varied: channels or elements of maps.
        seed: the seed that made them.
        warnings: what to keep in mind about them, one sentence each.
    """

    schema: str
    files: list[str]
    shape: list[int]
    axes: list[int]
    seed: int
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        if not self.warnings:
            del values["warnings"]
        return values


def sample(
    model: ModelLike = None,
    *,
    out: str | Path,
    n: int = 64,
    sampler: Sampler | None = None,
    all_axes: bool = False,
    data: Any = None,
    latents: str | Path | None = None,
    assume_prior: bool = False,
    granularity: Granularity = "channel",
    seed: int = 0,
    device: str = "auto",
    plugin: str | Path | None = None,
    trust: bool = False,
    data_root: str | Path | None = None,
    skip_bad: bool = False,
    force: bool = False,
) -> FilesResult:
    """Draw n codes, decode them, write the result.

    Arguments:
        model: a path, a run folder, an object with `encode` and `decode`, or None for the newest run.
        out: a picture (.png, .jpg, .webp: a grid), an array (.npz, .npy, in the units of the training data), or a folder that gets
            one picture a sample.
        sampler: see `latent/sampling.py`; None for the one that the model's method has, `full-gaussian` on foreign models.
        n: how many, from 1 to a million.
        all_axes: let inactive axes vary too.
        data, latents, assume_prior: where the codes come from; one of them for models that carry none.
        granularity: whether the axes of a latent map are its channels or its elements.
        seed: of the draws.
        device: auto, cpu, cuda[:i] or mps.
        plugin: the name or file of the plugin that reads a foreign model.
        trust: load models whose loading can run foreign code.
        data_root: where named data sets lie.
        skip_bad: leave out images of a folder or archive that cannot be decoded, instead of stopping.
        force: replace a folder that holds something.

    Raises:
        ArdtoolError: with one line that says what to change.
    """
    if not 1 <= n <= MOST_SAMPLES:
        raise ConfigError(f"-n is {n}; expected 1 to {MOST_SAMPLES:,}.", "64 fill a picture.")
    check_sampler(sampler)
    path = Path(out)
    chosen = choose_device(device)
    opened = open_model(model, chosen, plugin, trust=trust, granularity=granularity)
    _check_out(path, tuple(opened.autoencoder.input_shape), force)
    data_set = None if data is None else data_for(opened, data, data_root, skip_bad=skip_bad)
    codes = codes_for(opened, data=data_set, latents=latents, assume_prior=assume_prior, seed=seed, device=chosen)
    latent = opened.latent_axes
    axes = list(range(latent.count)) if all_axes else sorted(active_axes_of(measured_by(opened, codes), codes, chosen)[0])
    z, context = drawn_codes(opened, codes, n, axes, seed, sampler)
    values = decode_in_units(opened, z, chosen, context)
    return FilesResult("ardtool.sample/1", _write(opened, values, path), list(values.shape), axes, seed, warnings_of(data_set))


def drawn_codes(
    model: SavedModel, codes: LatentCodes, n: int, axes: Sequence[int], seed: int, sampler: Sampler | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """n codes with shape (n, L) in which some axes vary, by the sampler that the model's method has where none is given, and contexts."""
    kind: Sampler = sampler or model.metadata.get("sampler") or ("paper" if codes.prior is not None else "full-gaussian")
    z = draw_codes(codes, n, kind, model.latent_axes.elements_of(list(axes)), torch.Generator().manual_seed(seed))
    context = codes.reference.context
    return z, None if context is None else context[torch.arange(n) % len(context)]


def decode_in_units(model: SavedModel, z: torch.Tensor, device: torch.device, context: Any = None) -> torch.Tensor:
    """Decode codes with shape (N, L) in inference mode; vectors come back in the user's own units, float64 where they were standardised.

    Raises:
        ModelFileError: the decoder's values are not finite.
    """

    def decoded(part: slice) -> torch.Tensor:
        return model.autoencoder.decode(z[part].to(device), None if context is None else context[part].to(device)).float().cpu()

    with inference_mode(model.autoencoder):
        first = None if context is None else context[:1].to(device)
        rows = decoding_rows(model.autoencoder, z[:1].to(device), first)
        values = torch.cat([found for _, found in in_pieces(len(z), rows, decoded)])
    broken = int((~values.isfinite()).flatten(1).any(dim=1).sum())
    if broken:
        raise ModelFileError(
            f"The decoder gives values that are not finite for {broken} of {len(values)} codes.", "Check that the codes are this model's."
        )
    return values if model.scaling is None else model.scaling.undo(values)


def pixel_range(model: SavedModel) -> tuple[float, float]:
    """The range of pixel values that a model produces; (0, 1) unless its description says otherwise."""
    found = model.metadata.get("data", {}).get("value_range")
    return (0.0, 1.0) if found is None else (float(found[0]), float(found[1]))


def in_users_range(model: SavedModel, values: torch.Tensor) -> torch.Tensor:
    """Decoded images in the units of the arrays that the model was trained on; in [0, 1] for all other images, vectors as they are."""
    pixel_map = saved_pixel_map(model)
    return values if values.ndim != 4 or pixel_map == "guess" else from_unit(values, pixel_map)


def _check_out(out: Path, shape: tuple[int, ...], force: bool) -> None:
    """Raise `ConfigError` where samples of this shape cannot be written to `out`."""
    suffix = out.suffix.lower()
    if suffix in ARRAYS:
        return
    if len(shape) != 3:
        raise ConfigError(f"--out is {out}, but the model makes vectors of {math.prod(shape)} numbers.", "Use --out samples.npz or .npy.")
    if suffix and suffix not in PICTURES and not out.is_dir():
        raise ConfigError(
            f"--out is {out}; expected a picture (.png, .jpg, .webp), an array (.npz, .npy) or a folder.", "Use --out samples.png."
        )
    if suffix not in PICTURES and out.is_dir() and any(out.iterdir()):
        _check_replaceable(out, force)


def _check_replaceable(folder: Path, force: bool) -> None:
    """Raise `ConfigError` unless a folder that holds something may be replaced: with --force, where it holds pictures alone."""
    if not force:
        raise ConfigError(f"--out {folder} is a folder that holds something.", "Choose another --out, or replace it with --force.")
    other = next((each.name for each in sorted(folder.iterdir()) if each.suffix.lower() not in PICTURES), None)
    if other is not None:
        raise ConfigError(f"--out {folder} holds '{other}', which is no picture; it is not replaced.", "Choose another --out.")


def _write(model: SavedModel, values: torch.Tensor, out: Path) -> list[str]:
    suffix = out.suffix.lower()
    if suffix in ARRAYS:
        save_array(out, samples=in_users_range(model, values).numpy())
        return [str(out)]
    images = to_uint8(values, pixel_range(model))
    if suffix in PICTURES:
        save_picture(image_grid(images), out)
        return [str(out)]
    digits = len(str(len(images) - 1))
    names = [f"{number:0{digits}d}.png" for number in range(len(images))]

    def draw(folder: Path) -> None:
        for name, image in zip(names, images, strict=True):
            save_picture(image_grid(image[None], scale=1, padding=0), folder / name)

    write_folder(out, draw)
    return [str(out / name) for name in names]
