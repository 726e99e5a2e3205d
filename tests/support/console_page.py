r"""Pages that can be run: what a reader would type, and what came of it.

    ```python title="make.py"       a file of that name is written
    ```console
    $ ardtool train --data x.npy    a command is run, a backslash at the end of its line continues it
    3 of 4 latent axes …            and this is what it printed, stdout and stderr together
    ```

Blocks are taken in the order of the page, all in one folder. Of what is shown, words and whole numbers are compared. Free are `…` (alone on
its line: any number of lines), bars, rules, blanks, numbers with decimals or an exponent, losses, sizes, rates and times, and of a row
about an axis all numbers but the first. Lines that are not shown are allowed at the end only. A command that is meant to fail has an
`error: ` among its output.

    python tests/support/console_page.py docs/how-to/own-vectors.md         prints the page with what the commands print now
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^```(console|\w+ title=\"([^\"]+)\")\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STATES = ("relevant", "weak", "ignored", "collapsed")  # what a row about an axis ends with
LIMIT = 240  # seconds for one command
NUMBER = r"[−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"
FREE = re.compile(
    rf"…|[▏▎▍▌▋▊▉█─]+|(?<=loss ){NUMBER}|{NUMBER}(?= (?:samples/s|s|ms|µs|min|bytes|[kKMG]i?B)\b)"
    r"|<?[−-]?\d[\d,]*\.\d+(?:e[+-]?\d+)?%?|<?[−-]?\d+e[+-]?\d+"
)


@dataclass(frozen=True)
class Written:
    """A file that the page has its reader write."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command line, the output that the page shows, and where that is in the page."""

    line: str
    shown: list[str]
    start: int
    stop: int


def steps(page: str) -> Iterator[Written | Command]:
    """What a page has its reader do, in order."""
    for block in BLOCK.finditer(page):
        if block[2]:
            yield Written(block[2], block[3])
        else:
            yield from commands(block[3], block.start(3))


def commands(text: str, offset: int) -> Iterator[Command]:
    found = list(re.finditer(r"^\$ ((?:.*\\\n)*.*)\n", text, re.MULTILINE))
    for each, following in zip(found, [*found[1:], None], strict=True):
        stop = len(text) if following is None else following.start()
        yield Command(each[1], text[each.end() : stop].splitlines(), offset + each.end(), offset + stop)


def run(command: Command, folder: Path) -> tuple[int, str]:
    """The exit code of a command and all that it printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    root = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PATH": path, "PYTHONPATH": root, "COLUMNS": "140", "ARDTOOL_CACHE": "off"}
    done = subprocess.run(
        ["bash", "-c", command.line],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return done.returncode, done.stdout


def run_here(command: Command, folder: Path) -> tuple[int, str]:
    """The same; `ardtool` alone runs in this process, which has imported torch already."""
    if not command.line.startswith("ardtool ") or set("|<>;&$\\`") & set(command.line):
        return run(command, folder)
    from typer.testing import CliRunner

    from ardtool.cli.main import app

    settings = {"COLUMNS": "140", "ARDTOOL_CACHE": "off"}
    with contextlib.chdir(folder):
        result = CliRunner().invoke(app, shlex.split(command.line)[1:], env=settings)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def check(page: str, folder: Path) -> None:
    """Do all that a page says, and compare."""
    for step in steps(page):
        if isinstance(step, Written):
            (folder / step.name).write_text(step.text)
            continue
        code, output = run_here(step, folder)
        meant = any(line.startswith("error: ") for line in step.shown)
        assert (code != 0) == meant, f"$ {step.line}\nended with {code}:\n{output}"
        missing = first_missing(step.shown, output.splitlines())
        assert missing is None, f"$ {step.line}\ndid not print\n{missing}\nbut\n{output}"


def first_missing(shown: list[str], printed: list[str]) -> str | None:
    """The first line shown that was not printed in its place; None where all were."""
    place, anywhere = 0, False
    for line in shown:
        if line.strip() == "…":
            anywhere = True
            continue
        candidates = range(place, len(printed)) if anywhere else range(place, min(place + 1, len(printed)))
        place = next((number + 1 for number in candidates if same(line, printed[number])), -1)
        if place < 0:
            return line
        anywhere = False
    return None


def same(shown: str, printed: str) -> bool:
    """Whether a line was printed, but for what is free; `…` within a line stands for any text."""
    pattern = "".join(".*?" if part == "…" else re.escape(part) for part in re.split("(…)", plain(shown)))
    return re.fullmatch(pattern, plain(printed).replace("…", "")) is not None if "…" in shown else plain(shown) == plain(printed)


def plain(line: str) -> str:
    """A line with `#` for every free number, without bars, rules and more blanks than one."""
    free = FREE.sub(lambda part: part[0] if part[0] == "…" else "" if part[0][0] in "▏▎▍▌▋▊▉█─" else "#", line)
    words = re.sub(r"# min #", "#", " ".join(free.split()))
    return re.sub(r"(?<= )(?:\d+|–)(?= )", "#", words) if words.endswith(STATES) else words


def renewed(page: str, folder: Path) -> str:
    """The page with what its commands print now."""
    parts, last = [], 0
    for step in steps(page):
        if isinstance(step, Written):
            (folder / step.name).write_text(step.text)
            continue
        code, output = run(step, folder)
        parts += [page[last : step.start], re.sub(r" +$", "", output, flags=re.MULTILINE), f"[exit code {code}]\n" if code else ""]
        last = step.stop
    return "".join([*parts, page[last:]])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(renewed(Path(sys.argv[1]).read_text(), Path(folder)), end="")
