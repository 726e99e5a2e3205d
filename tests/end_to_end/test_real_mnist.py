"""Every command on a model of real MNIST, one short training by the small network; skipped where the files are not at hand."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ardtool.cli.main import app


@pytest.mark.slow
def test_every_command_works_on_mnist(real_data, tmp_path, monkeypatch):
    root = real_data / "MNIST"
    if not (root / "raw").is_dir():
        pytest.skip(f"no MNIST/raw in {real_data}")
    monkeypatch.chdir(tmp_path)

    def ardtool(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in (*arguments, "--json")])
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    settings = ("--arch", "conv", "--latent", 8, "--epochs", 1, "--batch-size", 400)
    run = ardtool("train", "--data", "mnist", "--data-root", root, *settings)
    assert run["run"] == "runs/mnist-ard-vae-L8-s0"
    assert (ardtool("relevance")["latent_dim"], run["known_factors"]) == (8, None)
    assert ardtool("prune", "--keep", 4, "--out", "small.safetensors")["max_abs_difference"] < 1e-5
    assert ardtool("sample", "small.safetensors", "--out", "samples.png", "-n", 9)["shape"] == [9, 1, 32, 32]
    assert len(ardtool("traverse", "--out", "grid.png")["axes"]) == 8
    metrics = ardtool("evaluate", "--data", "mnist", "--data-root", root)["metrics"]
    assert metrics["mse"]["n"] == 10_000
    assert 0 < metrics["mse"]["value"] < 0.067  # what predicting the mean image gives
    codes = ardtool("encode", "--data", "mnist", "--data-root", root, "--axes", "active", "--out", "codes.npz")
    assert codes["shape"] == [10_000, len(codes["axes"])]
    assert ardtool("decode", "codes.npz", "--out", "back.npy")["shape"] == [10_000, 1, 32, 32]
    assert {path.name for path in Path().iterdir()} >= {"samples.png", "grid.png", "back.npy"}
