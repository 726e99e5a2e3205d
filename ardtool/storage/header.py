"""What a file is, by its first bytes and its names; and the description in a safetensors header, read without loading a tensor."""

from __future__ import annotations

import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelFileError

__all__ = [
    "FORMAT_VERSION",
    "LARGEST_HEADER",
    "METADATA_KEY",
    "FileKind",
    "identify",
    "is_ardtool_file",
    "kind_of_file",
    "read_header",
    "read_metadata",
]

METADATA_KEY = "ardtool"
FORMAT_VERSION = 1
LARGEST_HEADER = 100 * 2**20
MOST_NAMES = 12


@dataclass(frozen=True)
class FileKind:
    """What a file or folder is.

    Attributes:
        kind: one word: ardtool, safetensors, torch, torch-legacy, torchscript, pt2, pickle, npz, npy, onnx, hdf5, zip, gzip, tar, html,
            git-lfs, text, empty, truncated, unknown; of folders run, diffusers, pythae, scvi,
            folder.
        description: the same in words, to stand behind "is".
    """

    kind: str
    description: str


_LEGACY_NUMBER = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that old torch files start with, as a pickle
_MAGIC = (
    (b"PK\x05\x06", FileKind("zip", "an empty zip archive")),
    (b"\x93NUMPY", FileKind("npy", "a NumPy array")),
    (b"\x89HDF", FileKind("hdf5", "an HDF5 file")),
    (b"\x1f\x8b", FileKind("gzip", "compressed by gzip")),
    (b"version https://git-lfs", FileKind("git-lfs", "a git-lfs pointer, not the file itself")),
    (b"\x80", FileKind("pickle", "a Python pickle")),
)


def identify(path: Path) -> FileKind:
    """What a file or folder is, by magic numbers and by the names inside an archive or a folder; nothing is unpickled.

    Raises:
        ModelFileError: there is nothing at the path, or nothing that can be read.
    """
    try:
        if path.is_dir():
            return _kind_of_folder(path)
        if not path.exists():
            raise ModelFileError(f"{path} does not exist.", "Give the path of a file or folder.")
        if not path.is_file():  # to open a pipe is to wait for ever
            raise ModelFileError(f"{path} is neither a file nor a folder.", "Give the path of a file or folder.")
        return _kind_of_bytes(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ModelFileError(f"{path} cannot be read: {reason}.", "Check its path and its permissions.") from error


def kind_of_file(path: Path) -> str:
    """In words what a file is; `safetensors` for every file of that format, damaged ones too."""
    with open(path, "rb") as file:
        return "safetensors" if _is_safetensors(file.read(64)) else identify(path).description


def _kind_of_bytes(path: Path) -> FileKind:
    with open(path, "rb") as file:
        start = file.read(512)
    if not start:
        return FileKind("empty", "an empty file")
    if _is_safetensors(start):  # first, since the length of a header may look like any magic number
        return _kind_of_safetensors(path)
    if start.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        return FileKind("html", "an HTML page (an error page saved in place of the file?)")
    if start[:1] == b"\x80" and _LEGACY_NUMBER in start[:64]:
        return FileKind("torch-legacy", "a torch checkpoint in the format before torch 1.6")
    if start[257:262] == b"ustar":
        return FileKind("tar", "a tar archive")
    if len(start) > 2 and start[0] == 0x08 and 0 < start[1] < 32 and start[2] in (0x12, 0x3A, 0x42):
        return FileKind("onnx", "an ONNX model")
    for magic, kind in _MAGIC:
        if start.startswith(magic):
            return FileKind("hdf5", "an HDF5 file of annotated data (.h5ad)") if path.suffix == ".h5ad" and kind.kind == "hdf5" else kind
    return FileKind("text", "a text file") if _is_text(start) else FileKind("unknown", "of an unknown kind")


def _is_safetensors(start: bytes) -> bool:
    return len(start) >= 9 and start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] <= LARGEST_HEADER


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode()
    except UnicodeDecodeError as error:  # a letter may be cut at the end
        text = start[: error.start].decode() if error.start >= len(start) - 3 else "\0"
    return all(letter.isprintable() or letter in "\t\r\n\f" for letter in text)


def _kind_of_safetensors(path: Path) -> FileKind:
    try:
        header = read_header(path)
    except ModelFileError:
        return FileKind("truncated", "a truncated or damaged safetensors file")
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or METADATA_KEY not in metadata:
        return FileKind("safetensors", "a safetensors file")
    try:
        description = read_metadata(path)
    except ModelFileError:
        return FileKind("ardtool", "an ardtool model whose description this ardtool cannot read")
    words = f"an ardtool model ({description.get('method', 'of an unknown method')})"
    axes = description.get("axes")
    if isinstance(axes, dict) and isinstance(axes.get("kept"), list):
        return FileKind("ardtool", f"{words}, pruned to {_pruned_to(description, axes)}")
    return FileKind("ardtool", words)


