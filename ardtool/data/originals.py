"""What the published data sets have in common: where their files lie, whether these are the published ones, what to say without them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError, shortened

__all__ = ["Original", "check_md5", "download", "first_file"]

LONGEST_PROBLEM = 1000


@dataclass(frozen=True)
class Original:
    """A published data set, as the user reads of it when its files are missing or damaged.

    Attributes:
        title: its usual name.
        files: the files that are expected.
        site: where they are to be had.
        licence: under what terms, in a few words.
        folder: where to put them, below the data root.
        instead: what can be done without them, the end of a sentence.
    """

    title: str
    files: str
    site: str
    licence: str
    folder: str
    instead: str

    def hint(self, data_root: Path) -> str:
        """Where to get the files, where to put them, and what to do without them."""
        return (
            f"Put {self.files} into {data_root / self.folder}, or name another folder with --data-root. "
            f"Source: {self.site} ({self.licence}). Without: {self.instead}."
        )

    def missing(self, data_root: Path, reason: str = "") -> DataError:
        """The error for a data root that has no files, with the reason why a download failed."""
        failed = f" and could not be downloaded: {reason}" if reason else ""
        return DataError(f"{self.title} is not under {data_root}{failed}.", self.hint(data_root))

    def incomplete(self, data_root: Path, problem: str) -> DataError:
        """The error for a data root that has some of the files."""
        return DataError(f"{self.title} is incomplete: {problem}.", self.hint(data_root))

    def damaged(self, problem: str) -> DataError:
        """The error for files that are there and are not what was published."""
        problem = shortened(problem, LONGEST_PROBLEM)
        return DataError(f"{problem}.", f"Get the published {self.title} again from {self.site}; --data takes a path for any other data.")


def first_file(data_root: Path, folders: Iterable[str], names: Iterable[str]) -> Path | None:
    """The first of the names, files or folders, in the first folder below the data root that has one; None without."""
    names = tuple(names)
    return next((path for folder in folders for name in names if (path := data_root / folder / name).exists()), None)


def check_md5(original: Original, path: Path, expected: str) -> None:
    """Raise `DataError` unless the file has the published MD5 checksum."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        raise original.damaged(f"{path} cannot be read: {error}") from error
    if found != expected:
        raise original.damaged(f"{path} is damaged, or not the published file: expected the MD5 checksum {expected}, found {found}")


def download(folder: Path, fetch: Callable[[], object]) -> str:
    """Download by `fetch`, which writes below the folder.

    Returns:
        Why it failed, in one line without a full stop; "" where it did not. Of a failed one no empty folders are left.
    """
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        fetch()
    except Exception as error:  # no network, no write permission, a mirror's answer: torchvision passes on whatever it meets
        return " ".join(str(error).split()).rstrip(".") or type(error).__name__
    finally:
        for place in new:
            with contextlib.suppress(OSError):  # not empty, or never made
                place.rmdir()
    return ""
