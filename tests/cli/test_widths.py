"""What is printed fits into the terminal, whole words only; pipes get plain text; NO_COLOR is respected; JSON is alone on stdout."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-7]|9[0-7]|38|4[0-7]|48)(?:;[0-9]+)*m")
STATES = {"relevant", "weak", "ignored", "collapsed"}
COMMANDS = {
    "relevance": ["relevance"],
    "train": ["train", "--data", "x.npy", "--latent", "4", "--epochs", "3", "--out", "again", "--force"],
    "prune": ["prune", "--out", "small.safetensors", "--force"],
    "evaluate": ["evaluate", "--data", "x.npy", "--metrics", "mse,correlation"],
    "compare": ["compare"],
}


def on_terminal(command: list[str], columns: int, **environment: str) -> tuple[str, str]:
    """What a command prints to stdout on a terminal of this width, and what to stderr, which is a pipe."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    variables = kept | {"TERM": "xterm-256color"} | environment
    child = subprocess.Popen([sys.executable, "-m", "ardtool", *command], stdout=theirs, stderr=subprocess.PIPE, env=variables)
    os.close(theirs)
    chunks = []
    while True:
        if not select.select([ours], [], [], 120)[0]:
            break
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(ours)
    assert child.stderr is not None
    stderr = child.stderr.read().decode()
    assert child.wait(timeout=60) == 0, stderr
    return b"".join(chunks).decode().replace("\r\n", "\n"), stderr


def table_of(text: str) -> tuple[list[str], list[list[str]]]:
    """Words of the headings and of the rows of the table of axes."""
    lines = ESCAPE.sub("", text).splitlines()
    rule = next(number for number, line in enumerate(lines) if line.startswith("───"))
    rows = lines[rule + 1 :]
    end = next((number for number, line in enumerate(rows) if not line.strip() or line.startswith(("no room", "…"))), len(rows))
    return lines[rule - 1].split(), [row.split() for row in rows[:end]]


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("name", COMMANDS)
def test_tables_fit(ardtool, name, columns):
    text, _ = on_terminal(COMMANDS[name], columns)
    lines = ESCAPE.sub("", text).splitlines()
    tables = [line for line in lines if "───" in line]
    assert name == "prune" or tables
    assert all(len(line) <= columns for line in tables)
    assert "…" not in text.replace("… and", "")
    if name in ("relevance", "train"):
        headings, rows = table_of(text)
        assert {"axis", "share", "score", "state"} <= set(headings)
        assert len(rows) == 4
        assert {row[-1] for row in rows} <= STATES
        rule = next(number for number, line in enumerate(lines) if line.startswith("───"))
        assert all(len(line.rstrip()) <= columns for line in lines[rule - 1 : rule + 5])
        left_out = any(line.startswith("no room for") for line in lines)
        assert left_out == (columns == 60 and name == "relevance")


@pytest.mark.slow
def test_colours_on_a_terminal_and_none_where_they_are_not_wanted(ardtool):
    assert COLOUR.search(on_terminal(["relevance"], 80)[0])
    plain, _ = on_terminal(["relevance"], 80, NO_COLOR="1")
    assert not COLOUR.search(plain)
    assert "4 latent axes" in plain
    assert "\x1b" not in on_terminal(["relevance"], 80, TERM="dumb")[0]


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["60", "200"])
def test_pipes_get_plain_text_and_json_alone(ardtool, columns):
    environment = os.environ | {"COLUMNS": columns}
    for name, command in COMMANDS.items():
        piped = subprocess.run([sys.executable, "-m", "ardtool", *command], capture_output=True, text=True, env=environment)
        assert piped.returncode == 0, piped.stderr
        assert "\x1b" not in piped.stdout + piped.stderr, name
    result = subprocess.run([sys.executable, "-m", "ardtool", "relevance", "--json"], capture_output=True, text=True, env=environment)
    assert json.loads(result.stdout)["schema"] == "ardtool.relevance/1"
    assert result.stdout.count("\n") > 10


def test_one_line_an_epoch_where_there_is_no_terminal(ardtool):
    told = ardtool("train", "--data", "x.npy", "--latent", "4", "--epochs", "3", "--out", "lines").stderr
    lines = [line for line in told.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    for line in lines:
        assert re.search(r"loss \S+ · val MSE \S+ · (\d relevant · )?\S+ samples/s", line)
        assert len(line) <= 100
    assert "relevant" in lines[-1]
    assert Path("lines/report.html").exists()
    quiet = ardtool("train", "--data", "x.npy", "--latent", "4", "--epochs", "3", "--out", "quiet", "--quiet")
    assert quiet.stderr == ""
