"""The files of a pruned model: all are written aside, loaded in a fresh process, compared with the original, and only then put in place."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...autoencoder import FlatLatents, Posterior, flat_latents
from ...errors import ArdtoolError, ConfigError, ModelFileError, StorageError
from ...export.decoder import export_decoder
from ...export.fresh import check_in_fresh_process
from ...export.program import EXPORTS
from ...latent.jacobian import inference_mode
from ...networks.build import NetworkAutoencoder
from ...storage.atomic import make_folder
from ...storage.model_file import SavedModel, save_model
from .record import decoder_description

__all__ = ["LARGEST_DIFFERENCE", "Targets", "check_can_be_saved", "decoder_bytes", "plan_files", "put_in_place", "write_exports"]

LARGEST_DIFFERENCE = 1e-5


@dataclass(frozen=True)
class Targets:
    """Where files go.

    Attributes:
        exports: paths of models by kind.
        record: the result as JSON.
        plot: the picture of the curve, or None.
    """

    exports: dict[str, Path]
    record: Path
    plot: Path | None


def plan_files(out: Path, export: Sequence[str] | None, plot: Path | None, has_curve: bool, force: bool) -> Targets:
    """The files that `--out`, `--export` and `--plot` ask for: `out` itself, and beside it one file for each further kind.

    Raises:
        ConfigError: a kind is not known, `out` has no kind, or a file exists already.
        StorageError: a folder is in the way.
    """
    unknown = [kind for kind in export or () if kind not in EXPORTS]
    if unknown:
        raise ConfigError(
            f"--export is '{unknown[0]}'; expected {', '.join(EXPORTS[:-1])} or {EXPORTS[-1]}.", "safetensors is the usual one."
        )
    own = out.suffix.lower().removeprefix(".")
    stem = out.with_suffix("") if own in EXPORTS else out
    if own not in EXPORTS and (not export or out.suffix):
        example = (out if out.name else out / "small").with_suffix(".safetensors")
        raise ConfigError(f"--out is {out}; a pruned model is a .safetensors, .pt2 or .onnx file.", f"Use --out {example}.")
    exports = {own: out} if own in EXPORTS else {}
    exports |= {kind: stem.with_name(f"{stem.name}.{kind}") for kind in export or () if kind not in exports}
    record = stem.with_name(f"{stem.name}.json")
    if plot is None and has_curve:
        plot = stem.with_name(f"{stem.name}.curve.png")
    for path in (*exports.values(), record, *([plot] if plot is not None else [])):
        if path.exists() and not force:
            raise ConfigError(f"{path} exists already.", "Choose another --out, or replace it with --force.")
        if path.exists() and not path.is_file():
            raise StorageError(f"{path} is {'a folder' if path.is_dir() else 'no regular file'}.", "Choose another --out.")
    return Targets(exports, record, plot)


def check_can_be_saved(model: SavedModel, targets: Targets) -> None:
    """Raise `ModelFileError` for an object that no file can bring back."""
    network: Any = model.autoencoder.model if isinstance(model.autoencoder, FlatLatents) else model.autoencoder
    name = type(network).__name__
    if not isinstance(model.autoencoder, nn.Module):
        raise ModelFileError(
            f"A {name} is no torch.nn.Module, so it has no weights to write.", "Use ardtool.PrunedAutoencoder in Python, without a file."
        )
    if "safetensors" not in targets.exports or isinstance(network, NetworkAutoencoder) or "architecture" in model.metadata:
        return
    foreign = model.metadata.get("foreign")
    if foreign is None:
        raise ModelFileError(
            f"A {name} that was made in Python cannot be rebuilt from a .safetensors file: no plugin knows how.",
            "Export its decoder with --out small.pt2 or small.onnx, or use ardtool.PrunedAutoencoder in Python.",
        )
    if foreign.get("record") is None:
        raise ModelFileError(
            f"The plugin '{foreign['plugin']}' cannot rebuild a {name} from a .safetensors file.",
            "Export its decoder with --out small.pt2 or small.onnx, or ask the plugin's author for `build`.",
        )


def write_exports(
    pruned: SavedModel,
    paths: dict[str, Path],
    codes: Posterior,
    expected: Tensor,
    *,
    largest_batch: int,
    plugin: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Write a model in every kind, load each file in a fresh process, and compare; one record a file.

    Arguments:
        paths: by kind.
        codes: of the pruned model, to be decoded with shape (N, L).
        expected: what the original decodes there with all else held still, with shape (N, *input_shape).
        largest_batch: as many codes may be decoded at once.
        plugin: what brought the original, by name or file; its files are trusted, since the original was opened on the user's word.

    Raises:
        ArdtoolError: a file cannot be written or loaded, or decodes something else.
    """
    assert pruned.codes is not None and isinstance(pruned.autoencoder, nn.Module), "a pruned model has codes and weights"
    records = []
    for kind, path in paths.items():
        if kind == "safetensors":
            save_model(pruned, path)
        else:
            flat: Any = flat_latents(pruned.autoencoder)
            export_decoder(flat, pruned.codes.reference, path, kind, decoder_description(pruned))  # pyright: ignore[reportArgumentType]
        check = check_in_fresh_process(path, kind, codes, expected, largest_batch=largest_batch, plugin=plugin, trust=True)
        if not check.relative <= LARGEST_DIFFERENCE:
            raise ArdtoolError(
                f"{path}, loaded in a fresh process, differs from the original decoder by {check.relative:.1e} of the output's scale; "
                f"expected at most {LARGEST_DIFFERENCE:g}. Nothing was written.",
                "Please report this model, or use another --export.",
            )
        record = {"kind": kind, "file": path.name, "bytes": path.stat().st_size, "seconds_per_sample": check.seconds_per_sample}
        records.append(record | {"max_abs_difference": check.max_abs_difference, "relative": check.relative, "batches": check.batches})
    return records


