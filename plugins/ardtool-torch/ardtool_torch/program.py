"""Exported programs: a decoder z (N, *latent_shape) to x̂ (N, *input_shape), and an encoder x to means, or to means and log variances.

A program has its own weights, its own type of numbers, and bounds on the number of samples in a batch: larger batches are split, smaller
ones filled up. It cannot be switched between training and inference; it does what it was exported with.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from ardtool import Posterior
from ardtool.errors import ArdtoolError, ModelFileError

from .files import read, read_unchanged, reason, sha256

__all__ = ["ProgramAutoencoder", "build_programs", "load_programs"]

EXPORT = 'Export it with a free batch: torch.export.export(decoder, (z,), dynamic_shapes=({0: torch.export.Dim("batch")},)).'


class Program(nn.Module):
    """One exported program as a function of a batch.

    Its weights are this module's; what `torch.export` calls its module is code alone, kept out of sight since it has no inference mode.

    Attributes:
        path: where it came from.
        input_shape: of one sample that it takes.
        output_shapes: of one sample of each output.
    """

    def __init__(self, exported: ExportedProgram, path: Path) -> None:
        super().__init__()
        self.path = path
        values = {node.name: node.meta.get("val") for node in exported.graph.nodes}
        signature = exported.graph_signature
        inputs = [values.get(str(name)) for name in signature.user_inputs]
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
            raise ModelFileError(f"{path} takes {len(inputs)} inputs; expected one tensor.", "Export a module that takes samples or codes.")
        self.input_shape = self._sample_shape(inputs[0])
        self.output_shapes = [self._sample_shape(values.get(str(name))) for name in signature.user_outputs]
        self._exported, self._code = exported, [exported.module()]
        self._place = torch.empty(0, dtype=inputs[0].dtype, device=inputs[0].device)
        self._least, self._most = self._batch_bounds(inputs[0].shape[0])
        code = self._code[0]
        for name, parameter in code.named_parameters():
            self.register_parameter(_own_name(name), parameter)
        for name, buffer in code.named_buffers():
            self.register_buffer(_own_name(name), buffer)
        self._names = [name for name, _ in [*code.named_parameters(), *code.named_buffers()]]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Program:
        """Weights move as any module's; devices that are written into the program move with them."""
        super()._apply(fn, recurse)
        former, self._place = self._place.device, fn(self._place)
        if self._place.device != former:
            self._exported = move_to_device_pass(self._exported, self._place.device)
            self._code = [self._exported.module()]
        return self

    def forward(self, batch: Tensor) -> list[Tensor]:
        """Every output for a batch with shape (N, *input_shape), in the batch's own type of numbers."""
        whole = batch.to(self._place)
        parts = [whole] if self._most is None or batch.shape[0] <= self._most else whole.split(self._most)
        outputs = [self._run(part) for part in parts]
        return [(each[0] if len(each) == 1 else torch.cat(each)).to(batch) for each in zip(*outputs, strict=True)]

    def _run(self, part: Tensor) -> list[Tensor]:
        """Every output for a batch that is not too large; one that is too small is filled up with its last sample."""
        count = part.shape[0]
        if count < self._least:
            part = torch.cat([part, part[-1:].expand(self._least - count, *part.shape[1:])])
        weights = {name: getattr(self, _own_name(name)) for name in self._names}
        return [each[:count] for each in tree_leaves(functional_call(self._code[0], weights, (part,)))]

    def _sample_shape(self, value: Any) -> tuple[int, ...]:
        sizes = tuple(value.shape[1:]) if isinstance(value, Tensor) else ()
        if not sizes or not all(isinstance(size, int) for size in sizes):
            raise ModelFileError(f"{self.path} has an input or output that is no batch of samples of one shape.", EXPORT)
        return sizes

    def _batch_bounds(self, size: Any) -> tuple[int, int | None]:
        """The least and the most samples in a batch; None where there is no bound."""
        if isinstance(size, int):
            return size, size
        bounds = self._exported.range_constraints.get(size.node.expr)
        if bounds is None:
            return 1, None
        most = int(bounds.upper) if bounds.upper < 2**31 else None
        return max(1, int(bounds.lower)), most


