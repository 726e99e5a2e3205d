"""Hashes of the bytes of files and folders, to tell one file from another of the same name."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ...errors import DataError, first_line

__all__ = ["content_sha256", "file_sha256"]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or first_line(error)}.", "Change its permissions.") from error


def content_sha256(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files below a folder.

    Raises:
        DataError: one of them cannot be read.
    """
    if not path.is_dir():
        return file_sha256(path)
    digest = hashlib.sha256()
    for each in sorted(each for each in path.rglob("*") if each.is_file()):
        digest.update(f"{each.relative_to(path).as_posix()}\n{file_sha256(each)}\n".encode())
    return digest.hexdigest()
