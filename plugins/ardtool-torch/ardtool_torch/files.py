"""Files that a pruned model refers to: they must still be what they were."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ardtool.errors import ModelFileError

__all__ = ["read", "read_unchanged", "reason", "sha256"]


def read(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        ModelFileError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.", "Give the path of a file.") from error


def sha256(content: bytes) -> str:
    """The hash that records hold."""
    return hashlib.sha256(content).hexdigest()


def read_unchanged(path: Path, digest: str) -> bytes:
    """The bytes of a file whose hash is known.

    Raises:
        ModelFileError: it is missing or has changed.
    """
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist; a pruned model is rebuilt from it.", f"Put the original file back to {path}.")
    content = read(path)
    if sha256(content) != digest:
        raise ModelFileError(f"{path} has changed since the model was pruned.", "Put the original file back, or prune again.")
    return content


def reason(error: BaseException) -> str:
    """One line out of what a library or a script said."""
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
