"""Vectors from text: `.csv` and `.csv.gz` files of numbers, one row a sample. NumPy reads them.

Columns are separated by tabs, semicolons, commas or blanks; the first line decides which. That line, and comments (#) above it, are no
sample where none of its cells is a number, where its first cell is empty (what pandas and R write above row names, which are then left
out), or where it counts the columns from 0, three of them or more.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..errors import DataError, reason_of
from .arrays import VECTORS, vectors_of
from .dataset import DataSet, name_of
from .images import parse_size

if TYPE_CHECKING:
    import numpy as np

__all__ = ["TABLES", "open_table"]

TABLES = (".csv", ".csv.gz")
SEPARATORS = ("\t", ";", ",")


@dataclass(frozen=True)
class _Layout:
    """How the lines of a file are to be read: what separates columns (None for blanks), and what comes before the samples."""

    separator: str | None
    skipped: int
    columns: int
    row_names: bool
    note: str | None = None


def open_table(path: Path, image_size: str | tuple[int, int] = "auto") -> DataSet:
    """The samples of a `.csv` or `.csv.gz` file.

    Arguments:
        path: the file.
        image_size: has no effect on vectors, which a note says.

    Returns:
        float64 vectors with shape (N, D).

    Raises:
        DataError: the file cannot be read, holds no samples, rows of different lengths, or something that is not a finite number; the
            line and column of the first are named.
        ConfigError: `image_size` is no size.
    """
    size = parse_size(image_size)
    try:
        with _opened(path) as file:
            layout = _layout(path, file)
        with _opened(path) as file:
            values = _parse(path, file, layout)
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        hint = "Change its permissions, or write the file again."
        raise DataError(f"{path} cannot be read: {reason_of(error)}.", hint) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text file in UTF-8.", "Save it as plain text, or as .npy.") from error
    notes = (layout.note, None if size is None else VECTORS)
    return DataSet(name_of(path), vectors_of(str(path), values), notes=tuple(note for note in notes if note is not None))


def _opened(path: Path) -> TextIO:
    return io.TextIOWrapper(gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb"), encoding="utf-8-sig")


def _layout(path: Path, file: TextIO) -> _Layout:
    """What the first line says that is neither empty nor a comment."""
    comments = 0
    for number, line in enumerate(file):
        if line.strip() and not line.lstrip().startswith("#"):
            break
        comments = number + 1
    else:
        raise DataError(f"{path} holds no samples.", "Write one row a sample, numbers separated by commas.")
    bare = re.sub(r'"[^"]*"', "", line)
    separator = next((each for each in SEPARATORS if each in bare), None)
    cells = _cells(line, separator)
    numbers = [_is_number(cell) for cell in cells]
    counted = len(cells) > 2 and cells == [str(column) for column in range(len(cells))]
    row_names = len(cells) > 1 and not cells[0] and all(cells[1:])
    header = not any(numbers) or counted or row_names
    note = None
    if row_names:
        note = "The first column has no name and is left out: it names the rows."
    elif counted:
        note = "The first line counts the columns and is no sample."
    return _Layout(separator, comments + header, len(cells), row_names, note)


def _parse(path: Path, file: TextIO, layout: _Layout) -> np.ndarray:
    """The numbers with shape (N, D), float64."""
    import warnings

    import numpy as np

    names: dict[int | str, Callable[[str], float]] | None = {0: lambda name: 0.0} if layout.row_names else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "input contained no data" is said below
            values = np.loadtxt(
                file, delimiter=layout.separator, skiprows=layout.skipped, converters=names, ndmin=2, comments=None, quotechar='"'
            )
    except ValueError as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        raise _first_mistake(path, layout, error) from error
    if values.size == 0:
        raise DataError(f"{path} holds no samples below its first line.", "Write one row a sample, numbers separated by commas.")
    return values[:, layout.row_names :]


def _first_mistake(path: Path, layout: _Layout, error: ValueError) -> DataError:
    """The error that names the first cell that is no number, or the first row of another length."""
    with _opened(path) as file:
        for number, cells in _rows(file, layout):
            if len(cells) != layout.columns:
                many = "s" if layout.columns > 1 else ""
                return DataError(
                    f"{path}: line {number} has {len(cells)} column{'' if len(cells) == 1 else 's'}; expected {layout.columns}, as above.",
                    f"Give every row {layout.columns} number{many}.",
                )
            for column, cell in enumerate(cells[layout.row_names :], 1 + layout.row_names):
                if not _is_number(cell):
                    found = f"holds '{cell}'" if cell else "is empty"
                    hint = "Fill in a number, or remove the line or the column."
                    if re.fullmatch(r"[-+]?\d+,\d+", cell):
                        hint = "Write decimal points, not commas."
                    return DataError(f"{path}: line {number}, column {column} {found}; expected a number.", hint)
    return DataError(
        f"{path} cannot be read as numbers: {reason_of(error)}.", "Write one row a sample, or save the numbers with numpy.save."
    )


def _rows(file: TextIO, layout: _Layout) -> Iterator[tuple[int, list[str]]]:
    """Lines that are not empty after those skipped, with their numbers from 1."""
    for number, line in enumerate(file, 1):
        if number > layout.skipped and line.strip():
            yield number, _cells(line, layout.separator)


def _cells(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return [cell.strip('"') for cell in line.split()]
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
