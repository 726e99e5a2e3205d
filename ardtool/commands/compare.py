"""`compare`: finished runs side by side, mean ± sample standard deviation over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from shlex import quote
from typing import Any, Literal, get_args

from ..errors import ConfigError, ModelFileError
from ..storage.run_folder import RUNS
from .comparing.groups import Group, groups_of
from .comparing.runs import UNFINISHED, LeftOut, find_runs
from .comparing.table import Table, latex, markdown, table_of

__all__ = ["CompareResult", "Sort", "compare"]

SCHEMA = "ardtool.compare/1"
Sort = Literal["method", "active", "mse"]
# settings of every method that decide whether two methods can be compared
COMMON = ("arch", "image_size", "batch_size", "lr", "lr_patience", "val_fraction", "samples", "threshold", "convention")


@dataclass(frozen=True)
class CompareResult:
    """Groups of runs that differ in the seed alone.

    Attributes:
        groups: in the order asked for.
        left_out: runs that count for nothing and metrics that were not used, each with the reason.
        notes: what to keep in mind about these numbers, one sentence each.
        shares: by the path of a run, the shares of its axes of the relevance score; not in the JSON.
    """

    groups: list[Group]
    left_out: list[LeftOut]
    notes: list[str]
    shares: dict[str, tuple[float, ...]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def runs(self) -> int:
        """How many runs are compared."""
        return sum(len(group.runs) for group in self.groups)

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract `ardtool.compare/1`."""
        return {
            "schema": SCHEMA,
            "runs": self.runs,
            "groups": [group.to_dict() for group in self.groups],
            "left_out": [asdict(each) for each in self.left_out],
            "notes": self.notes,
        }

    def table(self, *, losses: bool = False) -> Table:
        """One row a group; with `losses` also every term of the last epoch's validation loss."""
        return table_of(self.groups, losses=losses)

    def to_markdown(self, *, losses: bool = False) -> str:
        """The table in Markdown."""
        return markdown(self.table(losses=losses))

    def to_latex(self, *, losses: bool = False) -> str:
        """The table as a LaTeX tabular for the package booktabs."""
        return latex(self.table(losses=losses))


def compare(runs: str | Path | Sequence[str | Path] | None = None, *, sort: Sort = "method") -> CompareResult:
    """Put finished runs side by side.

    Runs are read by the headers of their model files and by metrics.json; no weights are loaded. Runs are averaged over seeds where
    method, content of the data, L and every other setting are the same; a run given twice counts once.

    Arguments:
        runs: run folders, model files, or folders that hold run folders; None or nothing for all finished runs under `runs/`.
        sort: order of the groups of one data set: by name of the method, then L; or by mean active axes or validation MSE, ascending.

    Raises:
        ModelFileError: a path holds no run, a named one cannot be read, or none is finished.
    """
    if sort not in get_args(Sort):
        raise ConfigError(f"--sort is {sort!r}; expected {', '.join(get_args(Sort))}.", "Leave it out to sort by method.")
    paths = [Path(runs)] if isinstance(runs, str | Path) else [Path(each) for each in runs or ()]
    if not paths and not any(RUNS.glob("*/model.safetensors")):
        raise ModelFileError(
            f"No run was given and {RUNS}/ holds no finished run.", "Train some with `ardtool train`, or give run folders."
        )
    found = find_runs(paths or [RUNS])
    groups, again = groups_of(found.runs)
    if not groups:
        first, more = found.left_out[0], len(found.left_out) - 1
        raise ModelFileError(
            f"No finished run was given: {first.path} ({first.reason}){f' and {more} more' if more else ''}.",
            f"Finish it with `ardtool train --resume --out {quote(first.path)}`." if first.reason == UNFINISHED else "Give finished runs.",
        )
    shares = {run.path: run.shares for run in found.runs}
    return CompareResult(_sorted(groups, sort), [*found.left_out, *again], _notes(groups), shares)


def _sorted(groups: list[Group], sort: Sort) -> list[Group]:
    """The groups, which come by data, method and L, in the order asked for within each data set; those without a number last."""
    if sort == "method":
        return groups

    def key(group: Group) -> tuple[str, str, float]:
        mean = (group.active if sort == "active" else group.validation_mse).mean
        return (group.data, group.data_sha256, inf if mean is None else mean)

    return sorted(groups, key=key)


def _notes(groups: list[Group]) -> list[str]:
    notes = []
    unconverged, runs = sum(group.unconverged for group in groups), sum(len(group.runs) for group in groups)
    if unconverged:
        notes.append(f"in {unconverged} of {runs} runs the number of active axes had not settled when training ended")
    devices = sorted({device for group in groups for device in group.devices})
    if len(devices) > 1:
        notes.append(f"seconds were measured on different devices: {', '.join(devices)}")
    return notes + _unlike_methods(groups)


def _unlike_methods(groups: list[Group]) -> list[str]:
    """Where methods on the same data differ in settings that all have; what the table shows beside a group is not said again."""
    alike: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        alike.setdefault((group.data, group.data_sha256), []).append(group)
    notes = []
    for (data, _), members in alike.items():
        shown = {name for group in members for name in group.differing}
        unlike = [name for name in COMMON if name not in shown and len({str(group.settings.get(name)) for group in members}) > 1]
        if unlike:
            notes.append(f"runs on {data} differ between methods or L in {', '.join(unlike)} too")
    return notes
