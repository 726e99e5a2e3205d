"""Mutated and forged files are read correctly or refused with one line; nothing runs, nothing is written, memory is bounded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hostile
import pytest
from typer.testing import CliRunner

from ardtool.cli.main import app

SCRIPT = Path(hostile.__file__)


def run(*options: object) -> str:
    result = subprocess.run([sys.executable, str(SCRIPT), *map(str, options)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("each", [6, pytest.param(140, marks=pytest.mark.slow)])
def test_every_reader(each):
    """In one process; the slow variant reads more than 3,000 files."""
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in run("--each", each, "--seed", each).splitlines() if "|" in line]
    rows = {row[0]: row[1:] for row in table[2:]}
    assert set(rows) == set(hostile.KINDS)
    for kind, (files, read, refused, wrong, _, slowest, peak) in rows.items():
        assert int(files) > each, kind
        assert int(read) > 0, kind
        assert int(read) + int(refused) == int(files), kind
        assert wrong == "0"
        assert float(slowest) < 5, kind
        assert int(peak) < 1024, kind


def test_the_command_line(tmp_path, monkeypatch):
    """Fifty model files whose description was forged, the hash made right again: a result, or one line and exit code 1."""
    (tmp_path / "made").mkdir()
    contents = hostile.seeds(tmp_path / "made")
    monkeypatch.chdir(tmp_path)
    Path("x.npy").write_bytes(contents["npy"])
    forged = list(hostile._edited_models(contents["model"]))
    commands = (
        ["relevance", "m.safetensors"],
        ["sample", "m.safetensors", "--out", "s.npz", "--force"],
        ["evaluate", "m.safetensors", "--data", "x.npy", "--metrics", "mse"],
        ["encode", "m.safetensors", "--data", "x.npy", "--out", "c.npz", "--force"],
        ["inspect", "m.safetensors"],
    )
    codes = set()
    for number, (_, place, content) in enumerate(forged[:: max(1, len(forged) // 50)]):
        Path("m.safetensors").write_bytes(content)
        result = CliRunner().invoke(app, commands[number % len(commands)])
        assert result.exception is None or isinstance(result.exception, SystemExit), (place, result.exception)
        assert result.exit_code in (0, 1), place
        codes.add(result.exit_code)
        if result.exit_code:
            lines = [line for line in result.stderr.splitlines() if line.strip()]
            assert sum(line.startswith("error: ") for line in lines) == 1, place
            assert "\x1b" not in result.stderr
    assert codes == {0, 1}


def test_a_plugin_file_is_not_imported_unless_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("plugin.py", "ardtool_plugin.py", "hubconf.py", "sitecustomize.py", "conftest.py"):
        Path(name).write_text("open('canary', 'w').close()\n")
    Path("weights.safetensors").write_bytes(hostile._safetensors({"a": hostile.torch.ones(2)}))
    for command in (["inspect", "weights.safetensors"], ["relevance", "weights.safetensors"], ["plugins"], ["inspect", "plugin.py"]):
        CliRunner().invoke(app, command)
    assert not Path("canary").exists()
    CliRunner().invoke(app, ["relevance", "weights.safetensors", "--plugin", "plugin.py"])
    assert Path("canary").exists(), "named, it is code that runs"
    assert os.getcwd() == str(tmp_path)
