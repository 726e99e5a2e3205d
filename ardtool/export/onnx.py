"""ONNX files: one file with the weights inside, the batch free, ardtool's description among the metadata of the model.

Inputs are `z` and, where the decoder takes one, `context`; the output is `x`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch.export import ExportedProgram

from ..errors import ArdtoolError
from ..storage.atomic import write_atomically
from .program import cannot_export, silence

__all__ = ["DESCRIPTION", "read_text", "require_onnx", "write_onnx"]

DESCRIPTION = "ardtool"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
LARGEST = 2**31 - 2**24  # one protobuf message holds less than 2 GiB; the rest is for the graph


def require_onnx(*packages: str) -> None:
    """Check that packages for ONNX are installed: those named, or all that writing and verifying a file takes.

    Raises:
        ArdtoolError: one is missing.
    """
    missing = [name for name in packages or PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        are = "packages that are" if len(missing) > 1 else "a package that is"
        raise ArdtoolError(f"ONNX files need {are} not installed: {', '.join(missing)}.", f"`pip install {' '.join(missing)}`.")


def write_onnx(program: ExportedProgram, inputs: list[str], path: Path, text: str) -> None:
    """Write a program as ONNX with a description, atomically.

    Arguments:
        inputs: names of the inputs, in their order; the first dimension of each is the batch.

    Raises:
        ArdtoolError: the program has no form in ONNX, or is too large for one file.
        StorageError: the file cannot be written.
    """
    try:
        with silence():
            translated = torch.onnx.export(
                program,
                (),
                input_names=inputs,
                output_names=["x"],
                dynamic_shapes={name: {0: "batch"} for name in inputs},
                external_data=False,
                verbose=False,
            )
        assert translated is not None, "torch.onnx returns a program where it writes no file itself"
    except Exception as error:
        raise cannot_export("onnx", error, ("pt2", "safetensors")) from error
    model = translated.model
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
    if size > LARGEST:
        raise ArdtoolError(f"The decoder has {size / 2**30:.1f} GiB of weights; one ONNX file holds less than 2 GiB.", "Use --export pt2.")
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph:  # what the exporter notes about source lines and classes
        node.metadata_props.clear()
        node.doc_string = None
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.metadata_props[DESCRIPTION] = text
    with silence():
        write_atomically(path, lambda aside: translated.save(str(aside), external_data=False))


def read_text(path: Path) -> str | None:
    """The description in an ONNX file, or None where it has none or is no ONNX file.

    Raises:
        ArdtoolError: the package onnx is missing.
    """
    require_onnx("onnx")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError:
        return None
    return next((entry.value for entry in model.metadata_props if entry.key == DESCRIPTION), None)
