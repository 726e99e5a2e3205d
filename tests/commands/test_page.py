"""Pages of real models: images, vectors, pruned and foreign ones, directions; and the command on a page makes the run again."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import sys
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import ardtool
from ardtool.cli.main import app
from ardtool.commands.page_facts import command_of
from ardtool.commands.train_report import write_report
from ardtool.errors import ConfigError, StorageError


def pictures(html: str, section: str) -> list[np.ndarray]:
    """The pictures of a section as arrays."""
    body = re.search(rf'<section id="{section}">(.*?)</section>', html, re.DOTALL)
    found = [] if body is None else re.findall(r'src="data:image/[a-z]+;base64,([^"]*)"', body[1])
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in found]


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with blobs.npy and a run on it, two factors and four axes."""
    folder = tmp_path_factory.mktemp("blobs")
    random = np.random.default_rng(0)
    height, width = np.mgrid[:16, :16]
    x, y = random.uniform(3, 13, (2, 300, 1, 1))
    np.save(folder / "blobs.npy", np.exp(-((height - y) ** 2 + (width - x) ** 2) / 6).astype(np.float32))
    run = ardtool.train(data=str(folder / "blobs.npy"), latent=4, epochs=6, batch_size=50, out=folder / "run")
    write_report(run)
    return folder


def test_training_leaves_a_page(blobs):
    html = (blobs / "run" / "report.html").read_text()
    assert [each for each in ("how-many", "axes", "fewer", "samples", "training", "made") if f'id="{each}"' not in html] == []
    scores = json.loads((blobs / "run" / "relevance.json").read_text())
    assert f"<title>{scores['active']} of 4 latent axes</title>" in html
    assert len(pictures(html, "axes")) == 4
    assert len(pictures(html, "fewer")) == 2 + 4, "the data, all axes, and 1 to 4 of them"
    assert html.count('class="mark main" data-tip="epoch ') + html.count('class="mark second" data-tip="epoch ') >= 6
    assert len(html) < 1_000_000


def test_pictures_are_those_of_the_model(blobs):
    html = (blobs / "run" / "report.html").read_text()
    data, full, *by_k = pictures(html, "fewer")
    assert np.array_equal(by_k[-1], full), "all axes free is the full model"
    differences = [float(np.abs(each.astype(float) - full).mean()) for each in by_k]
    assert differences == sorted(differences, reverse=True)
    assert np.abs(data.astype(float) - full).mean() < 60
    scores = json.loads((blobs / "run" / "relevance.json").read_text())["axes"]
    spreads = [float(strip.astype(float).reshape(strip.shape[0], -1).std()) for strip in pictures(html, "axes")]
    assert len(spreads) == len(scores)


def test_the_command_on_the_page_makes_this_very_run(blobs, monkeypatch):
    monkeypatch.chdir(blobs)
    html = (blobs / "run" / "report.html").read_text()
    command = unescape(re.findall(r"<code>(ardtool train .*?)</code>", html)[0])
    words = shlex.split(command)
    result = CliRunner().invoke(app, [*words[1:], "--out", "run", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["repeated"] is True


def test_every_setting_comes_back_from_its_command():
    from ardtool.training.config import TrainConfig, config_from

    settings = TrainConfig().to_dict() | {"latent": 7, "beta": 0.5, "lr": 1e-3, "seed": 3, "image_size": "32x48"}
    words = shlex.split(command_of(settings) or "")
    assert words[:2] == ["ardtool", "train"]
    given = dict(zip([word.removeprefix("--").replace("-", "_") for word in words[2::2]], words[3::2], strict=True))
    assert given == {"latent": "7", "beta": "0.5", "lr": "0.001", "seed": "3", "image_size": "32x48"}
    assert config_from(settings, "test").latent == 7
    assert command_of(None) is None
    assert "--set rae.variant=gp" in (command_of(TrainConfig().to_dict() | {"rae": {"variant": "gp"}}) or "")


def test_relevance_with_data_and_metrics(blobs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = blobs / "run" / "model.safetensors"
    ardtool.evaluate(model, data=str(blobs / "blobs.npy"), metrics=["mse"])
    arguments = ["relevance", str(model), "--report", "r.html", "--data", str(blobs / "blobs.npy")]
    monkeypatch.setattr(sys, "argv", ["ardtool", *arguments])
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "wrote r.html" in result.stdout
    html = Path("r.html").read_text()
    assert shlex.join(["ardtool", *arguments]) in unescape(html)
    assert 'id="metrics"' in html
    assert "mse on blobs" in html or "mean squared error of reconstructions" in html


def test_vectors_are_rows_of_colours(vectors_run, tmp_path):
    out = tmp_path / "r.html"
    result = ardtool.relevance(vectors_run.model, report=out)
    html = out.read_text()
    assert len(pictures(html, "axes")) == result.latent_dim
    assert html.count('class="heat"') >= result.latent_dim
    assert "mean squared change of the output" in html, "without data there is no error, but a change"


def test_directions_have_no_strips(vectors_run, tmp_path):
    result = ardtool.relevance(vectors_run.model, basis="principal", report=tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text()
    assert f"of {result.latent_dim} principal directions" in html
    assert pictures(html, "axes") == []
    assert pictures(html, "fewer") != []


def test_a_pruned_model(vectors_run, tmp_path):
    ardtool.prune(vectors_run.model, keep=2, out=tmp_path / "small.safetensors")
    ardtool.relevance(tmp_path / "small.safetensors", report=tmp_path / "r.html")
    assert 'data-key="was"' in (tmp_path / "r.html").read_text() or "2 latent axes" in (tmp_path / "r.html").read_text()


def test_a_users_own_pair(tmp_path):
    torch.manual_seed(0)
    pair = ardtool.ModulePair(nn.Linear(6, 3), nn.Linear(3, 6), input_shape=(6,), latent_dim=3)
    ardtool.relevance(pair, data=torch.randn(50, 6), report=tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text()
    assert "mean squared error of reconstructions" in html
    assert 'id="training"' not in html


def test_refusals(vectors_run, tmp_path):
    with pytest.raises(ConfigError, match=r"--report is r.txt; expected a .html file."):
        ardtool.relevance(vectors_run.model, report="r.txt")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(StorageError, match="is a folder"):
        ardtool.relevance(vectors_run.model, report=tmp_path / "folder.html")


def test_damaged_files_beside_the_model_are_left_out(blobs, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(blobs / "run", run)
    for text in ("{", "[" * 100_000, '"x"', '{"epoch": 1, "training": 3}', "\x00"):
        (run / "history.jsonl").write_text(text)
        (run / "metrics.json").write_text(text)
        ardtool.relevance(run / "model.safetensors", report=tmp_path / "r.html")
        assert 'id="metrics"' not in (tmp_path / "r.html").read_text()
