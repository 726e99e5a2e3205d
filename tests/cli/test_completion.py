"""What the shell offers when the Tab key is pressed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ardtool.cli.completion import ARCHITECTURES, METHODS
from ardtool.cli.main import app
from ardtool.networks import architectures
from ardtool.objectives import OBJECTIVES

PROGRAM = [sys.executable, "-c", "from ardtool.cli.main import run; run()"]


def offered(line: str) -> list[str]:
    """What bash would offer for the last word of `line`."""
    words = line.split(" ")
    environment = {"_ARDTOOL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    return CliRunner().invoke(app, [], prog_name="ardtool", env=environment).stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ardtool tra", ["train", "traverse"]),
        ("ardtool train --check", ["--checkpoint-minutes"]),
        ("ardtool train --method wae", ["wae-mmd", "wae-gan"]),
        ("ardtool train --arch c", ["conv"]),
        ("ardtool train --prior s", ["student-t"]),
        ("ardtool train --data sprites-", [f"sprites-{factors}" for factors in range(2, 7)]),
        ("ardtool encode --data mni", ["mnist"]),
        ("ardtool evaluate --data mni", ["mnist"]),
        ("ardtool relevance --data mni", ["mnist"]),
        ("ardtool relevance --estimator so", ["sobol"]),
        ("ardtool prune --granularity ", ["channel", "element"]),
        ("ardtool train --data ./my", []),  # then the shell offers files
    ],
)
def test_what_is_offered(line, words):
    assert offered(line) == words


def test_every_method_and_network_is_offered():
    assert tuple(OBJECTIVES) == METHODS
    assert set(ARCHITECTURES) == {name for name in architectures.ARCHITECTURES if not name.startswith("paper-")}


def test_nothing_heavy_is_imported_to_complete():
    environment = {**os.environ, "_ARDTOOL_COMPLETE": "complete_bash", "COMP_WORDS": "ardtool train --method ", "COMP_CWORD": "3"}
    timed = [PROGRAM[0], "-X", "importtime", *PROGRAM[1:]]
    result = subprocess.run(timed, env=environment, capture_output=True, text=True, check=True)
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    assert "ardtool.cli.completion" in imported
    assert not imported & {"torch", "numpy", "matplotlib", "sklearn", "PIL"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_one(shell):
    environment = {"_ARDTOOL_COMPLETE": f"source_{shell}"}
    script = CliRunner().invoke(app, [], prog_name="ardtool", env=environment).stdout
    assert f"_ARDTOOL_COMPLETE=complete_{shell}" in script
    if shell == "bash" and shutil.which("bash"):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_a_command_that_is_run_is_not_completed():
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("ardtool ")