def _pruned_to(description: dict[str, Any], axes: dict[str, Any]) -> str:
    """What is left of a pruned model's axes, in words."""
    kept = len(axes["kept"])
    if description.get("basis") == "principal":
        return f"{kept} principal directions"
    noun = f"{description['granularity']}s" if isinstance(description.get("granularity"), str) else "latent axes"
    return f"{kept} of {axes.get('of', '?')} {noun}"


def _kind_of_zip(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):  # a damaged one may point anywhere
        return FileKind("truncated", "a truncated or damaged zip archive (a torch checkpoint, an .npz or an exported program)")
    inside = {name.partition("/")[2] for name in names} | set(names)  # torch puts a folder around everything
    if "models/model.json" in inside or "serialized_exported_program.json" in inside or "archive_format" in inside:
        return FileKind("pt2", "a program exported by torch.export")
    if "data.pkl" in inside and "constants.pkl" in inside:
        return FileKind("torchscript", "a TorchScript program")
    if "data.pkl" in inside:
        return FileKind("torch", "a torch checkpoint")
    if names and all(name.endswith(".npy") for name in names):
        return FileKind("npz", f"a NumPy archive of {len(names)} array{'s' if len(names) > 1 else ''}")
    return FileKind("zip", f"a zip archive of {len(names)} files")


def _kind_of_folder(path: Path) -> FileKind:
    if (path / "model.safetensors").is_file() and is_ardtool_file(path / "model.safetensors"):
        return FileKind("run", "a finished ardtool run")
    if (path / "resume" / "state.safetensors").is_file():
        return FileKind("run", "an unfinished ardtool run")
    if name := _json_entry(path / "config.json", "_class_name"):
        return FileKind("diffusers", f"a diffusers model ({name})")
    if name := _json_entry(path / "model_index.json", "_class_name"):
        return FileKind("diffusers", f"a diffusers pipeline ({name})")
    if (path / "model_config.json").is_file():
        return FileKind("pythae", f"a pythae model ({_json_entry(path / 'model_config.json', 'name') or 'of an unknown class'})")
    if (path / "model.pt").is_file():
        return FileKind("scvi", "a folder with model.pt, as scvi-tools saves models")
    names = sorted(each.name for each in path.iterdir())
    if not names:
        return FileKind("folder", "an empty folder")
    shown = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
    return FileKind("folder", f"a folder with {shown}")


def _json_entry(path: Path, key: str) -> str | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size <= LARGEST_HEADER else None
    except (OSError, ValueError, RecursionError):
        return None
    return str(value[key]) if isinstance(value, dict) and key in value else None


def is_ardtool_file(path: Path) -> bool:
    """Whether a file is one that ardtool wrote; False where it cannot be read."""
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            start = file.read(64)
        return _is_safetensors(start) and METADATA_KEY in read_header(path).get("__metadata__", {})
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
    header = read_header(path)
    text = header.get("__metadata__", {}).get(METADATA_KEY)
    if text is None:
        raise ModelFileError(f"{path} holds tensors but no ardtool description.", "Name the plugin that reads it with --plugin.")
    try:
        metadata = json.loads(text)
        version = int(metadata["format"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ModelFileError(f"{path}: its ardtool description is not readable ({error!r}).", "Use another copy of the file.") from error
    if version > FORMAT_VERSION:
        raise ModelFileError(f"{path} has file format {version}; this ardtool reads up to {FORMAT_VERSION}.", "Install a newer ardtool.")
    return metadata


def read_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: for every tensor `dtype`, `shape` and `data_offsets`, and `__metadata__` where there is one.

    Raises:
        ModelFileError: the file is truncated, or its header is none.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        text = file.read(length)
    try:
        header = json.loads(text)
        end = 8 + length + max((_end_of(entry) for name, entry in header.items() if name != "__metadata__"), default=0)
        if not isinstance(header.get("__metadata__", {}), dict):
            raise ValueError("metadata are no names and values")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{path} is truncated or damaged: its header cannot be read.", "Copy or download the file again.") from error
    if size < end:
        raise ModelFileError(f"{path} is truncated: {size:,} of {end:,} bytes are there.", "Copy or download the file again.")
    return header


def _end_of(entry: dict[str, Any]) -> int:
    """Where a tensor's bytes end."""
    numbers = [*entry["shape"], *entry["data_offsets"]]
    if (
        not isinstance(entry["dtype"], str)
        or len(entry["data_offsets"]) != 2
        or not all(type(each) is int and each >= 0 for each in numbers)
    ):
        raise ValueError("not the description of a tensor")
    return entry["data_offsets"][1]
