"""Every command on a small trained model: its files, its text, its JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from .conftest import SETTINGS

RUN = Path("runs/x-ard-vae-L4-s0")


def test_train_leaves_a_run_folder_with_pictures(ardtool):
    names = {path.name for path in RUN.iterdir()}
    assert names == {
        "model.safetensors",
        "config.yaml",
        "history.jsonl",
        "relevance.json",
        "report.html",
        "scree.png",
        "history.png",
        "traversal.png",
    }


def test_train_reports_the_count_the_axes_and_what_is_next(ardtool):
    result = ardtool("train", *SETTINGS, "--out", "runs/again")
    assert "of 4 latent axes" in result.stdout.splitlines()[0]
    assert "95 % interval" in result.stdout
    assert "data  x: 270 training samples (54 of them in X_α), 30 for validation" in result.stderr
    assert "4 latent axes" in result.stderr
    assert "epoch 3/3" in result.stderr
    assert "ardtool prune" in result.stderr


def test_quiet_says_nothing_on_stderr(ardtool):
    assert ardtool("train", *SETTINGS, "--seed", 1, "--quiet").stderr == ""


def test_a_calibrated_beta_that_has_not_settled_is_a_warning(ardtool):
    asked = ("train", "--data", "x.npy", "--latent", 4, "--epochs", 20, "--batch-size", 10, "--out", "auto")
    result = ardtool(*asked, "--beta", "auto", "--json")
    said = "β had not settled: it fell from "
    assert f"warning: {said}" in result.stderr
    assert sum(warning.startswith(said) for warning in json.loads(result.stdout)["warnings"]) == 1
    assert f"warning: {said}" in ardtool(*asked, "--beta", "auto").stderr  # where it has finished already, too
    assert any(warning.startswith(said) for warning in ardtool.json(*asked, "--beta", "auto", "--quiet")["warnings"])
    assert "β had not settled" not in ardtool(*asked, "--beta", 1.4, "--force").stderr


def test_an_identical_finished_run_is_reported(ardtool):
    before = (RUN / "model.safetensors").stat().st_mtime_ns
    result = ardtool("train", *SETTINGS)
    assert "finished already" in result.stderr
    assert "--force" in result.stderr
    assert "of 4 latent axes" in result.stdout
    assert (RUN / "model.safetensors").stat().st_mtime_ns == before


def test_force_trains_again(ardtool):
    before = (RUN / "model.safetensors").stat().st_mtime_ns
    assert "finished already" not in ardtool("train", *SETTINGS, "--force").stderr
    assert (RUN / "model.safetensors").stat().st_mtime_ns > before


def test_long_training_prints_about_thirty_lines(ardtool):
    result = ardtool("train", "--data", "x.npy", "--latent", 2, "--epochs", 95)
    lines = [line for line in result.stderr.splitlines() if line.startswith("epoch ")]
    assert 20 <= len(lines) <= 31
    assert lines[-1].startswith("epoch 95/95")


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ("ardtool.train/1", ["train", *SETTINGS]),
        ("ardtool.train/1", ["train", *SETTINGS, "--seed", 3]),
        ("ardtool.relevance/1", ["relevance"]),
        ("ardtool.prune/1", ["prune", "--out", "small.safetensors", "--keep", 2]),
        ("ardtool.sample/1", ["sample"]),
        ("ardtool.traverse/1", ["traverse"]),
        ("ardtool.metrics/1", ["evaluate", "--data", "x.npy"]),
        ("ardtool.encode/1", ["encode", "--data", "x.npy"]),
        ("ardtool.data/1", ["data"]),
        ("ardtool.plugins/1", ["plugins"]),
    ],
)
def test_json_is_alone_on_stdout(ardtool, schema, arguments):
    assert ardtool.json(*arguments)["schema"] == schema


def test_decode_takes_what_encode_wrote(ardtool):
    ardtool("encode", "--data", "x.npy", "--out", "codes.npz", "--axes", "active")
    result = ardtool.json("decode", "codes.npz", "--out", "back.npy")
    assert result["schema"] == "ardtool.decode/1"
    assert np.load("back.npy").shape == (300, 8)


def test_what_is_not_finite_becomes_null_in_json():
    from ardtool.cli.rendering import finite

    value = {"a": float("nan"), "b": [1.5, float("inf")], "c": (2, None)}
    assert json.dumps(finite(value), allow_nan=False) == '{"a": null, "b": [1.5, null], "c": [2, null]}'


def test_without_a_model_the_newest_run_is_taken(ardtool):
    assert ardtool.json("relevance")["model"] == str(RUN / "model.safetensors")
    ardtool("train", "--data", "x.npy", "--latent", 2, "--epochs", 2)
    assert ardtool.json("relevance")["latent_dim"] == 2
    assert ardtool.json("relevance", RUN)["latent_dim"] == 4


def test_relevance_shows_every_axis_and_writes_only_what_is_asked_for(ardtool):
    before = set(Path.cwd().rglob("*"))
    shown = ardtool("relevance").stdout
    for name in ("share %", "cum. %", "score", "variance", "weight", "KL", "Var μ", "state"):
        assert name in shown
    assert set(Path.cwd().rglob("*")) == before
    ardtool("relevance", "--out", "r.json", "--plot", "p.png")
    ardtool("relevance", "--plot", "v.svg", "--figure", "variance")
    assert Path("v.svg").read_text().startswith("<?xml")
    assert json.loads(Path("r.json").read_text())["schema"] == "ardtool.relevance/1"
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")


def test_pruned_models_show_where_their_axes_were(ardtool):
    kept = ardtool.json("prune", "--out", "small.safetensors", "--axes", "1,3")["kept"]
    assert kept == [1, 3]
    assert " was " in ardtool("relevance", "small.safetensors").stdout
    assert " was " not in ardtool("relevance").stdout


def test_tables_fit_into_eighty_columns(ardtool, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ardtool("prune", "--out", "small.safetensors", "--axes", "0,1,3")
    for arguments in (["relevance"], ["relevance", "small.safetensors"], ["train", *SETTINGS]):
        rows = ardtool(*arguments).stdout.split("axis ", 1)[1].split("\n\n")[0]
        assert "…" not in rows
        assert max(map(len, rows.splitlines())) <= 80


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0.00"),
        (41.23, "41.2"),
        (1204.4, "1,204"),
        (0.1234, "0.123"),
        (0.00123, "0.0012"),
        (9.51e-4, "9.5e-4"),
        (123, "123"),
    ],
)
def test_numbers_are_short(value, text):
    from ardtool.cli.rendering import number

    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [(37.512, 0.834, "37.51 ± 0.83"), (0.00173, 3e-4, "0.0017 ± 0.0003"), (9.2e-4, 2e-4, "9.2e-4 ± 2e-4"), (2, 0, "2.00")],
)
def test_values_with_errors_show_the_digits_they_know(value, stderr, text):
    from ardtool.cli.rendering import with_error

    assert with_error(value, stderr) == text


def test_prune_proves_equality_and_refuses_to_overwrite(ardtool):
    shown = ardtool("prune", "--out", "small.safetensors", "--keep", 3).stdout
    assert "kept 3 of 4 latent axes" in shown
    assert "max |difference|" in shown
    assert "→" in shown
    message, hint = ardtool.error("prune", "--out", "small.safetensors", "--keep", 3)
    assert message == "small.safetensors exists already."
    assert "--force" in hint
    ardtool("prune", "--out", "small.safetensors", "--keep", 3, "--force")


def test_evaluate_says_where_its_file_is(ardtool):
    shown = ardtool("evaluate", "--data", "x.npy").stdout
    assert f"wrote {RUN / 'metrics.json'}" in shown
    assert "nats per sample" in shown


def test_settings_come_from_options_then_set_then_yaml_then_defaults(ardtool):
    Path("run.yaml").write_text("data: x.npy\nlatent: 7\nbatch-size: 40\nepochs: 9\nlr: 5e-4\n")
    ardtool("train", "--config", "run.yaml", "--set", "latent=6", "--set", "epochs=8", "--epochs", 2, "--out", "mixed")
    found = yaml.safe_load(Path("mixed/config.yaml").read_text())
    assert (found["epochs"], found["latent"], found["batch_size"], found["lr"]) == (2, 6, 40, 5e-4)
    assert found["threshold"] == 0.99


def test_a_runs_own_settings_can_be_fed_back(ardtool):
    result = ardtool("train", "--config", RUN / "config.yaml")
    assert "finished already" in result.stderr


def test_resume_alone_continues_the_unfinished_run(ardtool):
    settings = ["--data", "x.npy", "--latent", "3", "--epochs", "4"]
    code = (
        "import ardtool, sys\nfrom pathlib import Path\n"
        "class Stop:\n"
        "    started = stepped = noted = lambda *_: None\n"
        "    def epoch_ended(self, record): raise SystemExit\n"
        "ardtool.train(data='x.npy', latent=3, epochs=4, observer=Stop())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    message, hint = ardtool.error("train", *settings)
    assert "unfinished" in message
    assert "--resume" in hint
    result = ardtool("train", "--resume")
    assert "continuing after epoch 1 of 4" in result.stderr
    assert Path("runs/x-ard-vae-L3-s0/model.safetensors").exists()


def test_many_axes_are_cut_short(ardtool):
    ardtool("train", "--data", "x.npy", "--latent", 60, "--epochs", 2, "--out", "wide")
    shown = ardtool("relevance", "wide").stdout
    active = ardtool.json("relevance", "wide")["active"]
    assert f"… and {60 - active - 4} more" in shown or active > 56


def test_the_module_runs_as_a_program(ardtool):
    result = subprocess.run([sys.executable, "-m", "ardtool", "data", "--json"], capture_output=True, text=True, check=True)
    assert "sprites" in [each["name"] for each in json.loads(result.stdout)["data"]]
    assert result.stderr == ""