@contextmanager
def put_in_place(paths: Sequence[Path]) -> Iterator[Callable[[Path], Path]]:
    """A function from final paths to paths aside; on success all files replace the old ones in turn, on a failure before that none does.

    Raises:
        StorageError: a folder cannot be written to.
    """
    folders: dict[Path, tempfile.TemporaryDirectory[str]] = {}
    try:
        for path in paths:
            parent = path.resolve().parent
            if parent not in folders:
                make_folder(parent)
                folders[parent] = tempfile.TemporaryDirectory(dir=parent, prefix=f".{path.name}.")
        aside = {path: Path(folders[path.resolve().parent].name) / path.name for path in paths}
        try:
            yield aside.__getitem__
        except ArdtoolError as error:
            raise type(error)(_with_final_names(error.message, aside), error.hint) from error
        for path, written in aside.items():
            os.replace(written, path.resolve())
    except OSError as error:
        raise StorageError(
            f"Cannot write {paths[0]}: {error.strerror or error}.", "Free space or choose another place with --out."
        ) from error
    finally:
        for folder in folders.values():
            folder.cleanup()


def _with_final_names(message: str, aside: dict[Path, Path]) -> str:
    for final, written in aside.items():
        message = message.replace(str(written.resolve()), str(final)).replace(str(written), str(final))
    return message


def decoder_bytes(model: Any, codes: Posterior) -> int:
    """Bytes of the weights that decoding reads: those that a derivative of the outputs reaches, or all where torch finds none."""
    weights = [value for value in model.parameters() if value.is_floating_point()]
    one = codes.rows(slice(0, 1))
    device = weights[0].device if weights else torch.device("cpu")
    frozen = [value for value in weights if not value.requires_grad]
    try:
        for value in frozen:
            value.requires_grad_(True)
        with inference_mode(model), torch.enable_grad():
            output = model.decode(one.mean.to(device), None if one.context is None else one.context.to(device))
            reached = torch.autograd.grad(output.sum(), weights, allow_unused=True) if output.requires_grad else [None] * len(weights)
    finally:
        for value in frozen:
            value.requires_grad_(False)
    read = [value for value, gradient in zip(weights, reached, strict=True) if gradient is not None]
    return sum(value.numel() * value.element_size() for value in read or weights)
