"""The other side of `fresh.py`, run as `python -m ardtool.export.fresh_main FILE KIND FOLDER`: loads the file, decodes, writes outputs.

FOLDER holds the codes. Left there are the outputs by batch size, or the problem as JSON with `message` and `hint`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import ArdtoolError
from .fresh import CODES, OUTPUTS, PROBLEM, SIZES, median_seconds
from .program import one_line

Decode = Callable[[Tensor, Tensor | None], Tensor]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("kind")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--largest-batch", type=int, default=SIZES[-1])
    parser.add_argument("--plugin")
    parser.add_argument("--trust", action="store_true")
    request = parser.parse_args()
    try:
        with torch.inference_mode():
            _decode_all(request)
    except ArdtoolError as error:
        problem = {"message": error.message, "hint": error.hint}
    except Exception as error:  # whatever a library says about the file becomes one line in the other process
        message = f"{request.file} cannot be loaded and run in a new process: {one_line(error)}."
        problem = {"message": message, "hint": "Use another --export."}
    else:
        return 0
    (request.folder / PROBLEM).write_text(json.dumps(problem))
    return 1


def _decode_all(request: argparse.Namespace) -> None:
    codes = load_file(request.folder / CODES)
    z, context = codes["mean"], codes.get("context")
    decode, traced = _open(request)
    largest = request.largest_batch if traced is None else min(traced, request.largest_batch)

    def rows(start: int, stop: int) -> Tensor:
        index = torch.arange(start, stop) % len(z)
        return decode(z[index], None if context is None else context[index]).float().contiguous()

    sizes = sorted({min(size, largest) for size in SIZES})
    step = sizes[-1]
    outputs = {f"batch.{size}": rows(0, size) for size in sizes}
    outputs["all"] = torch.cat([rows(start, min(start + step, len(z))) for start in range(0, len(z), step)])
    seconds = median_seconds(lambda: rows(0, step)) / step
    said = {f"batch.{size}": size for size in sizes} | {"all": min(step, len(z))}
    save_file(outputs, request.folder / OUTPUTS, metadata={"seconds_per_sample": repr(seconds), "sizes": json.dumps(said)})


def _open(request: argparse.Namespace) -> tuple[Decode, int | None]:
    """What decodes flat codes by a file, and how many at once at most where that was fixed when it was traced."""
    if request.kind == "safetensors":
        return _open_safetensors(request.file, request.plugin, request.trust), None
    from .pt2 import read_description

    decoder = read_description(request.file)["decoder"]
    shape = decoder["inputs"]["z"][1:]
    run = _open_pt2(request.file) if request.kind == "pt2" else _open_onnx(request.file)

    def decode(z: Tensor, context: Tensor | None) -> Tensor:
        return run(z.float().reshape(len(z), *shape), context)

    return decode, decoder["largest_batch"]


def _open_safetensors(path: Path, plugin: str | Path | None, trust: bool) -> Decode:
    from ..autoencoder import flat_latents
    from ..storage.model_file import load_model

    model = flat_latents(load_model(path, plugin=plugin, trust=trust).autoencoder)

    def decode(z: Tensor, context: Tensor | None) -> Tensor:
        return model.decode(z) if context is None else model.decode(z, context)

    return decode


def _open_pt2(path: Path) -> Decode:
    module = torch.export.load(path).module()
    return lambda z, context: module(z) if context is None else module(z, context)


def _open_onnx(path: Path) -> Decode:
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def decode(z: Tensor, context: Tensor | None) -> Tensor:
        given = {"z": z, "context": context}
        return torch.from_numpy(session.run(None, {name: given[name].numpy() for name in names})[0])  # type: ignore[union-attr]

    return decode


if __name__ == "__main__":
    sys.exit(main())
