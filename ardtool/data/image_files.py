"""Image files of a folder (searched recursively), a `.zip` or a `.tar` archive: which there are, what marks a change, and their bytes.

Nothing is unpacked to disk, and the name of a member of an archive is a label, never a path on this machine. Order is that of the sorted
relative names. A `.tar` is read from its start to its end, a few files at a time, since compressed ones know no other way.
"""

from __future__ import annotations

import io
import lzma
import os
import posixpath
import stat
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ..errors import DataError, reason_of

__all__ = ["ARCHIVES", "EXTENSIONS", "Block", "ImageFiles", "Opener", "is_archive", "open_files"]

EXTENSIONS = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"})
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
ARCHIVES = (".zip", *TARS)
SYSTEM = ("__MACOSX", "lost+found")  # folders that systems leave behind
LARGEST_FILE = 128 * 2**20  # bytes of one unpacked image file
BLOCK = 64  # files a thread takes at once …
BLOCK_BYTES = 2**24  # … or fewer, where they are larger than this together
SHOWN = 3  # names or endings listed in a message
END_MARK = bytes(tarfile.BLOCKSIZE)

Opener = Callable[[], IO[bytes]]
Block = list[tuple[int, Opener]]


class ImageFiles(ABC):
    """The files of one folder or archive that are images by their names.

    Attributes:
        path: the folder or archive.
        names: sorted names relative to it, with '/'.
        others: the names of files that are not among them, hidden ones left out.
    """

    path: Path

    @property
    @abstractmethod
    def names(self) -> list[str]: ...

    @property
    @abstractmethod
    def others(self) -> list[str]: ...

    @abstractmethod
    def marks(self) -> Iterable[Any]:
        """What is different when some image is: anything that JSON can hold."""

    @abstractmethod
    def blocks(self, names: list[str]) -> Iterator[Block]:
        """The files of these names, as pairs of their index in `names` and a function that opens one in any thread."""

    def found(self) -> str:
        """What there is in place of images, for a message."""
        if not self.others:
            return "found nothing else"
        kinds = Counter(PurePosixPath(name).suffix.lower() or "no ending" for name in self.others)
        listed = ", ".join(kind for kind, _ in kinds.most_common(SHOWN)) + (", …" if len(kinds) > SHOWN else "")
        return f"found {len(self.others):,} other file{'' if len(self.others) == 1 else 's'} ({listed})"


