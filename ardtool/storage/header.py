"""What a file is, by its first bytes; and the JSON description in a model file's header, read without loading a tensor."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from ..errors import ModelFileError

__all__ = ["FORMAT_VERSION", "METADATA_KEY", "is_ardtool_file", "kind_of_file", "read_metadata"]

METADATA_KEY = "ardtool"
FORMAT_VERSION = 1
LARGEST_HEADER = 100 * 2**20

_MAGIC = (
    (b"PK\x03\x04", "a zip archive (a torch checkpoint, an .npz or an exported program)"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x80", "a Python pickle"),
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself"),
)


def kind_of_file(path: Path) -> str:
    """In words what a file's first bytes say it is; `safetensors` for that format."""
    with open(path, "rb") as file:
        start = file.read(64)
    if not start:
        return "an empty file"
    # safetensors first: the length of its header stands first and may look like any other format's magic number, \x80 above all
    if len(start) >= 9 and start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] <= LARGEST_HEADER:
        return "safetensors"
    if start.lstrip()[:1] == b"<":
        return "an HTML page (an error page saved in place of the file?)"
    for magic, kind in _MAGIC:
        if start.startswith(magic):
            return kind
    return "of an unknown kind"


def is_ardtool_file(path: Path) -> bool:
    """Whether a file is one that ardtool wrote; False where it cannot be read."""
    try:
        return path.is_file() and kind_of_file(path) == "safetensors" and METADATA_KEY in _read_header(path).get("__metadata__", {})
    except (OSError, ModelFileError):
        return False


def read_metadata(path: Path) -> dict[str, Any]:
    """The JSON description of a model file.

    Raises:
        ModelFileError: the file is missing, of another kind, truncated, not ardtool's, or of a newer format.
    """
    if not path.exists():
        raise ModelFileError(f"{path} does not exist.", "Train a model with `ardtool train`, or give the path of a model file.")
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder without model.safetensors.", "Give a run folder that training finished, or a model file.")
    kind = kind_of_file(path)
    if kind != "safetensors":
        raise ModelFileError(
            f"{path} is {kind}; expected a safetensors file.", "Download or copy the file again, or name a plugin that reads it."
        )
    header = _read_header(path)
    text = header.get("__metadata__", {}).get(METADATA_KEY)
    if text is None:
        raise ModelFileError(f"{path} holds tensors but no ardtool description.", "Name the plugin that reads it with --plugin.")
    try:
        metadata = json.loads(text)
        version = int(metadata["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path}: its ardtool description is not readable ({error!r}).", "Use another copy of the file.") from error
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path} has file format {version}; this ardtool reads up to {FORMAT_VERSION}.", "Upgrade with `pip install -U ardtool`."
        )
    return metadata


def _read_header(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        text = file.read(length)
    try:
        header = json.loads(text)
        end = 8 + length + max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path} is truncated or damaged: its header cannot be read.", "Copy or download the file again.") from error
    if size < end:
        raise ModelFileError(f"{path} is truncated: {size:,} of {end:,} bytes are there.", "Copy or download the file again.")
    return header
