"""A data set with a name: what is known of it before anything is opened, and which of its files are there.

Nothing here reads or hashes a file, and the modules that describe data sets import torch only when they open one, so that `ardtool data`
answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .originals import Original

if TYPE_CHECKING:
    from .dataset import DataSet

__all__ = ["Found", "NamedSet"]

OWN_LICENCE = "drawn by ardtool, nobody else's terms"
Status = Literal["complete", "incomplete", "missing", "drawn"]


@dataclass(frozen=True)
class Found:
    """What of a data set's files lies below the data root.

    Attributes:
        status: `drawn` where no files are needed.
        paths: the files, archives or folders that would be read.
        lacking: names of the files that are expected beside them; all of them where nothing was found.
    """

    status: Status
    paths: tuple[Path, ...] = ()
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NamedSet:
    """A data set with a name.

    Attributes:
        name: what `--data` takes.
        summary: what it shows, in a few words.
        shape: of one sample, (C, H, W).
        samples: how many there are, over all splits.
        opener: opens it from the data root and a split, "train" or "test".
        factors: known factors with the number of their values: 1 for a constant, None for a continuous one.
        original: whose files are read; None where the samples are drawn.
        folders: where these are looked for, below the data root and in this order.
        look: where each of the files is, by name, below the data root; None for one that is not there. It touches no content.
        downloads: whether files that are not there are downloaded when the data set is opened.
    """

    name: str
    summary: str
    shape: tuple[int, int, int]
    samples: int
    opener: Callable[[Path, str], DataSet]
    factors: Mapping[str, int | None] = field(default_factory=dict)
    original: Original | None = None
    folders: tuple[str, ...] = ()
    look: Callable[[Path], Mapping[str, Path | None]] = lambda data_root: {}
    downloads: bool = False

    @property
    def licence(self) -> str:
        """Under what terms, in a few words."""
        return OWN_LICENCE if self.original is None else self.original.licence

    def found(self, data_root: Path) -> Found:
        """Which of the files are below the data root; whether they are the published ones is checked when they are opened."""
        if self.original is None:
            return Found("drawn")
        parts = self.look(data_root)
        paths = tuple(dict.fromkeys(path for path in parts.values() if path is not None))
        lacking = tuple(name for name, path in parts.items() if path is None)
        return Found("missing" if not paths else "incomplete" if lacking else "complete", paths, lacking)

    def to_dict(self, data_root: Path) -> dict[str, Any]:
        """One entry of the JSON contract `ardtool.data/1`."""
        found, original = self.found(data_root), self.original
        return {
            "name": self.name,
            "summary": self.summary,
            "shape": list(self.shape),
            "samples": self.samples,
            "licence": self.licence,
            "factors": [{"name": name, "size": size, "varies": size != 1} for name, size in self.factors.items()],
            "site": None if original is None else original.site,
            "looked_for": None if original is None else {"folders": list(self.folders), "files": original.files},
            "downloads": self.downloads,
            "found": [str(path) for path in found.paths],
            "lacking": list(found.lacking),
            "status": found.status,
        }
