"""A decoder alone, as a module and as a file: codes in the model's own latent shape, data out, any number of samples at once.

A file holds only what `decode` reads: the encoder's weights, source paths and the codes of single samples stay out. Beside the decoder
it holds the description it was given, as JSON, with one more entry:

    "decoder": {"inputs": {"z": ["batch", 4, 8, 8]}, "output": ["batch", 3, 64, 64], "largest_batch": 63 or null}

`largest_batch` is the largest number of samples at once for which the file is the decoder: a .pt2 refuses more, ONNX does not.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..autoencoder import Posterior
from ..errors import ArdtoolError
from .onnx import require_onnx, write_onnx
from .program import EXPORTS, cannot_export, largest_batch, silence, trace_decoder
from .pt2 import write_pt2

__all__ = ["EXPORTS", "DecoderModule", "export_decoder"]


class DecoderModule(nn.Module):
    """`decode` of an autoencoder as the forward pass.

    Arguments:
        model: an autoencoder on flat codes (N, L). Where it has a `map_shape` (C, H, W), this module takes codes (N, C, H, W).

    Attributes:
        code_shape: shape of one code, (L,) or (C, H, W).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        shape: Any = getattr(model, "map_shape", None) or getattr(model, "latent_shape", ())
        self.code_shape = tuple(int(size) for size in shape)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Reconstructions with shape (N, *input_shape), float32, from codes with shape (N, *code_shape)."""
        model: Any = self.model
        flat = z.flatten(1)
        return (model.decode(flat) if context is None else model.decode(flat, context)).float()


def export_decoder(model: nn.Module, codes: Posterior, path: Path, kind: Literal["pt2", "onnx"], description: dict[str, Any]) -> None:
    """Write the decoder of an autoencoder as one file that runs without ardtool; the model itself is not changed.

    Arguments:
        model: an autoencoder on flat codes, on any device; the file is written for the CPU, in inference mode, in float32.
        codes: reference posteriors with shape (N, L), N ≥ 1; they give the shapes, and contexts where the decoder takes them.
        path: replaced atomically.
        kind: "pt2" (torch.export) or "onnx".
        description: JSON that goes into the file.

    Raises:
        ArdtoolError: the decoder cannot be exported, or packages are missing.
        StorageError: the file cannot be written.
    """
    if kind not in ("pt2", "onnx"):
        raise ArdtoolError(f"There is no export '{kind}'; expected one of {', '.join(EXPORTS)}.")
    if kind == "onnx":
        require_onnx()
    try:
        with silence(), torch.no_grad():
            module = _cpu_copy(model)
            inputs = _example_inputs(module, codes)
            program = trace_decoder(module, inputs)
            output = list(module(*inputs.values()).shape[1:])
    except Exception as error:  # a decoder may run any code, and torch.export has no common base class
        raise cannot_export(kind, error) from error
    text = json.dumps(
        description
        | {
            "decoder": {
                "inputs": {name: ["batch", *value.shape[1:]] for name, value in inputs.items()},
                "output": ["batch", *output],
                "largest_batch": largest_batch(program),
            }
        },
        ensure_ascii=False,
    )
    if kind == "pt2":
        write_pt2(program, path, text)
    else:
        write_onnx(program, list(inputs), path, text)


def _cpu_copy(model: nn.Module) -> DecoderModule:
    copied = copy.deepcopy(model).cpu().eval()
    if any(value.dtype == torch.float64 for value in copied.parameters()):
        copied = copied.float()
    return DecoderModule(copied).eval()


def _example_inputs(module: DecoderModule, codes: Posterior) -> dict[str, Tensor]:
    """Two samples, since a batch of one would be taken for a constant: the average code twice, which is nobody's, and two contexts."""
    shape = module.code_shape or tuple(codes.mean.shape[1:])
    inputs = {"z": codes.mean.detach().float().mean(0).cpu().expand(2, -1).reshape(2, *shape).contiguous()}
    if codes.context is not None:
        inputs["context"] = codes.context.detach()[torch.arange(2) % len(codes)].cpu()
    return inputs
