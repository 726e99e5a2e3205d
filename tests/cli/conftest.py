"""A tiny trained model, made once, and a way to run commands in its folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ardtool.cli.main import app

SETTINGS = ["--data", "x.npy", "--latent", "4", "--epochs", "3"]


class Terminal:
    """Runs `ardtool` in this process, in a folder with `x.npy` and a finished run of `SETTINGS`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: object, code: int = 0):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.stderr
        assert "Traceback" not in result.stderr
        return result

    def json(self, *arguments: object) -> dict:
        """The one JSON object that --json leaves on stdout."""

        def refuse(name: str) -> float:
            raise AssertionError(f"{name} is no JSON")

        return json.loads(self(*arguments, "--json").stdout, parse_constant=refuse)

    def error(self, *arguments: object) -> tuple[str, str]:
        """The sentence and the hint of a mistake."""
        result = self(*arguments, code=1)
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith("error: "))
        assert len(lines) == start + 2, result.stderr
        return lines[start].removeprefix("error: "), lines[start + 1].removeprefix("hint: ")


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    draw = np.random.default_rng(0)
    samples = draw.normal(size=(300, 2)) @ draw.normal(size=(2, 8)) + 0.01 * draw.normal(size=(300, 8))
    np.save(folder / "x.npy", samples.astype(np.float32))
    before = Path.cwd()
    os.chdir(folder)
    try:
        Terminal(folder)("train", *SETTINGS)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def ardtool(trained_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("ARDTOOL_PLUGINS", "")
    monkeypatch.setenv("COLUMNS", "120")
    folder = tmp_path / "work"
    shutil.copytree(trained_folder, folder)
    monkeypatch.chdir(folder)
    return Terminal(folder)
