"""Where output goes and how it looks: results on stdout, everything else on stderr, JSON alone where it is asked for."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.text import Text

from ..storage.atomic import finite

if TYPE_CHECKING:
    from ..commands.sample import FilesResult

__all__ = ["Output", "labelled", "number", "one_line", "percent", "printable", "stderr_console", "stdout_console", "with_error"]

PIPE_WIDTH = 100
# all but tab and line end; and what turns the direction of writing
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LINE_ENDS = re.compile(r"[\t\n\u2028\u2029]")
MOST_FILES = 3


class _Result(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


def stdout_console() -> Console:
    """Where results go."""
    return _console(sys.stdout.isatty(), stderr=False)


def stderr_console() -> Console:
    """Where everything else goes."""
    return _console(sys.stderr.isatty(), stderr=True)


def _console(terminal: bool, stderr: bool) -> Console:
    width = None if terminal or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


class Output:
    """The two streams of one command.

    Arguments:
        as_json: print results as JSON and nothing else on stdout.
        quiet: print no notes and no progress.
    """

    def __init__(self, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.stdout = stdout_console()
        self.stderr = stderr_console()

    def result(self, result: _Result, show: Callable[[], None]) -> None:
        """Print a result: as JSON, or as `show` prints it."""
        if self.as_json:
            self.json(result.to_dict())
        else:
            show()

    def json(self, value: dict[str, Any]) -> None:
        """Print one JSON object on stdout; what is not a finite number becomes null."""
        sys.stdout.write(json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        sys.stdout.flush()

    def line(self, text: Text | str = "") -> None:
        """One line of a result, never wrapped."""
        self.stdout.print(_harmless(text), soft_wrap=True)

    def note(self, text: Text | str = "") -> None:
        """One line on stderr."""
        if not self.quiet:
            self.stderr.print(_harmless(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """A warning on stderr."""
        self.note(labelled("warning", text, "yellow"))

    def wrote(self, files: Iterable[str | Path]) -> None:
        """Name the files that were written; JSON results name theirs themselves."""
        for file in files:
            text = Text.assemble(("wrote ", "dim"), str(file))
            self.note(text) if self.as_json else self.line(text)

    def wrote_files(self, result: FilesResult) -> None:
        """Name the files behind a result and what is in them."""
        shape = "×".join(map(str, result.shape))
        files = result.files
        self.wrote(files if len(files) <= MOST_FILES else [f"{len(files):,} files: {files[0]} … {files[-1]}"])
        self.note(Text(f"{shape} values · axes {', '.join(map(str, result.axes))}", "dim"))

    def status(self, text: str) -> AbstractContextManager[Any]:
        """Something that moves on a terminal while a command works."""
        if self.quiet or not self.stderr.is_terminal:
            return nullcontext()
        return self.stderr.status(Text(text, "dim"), spinner="dots", spinner_style="dim")


def labelled(label: str, message: str, colour: str) -> Text:
    """`label: message` with a coloured label."""
    return Text.assemble((f"{label}:" if message else label, f"bold {colour}"), f" {printable(message)}" if message else "")


def printable(text: str) -> str:
    """The text with � for every control character: names from files must not steer the terminal."""
    return CONTROL.sub("�", text)


def one_line(text: str) -> str:
    """The text with � for every control character, tab and line end: a name from a file must not look like lines of ardtool's own."""
    return LINE_ENDS.sub("�", printable(text))


def _harmless(text: Text | str) -> Text | str:
    if isinstance(text, str):
        return printable(text)
    if CONTROL.search(text.plain):
        text = text.copy()
        text.plain = printable(text.plain)  # as long as before, so that styles stay where they are
    return text


def number(value: float | None) -> str:
    """Up to three significant digits in at most seven characters: 41.2, 1,204, 0.123, 0.0012, 9.5e-4; a dash for nothing."""
    if value is None or not math.isfinite(value):
        return "–"
    if 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    if 0 < abs(value) < 1e-3:
        return _short(f"{value:.1e}")
    return f"{value:#.2g}" if 0 < abs(value) < 0.01 else _short(f"{value:#.3g}".removesuffix("."))


def _short(text: str) -> str:
    """1.2e-05 as 1.2e-5."""
    return text.replace("e-0", "e-").replace("e+0", "e")


def counted(count: int, noun: str) -> str:
    """1 epoch, 2,000 epochs."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """A share in percent with one digit: 34.1, <0.1, 0."""
    if 0 < share < 0.0005:
        return "<0.1"
    return f"{100 * share:.1f}" if share else "0"


def with_error(value: float, stderr: float) -> str:
    """A value and its standard error with two digits: 37.51 ± 0.83."""
    if not (math.isfinite(value) and math.isfinite(stderr)) or stderr <= 0:
        return number(value)
    digits = max(0, 1 - math.floor(math.log10(stderr)))
    if abs(value) < 1e-3 or abs(value) >= 1e6:
        return _short(f"{value:.1e} ± {stderr:.0e}")
    if digits > 4:
        return f"{value:#.2g} ± {stderr:.1g}"
    return f"{value:,.{digits}f} ± {stderr:,.{digits}f}"