class ProgramAutoencoder(nn.Module):
    """A decoder, and an encoder where there is one.

    Arguments:
        decoder: takes codes (N, *latent_shape) and gives samples (N, *input_shape).
        encoder: takes samples, gives means or means and log variances; or None.
        record: what `build_programs` takes.
    """

    def __init__(self, decoder: Program, encoder: Program | None, record: dict[str, Any]) -> None:
        super().__init__()
        self.decoder = decoder
        self.encoder = encoder
        self.input_shape = decoder.output_shapes[0]
        self.latent_shape = decoder.input_shape
        self.build_record = record

    def encode(self, x: Tensor) -> Posterior:
        if self.encoder is None:
            raise ArdtoolError(
                f"{self.decoder.path} is a decoder alone; it encodes nothing.",
                "Give --latents codes.npz or --assume-prior, or a folder with encoder.pt2 and decoder.pt2.",
            )
        return Posterior(*self.encoder(x))

    def decode(self, z: Tensor, context: Any = None) -> Tensor:
        return self.decoder(z)[0]


def load_programs(path: Path) -> ProgramAutoencoder:
    """The model of a decoder's file, or of a folder with decoder.pt2 and perhaps encoder.pt2. This unpickles."""
    files = {"decoder": path / "decoder.pt2", "encoder": path / "encoder.pt2"} if path.is_dir() else {"decoder": path}
    found = {part: file.resolve() for part, file in files.items() if file.is_file() or part == "decoder"}
    return _assemble({part: (file, read(file)) for part, file in found.items()})


def build_programs(record: dict[str, Any]) -> ProgramAutoencoder:
    """The model of unchanged programs."""
    files = {part: Path(file["path"]) for part, file in record["programs"].items()}
    return _assemble({part: (file, read_unchanged(file, record["programs"][part]["sha256"])) for part, file in files.items()})


def _assemble(files: dict[str, tuple[Path, bytes]]) -> ProgramAutoencoder:
    programs = {part: _read_program(path, content) for part, (path, content) in files.items()}
    record = {"programs": {part: {"path": str(path), "sha256": sha256(content)} for part, (path, content) in files.items()}}
    decoder, encoder = programs["decoder"], programs.get("encoder")
    if len(decoder.output_shapes) != 1:
        raise ModelFileError(
            f"{decoder.path} gives {len(decoder.output_shapes)} outputs; a decoder gives one.", "Export the decoder alone."
        )
    if encoder is not None:
        _check_encoder(encoder, decoder)
    return ProgramAutoencoder(decoder, encoder, record)


def _check_encoder(encoder: Program, decoder: Program) -> None:
    codes = [decoder.input_shape]
    if encoder.output_shapes not in (codes, codes * 2) or encoder.input_shape != decoder.output_shapes[0]:
        given = " and ".join("×".join(map(str, shape)) for shape in encoder.output_shapes)
        taken, wanted, samples = (
            "×".join(map(str, shape)) for shape in (encoder.input_shape, decoder.input_shape, decoder.output_shapes[0])
        )
        raise ModelFileError(
            f"{encoder.path} maps {taken} to {given}; the decoder maps codes of {wanted} to {samples}.",
            "An encoder gives means, or means and log variances, of the decoder's codes.",
        )


def _read_program(path: Path, content: bytes) -> Program:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = torch.export.load(io.BytesIO(content))
    except Exception as error:  # torch fails in many ways on damaged bytes
        raise ModelFileError(f"{path} is no exported program that this torch reads: {reason(error)}.", "Export it again.") from error
    return Program(exported, path)


def _own_name(name: str) -> str:
    return name.replace(".", "/")
