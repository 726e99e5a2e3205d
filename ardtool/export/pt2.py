"""Exported PyTorch programs (.pt2): a zip archive with the graph as JSON, the weights, and ardtool's description as an extra file.

`torch.export.load` may unpickle parts of such a file, so a foreign one counts as code. `read_description` reads the description of a
.pt2 or .onnx file and nothing else.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from ..errors import ModelFileError
from ..storage.atomic import write_atomically
from .onnx import DESCRIPTION, read_text
from .program import cannot_export, silence

__all__ = ["read_description", "write_pt2"]

MEMBER = f"{DESCRIPTION}.json"
LARGEST_DESCRIPTION = 100 * 2**20


def write_pt2(program: ExportedProgram, path: Path, text: str) -> None:
    """Write a program with a description, atomically.

    Raises:
        ArdtoolError: the program cannot be written in this format.
        StorageError: the file cannot be written.
    """
    buffer = io.BytesIO()  # torch's own writer ends the process where the disk is full
    try:
        with silence():
            torch.export.save(program, buffer, extra_files={MEMBER: text})
    except Exception as error:
        raise cannot_export("pt2", error, ("onnx", "safetensors")) from error
    write_atomically(path, lambda aside: _write(aside, buffer))


def read_description(path: str | Path) -> dict[str, Any]:
    """The description in an exported decoder; nothing in the file is executed.

    Raises:
        ModelFileError: the file is missing or damaged, or ardtool did not export it.
        ArdtoolError: it is an ONNX file and the package onnx is missing.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(4)
        text = _text_in_zip(path) if start == b"PK\x03\x04" else read_text(path)
    except OSError as error:
        raise ModelFileError(f"Cannot read {path}: {error.strerror or error}.", "Give the path of an exported decoder.") from error
    if text is None:
        raise ModelFileError(
            f"{path} is no decoder that ardtool exported.", "Make one with `ardtool prune --export pt2` or `--export onnx`."
        )
    try:
        description = json.loads(text)
    except ValueError as error:
        raise ModelFileError(f"{path}: its ardtool description is not readable ({error}).", "Use another copy of the file.") from error
    if not isinstance(description, dict):
        raise ModelFileError(f"{path}: its ardtool description is not a JSON object.", "Use another copy of the file.")
    return description


def _text_in_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename.endswith(f"/extra/{MEMBER}") and member.file_size <= LARGEST_DESCRIPTION:
                    return archive.read(member).decode()
    except (zipfile.BadZipFile, UnicodeDecodeError, EOFError, NotImplementedError) as error:
        raise ModelFileError(f"{path} is truncated or damaged: {error}.", "Copy the file again.") from error
    return None


def _write(path: Path, buffer: io.BytesIO) -> None:
    with open(path, "wb") as file:
        file.write(buffer.getbuffer())