class _Folder(ImageFiles):
    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _walked(self) -> tuple[list[str], list[str], list[str]]:
        """Images, other files, and folders that hold nothing; what is hidden is left out."""
        found, empty = [], []
        for place, folders, files in os.walk(self.path, onerror=self._refuse):
            if not folders and not files:
                empty.append(os.path.relpath(place, self.path))
            folders[:] = [name for name in folders if not _is_hidden(name)]
            relative = Path(place).relative_to(self.path)
            found += [(relative / name).as_posix() for name in files if not _is_hidden(name)]
        images = sorted(name for name in found if _is_image(name))
        return images, [name for name in found if not _is_image(name)], empty

    def _refuse(self, error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.", "Change its permissions, or move it elsewhere.") from error

    @property
    def names(self) -> list[str]:
        return self._walked[0]

    @property
    def others(self) -> list[str]:
        return self._walked[1]

    def found(self) -> str:
        empty = sorted(self._walked[2])
        if self.others or not empty:
            return super().found()
        if empty == ["."]:
            return "it is empty"
        listed = ", ".join(empty[:SHOWN]) + (", …" if len(empty) > SHOWN else "")
        return f"found {len(empty):,} empty folder{'' if len(empty) == 1 else 's'} ({listed})"

    def marks(self) -> Iterable[Any]:
        yield str(self.path.resolve())
        for name in self.names:
            try:
                known = (self.path / name).stat()
            except OSError:  # it will be named when it cannot be opened
                yield name
                continue
            yield name, known.st_size, known.st_mtime_ns, known.st_ctime_ns

    def blocks(self, names: list[str]) -> Iterator[Block]:
        for start in range(0, len(names), BLOCK):
            yield [(index, partial(self._open, names[index])) for index in range(start, min(start + BLOCK, len(names)))]

    def _open(self, name: str) -> IO[bytes]:
        path = self.path / name
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is no regular file")
        return path.open("rb")


class _Zip(ImageFiles):
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self._archive = path, archive
        self._members = {each.filename: each for each in archive.infolist() if each.filename and not each.is_dir()}

    @property
    def names(self) -> list[str]:
        return sorted(name for name in self._members if _is_wanted(name))

    @property
    def others(self) -> list[str]:
        return [name for name in self._members if not _is_image(name) and not _is_below_hidden(name)]

    def marks(self) -> Iterable[Any]:
        for name in self.names:
            yield name, self._members[name].file_size, self._members[name].CRC

    def blocks(self, names: list[str]) -> Iterator[Block]:
        for start in range(0, len(names), BLOCK):
            yield [(index, partial(self._open, names[index])) for index in range(start, min(start + BLOCK, len(names)))]

    def _open(self, name: str) -> IO[bytes]:
        if self._members[name].file_size > LARGEST_FILE:
            _refuse_size(self._members[name].file_size)
        return io.BytesIO(self._archive.read(self._members[name]))


class _Tar(ImageFiles):
    def __init__(self, path: Path) -> None:
        self.path = path

    def marks(self) -> Iterable[Any]:  # its files have no checksums
        known = self.path.stat()
        return str(self.path.resolve()), known.st_size, known.st_mtime_ns, known.st_ctime_ns

    @cached_property
    def _listed(self) -> tuple[dict[str, int], list[str]]:
        """Which member holds each image, the last of that name, and the names of other files. Links to members count."""
        files: dict[str, int] = {}
        links: dict[str, str] = {}
        with self._errors_told():
            for number, _, member in self._members():
                if member.isfile():
                    files[member.name] = number
                elif member.islnk():
                    links[member.name] = member.linkname
                elif member.issym():
                    links[member.name] = posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname))
        files |= {name: files[target] for name, target in links.items() if target in files}
        images = {name: number for name, number in files.items() if _is_wanted(name)}
        return images, [name for name in files if not _is_image(name) and not _is_below_hidden(name)]

    @property
    def names(self) -> list[str]:
        return sorted(self._listed[0])

    @property
    def others(self) -> list[str]:
        return self._listed[1]

    def blocks(self, names: list[str]) -> Iterator[Block]:
        wanted: dict[int, list[int]] = {}
        for index, name in enumerate(names):
            wanted.setdefault(self._listed[0][name], []).append(index)
        block: Block = []
        size = 0
        with self._errors_told():
            for number, archive, member in self._members():
                if number not in wanted:
                    continue
                block += [(index, self._opener(archive, member)) for index in wanted[number]]
                size += member.size
                if len(block) >= BLOCK or size > BLOCK_BYTES:
                    yield block
                    block, size = [], 0
        if block:
            yield block

    def _opener(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Opener:
        if member.size > LARGEST_FILE:
            return partial(_refuse_size, member.size)
        stream = archive.extractfile(member)
        assert stream is not None, "only regular files are wanted"
        return partial(io.BytesIO, stream.read())

    def _members(self) -> Iterator[tuple[int, tarfile.TarFile, tarfile.TarInfo]]:
        """All members with their numbers, in the order of the archive, which is then read to its end."""
        with tarfile.open(self.path) as archive:
            for number, member in enumerate(archive):
                yield number, archive, member
            assert archive.fileobj is not None, "an open archive has a file"
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(len(END_MARK)) != END_MARK:  # tarfile takes a cut between two members for the end
                raise EOFError("it ends without an end mark: it is damaged or cut off")
            while archive.fileobj.read(2**20):  # what compressed it has a checksum at the very end
                pass

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
            raise _unreadable(self.path, error) from error


@contextmanager
def open_files(path: Path) -> Iterator[ImageFiles]:
    """The image files of a folder or archive, while the context lasts.

    Raises:
        DataError: the archive or folder cannot be read.
    """
    if path.is_dir():
        yield _Folder(path)
    elif path.name.lower().endswith(TARS):
        yield _Tar(path)
    else:
        try:
            archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise _unreadable(path, error) from error
        with archive:
            yield _Zip(path, archive)


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive that is read."""
    return path.name.lower().endswith(ARCHIVES)


def _unreadable(path: Path, error: Exception) -> DataError:
    kind = next(kind for kind in ARCHIVES if path.name.lower().endswith(kind))
    hint = "Write the archive again, or unpack it into a folder."
    return DataError(f"{path} is not a readable {kind} archive: {reason_of(error)}.", hint)


def _refuse_size(size: int) -> IO[bytes]:
    raise ValueError(f"it unpacks to {size} bytes; expected at most {LARGEST_FILE}")


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part in SYSTEM


def _is_below_hidden(name: str) -> bool:
    return any(_is_hidden(part) for part in PurePosixPath(name).parts)


def _is_wanted(name: str) -> bool:
    return _is_image(name) and not _is_below_hidden(name)
