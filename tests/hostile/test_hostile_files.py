"""Mutated and forged files are read correctly or refused with one line; nothing runs, nothing is written, memory is bounded."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hostile_files.forged import edited_models
from hostile_files.kinds import KINDS, seeds
from hostile_files.mutants import mutants
from safetensors.torch import save
from typer.testing import CliRunner

from ardtool.cli.main import app

FOLDER = Path(__file__).parents[1] / "support" / "hostile_files"
GROWTH = 256  # MiB; torch alone holds 700 to 800 MiB, and a process 1 GiB at most


def run(*options: object) -> str:
    result = subprocess.run([sys.executable, str(FOLDER), *map(str, options)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("each", [6, pytest.param(140, marks=pytest.mark.slow)])
def test_every_reader(each):
    """In one process; the slow variant reads more than 3,000 files."""
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in run("--each", each, "--seed", each).splitlines() if "|" in line]
    rows = {row[0]: row[1:] for row in table[2:]}
    assert set(rows) == set(KINDS)
    for kind, (files, read, refused, wrong, _, slowest, growth) in rows.items():
        assert int(files) > each, kind
        assert int(read) > 0, kind
        assert int(read) + int(refused) == int(files), kind
        assert wrong == "0"
        assert float(slowest) < 5, kind
        assert int(growth) < GROWTH, kind


def test_the_command_line(tmp_path, monkeypatch):
    """Fifty model files whose description was forged, the hash made right again: a result, or one line and exit code 1."""
    (tmp_path / "made").mkdir()
    contents = seeds(tmp_path / "made")
    monkeypatch.chdir(tmp_path)
    Path("x.npy").write_bytes(contents["npy"])
    forged = list(edited_models(contents["model"]))
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


def test_real_processes(tmp_path):
    """Damaged and forged files of many kinds, each read by a process of its own as a user would start it."""
    made = tmp_path / "made"
    made.mkdir()
    contents = seeds(made)
    broken = {kind: next(mutants(contents[kind], 1, random.Random(number))) for number, kind in enumerate(contents)}
    model = tmp_path / "whole.safetensors"
    model.write_bytes(contents["model"])
    data = tmp_path / "whole.npy"
    data.write_bytes(contents["npy"])
    commands = {
        "model": ["relevance", "{}"],
        "codes npz": ["decode", "{}", model, "--out", tmp_path / "out.npz"],
        "codes csv": ["decode", "{}", model, "--out", tmp_path / "out.npz"],
        "npy": ["evaluate", model, "--data", "{}"],
        "zip": ["train", "--data", "{}", "--epochs", "1", "--out", tmp_path / "run"],
        "yaml": ["train", "--config", "{}", "--out", tmp_path / "run"],
        "torch": ["relevance", "{}"],
        "pt2": ["relevance", "{}"],
        "run": ["compare", "{}"],
        "features": ["evaluate", model, "--data", data, "--features", "{}", "--metrics", "fid"],
    }
    for kind, command in commands.items():
        path = tmp_path / KINDS[kind][0]
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"latent: [" if kind == "yaml" else broken[kind][: len(broken[kind]) // 2])
        words = [sys.executable, "-m", "ardtool", *(str(word).format(path) for word in command)]
        result = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"ARDTOOL_CACHE": "off"})
        assert result.returncode in (1, 2), (kind, result)
        assert "Traceback" not in result.stderr
        assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 1, (kind, result.stderr)


def test_a_plugin_file_is_not_imported_unless_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("plugin.py", "ardtool_plugin.py", "hubconf.py", "sitecustomize.py", "conftest.py"):
        Path(name).write_text("open('canary', 'w').close()\n")
    Path("weights.safetensors").write_bytes(save({"a": torch.ones(2)}))
    for command in (["inspect", "weights.safetensors"], ["relevance", "weights.safetensors"], ["plugins"], ["inspect", "plugin.py"]):
        CliRunner().invoke(app, command)
    assert not Path("canary").exists()
    CliRunner().invoke(app, ["relevance", "weights.safetensors", "--plugin", "plugin.py"])
    assert Path("canary").exists(), "named, it is code that runs"
    assert os.getcwd() == str(tmp_path)
