"""Mistakes get one sentence and a next step; no traceback, and nothing on stdout."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

MODEL = Path("runs/x-ard-vae-L4-s0/model.safetensors")


def train(*arguments: object) -> list[object]:
    return ["train", *arguments]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["relevance", "nope.safetensors"], "nope.safetensors does not exist.", "ardtool train"),
        (train("--latent", 0), "--latent is 0; expected 1 to 100000.", "The default is 16."),
        (train("--threshold", 1.5), "--threshold is 1.5; expected a share in (0, 1].", "0.99"),
        (train("--data", "spirtes"), "Unknown data set 'spirtes'", "Did you mean 'sprites'?"),
        (train("--data", "nope/x.npy"), "The data path 'nope/x.npy' does not exist.", "ardtool data"),
        (train("--data", "x.npy", "--latent", 400), "more latent axes than the 270 training samples", "--latent"),
        (train("--set", "lr_patiance=3"), "--set: unknown setting 'lr_patiance'.", "Did you mean 'lr_patience'?"),
        (train("--beta", "much"), "beta is 'much'; expected a number or auto.", "--help"),
        (train("--likelihood", "poisson"), "likelihood is 'poisson'", "--help"),
        (train("--config", "nope.yaml"), "--config nope.yaml: No such file", "YAML"),
        (train("--device", "gpu"), "--device is 'gpu'", "auto"),
        (["relevance", "--samples", 1], "--samples is 1; expected at least 2.", "100"),
        (["sample", "-n", 0], "-n is 0", "64"),
        (["sample", "--out", "x.png"], "the model makes vectors of 8 numbers", "samples.npz"),
        (["traverse", "--axes", "99"], "--axes names [99]", "ardtool relevance"),
        (["evaluate", "--data", "x.npy", "--metrics", "fame"], "Unknown metric 'fame'.", "mse"),
        (["encode", "--data", "x.npy", "--out", "codes.txt"], "--out is codes.txt", "codes.npz"),
        (["decode", "nope.npz"], "nope.npz does not exist.", "ardtool encode"),
        (["relevance", "x.npy"], "No plugin reads x.npy.", "--plugin"),
    ],
)
def test_a_sentence_and_a_hint(ardtool, arguments, message, hint):
    said, next_step = ardtool.error(*arguments)
    assert message in said
    assert hint in next_step


@pytest.mark.parametrize(
    "arguments",
    [
        train("--latent", "abc"),
        train("--set", "foo"),
        ["traverse", "--axes", "0,x"],
        ["evaluate"],
        ["prune"],
        ["nonsense"],
        train("--nonsense"),
    ],
)
def test_wrong_usage_exits_with_2(ardtool, arguments):
    assert ardtool(*arguments, code=2).stdout == ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("page.safetensors", lambda _: b"<!DOCTYPE html><html>not found</html>", "page.safetensors is an HTML page"),
        ("half.safetensors", lambda model: model[: len(model) // 2], "half.safetensors is truncated"),
        ("stub.safetensors", lambda model: model[:100], "stub.safetensors is truncated or damaged"),
        ("empty.safetensors", lambda _: b"", "empty.safetensors is an empty file"),
    ],
)
def test_damaged_models(ardtool, name, content, message):
    Path(name).write_bytes(content(MODEL.read_bytes()))
    assert message in ardtool.error("relevance", name)[0]


def test_unusable_data(ardtool):
    samples = np.load("x.npy")
    np.save("constant.npy", np.ones_like(samples))
    samples[3, 4] = np.nan
    np.save("holes.npy", samples)
    Path("empty").mkdir()
    assert "row 3, column 4" in ardtool.error("train", "--data", "holes.npy")[0]
    assert "does not vary" in ardtool.error("train", "--data", "constant.npy")[0]
    assert "empty holds no images" in ardtool.error("train", "--data", "empty")[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latnt: 3\n", "run.yaml: unknown setting 'latnt'."),
        ("latent: [1\nfoo: }", "run.yaml, line 2: not valid YAML"),
        ("data: 2026-13-45\n", "run.yaml: not valid YAML: month must be in 1..12."),
        ("[" * 5000, "run.yaml: nested too deeply for settings."),
        ("- latent\n", "run.yaml holds a list; expected names and values."),
        ("latent: many\n", "run.yaml: latent is 'many'; expected a whole number."),
    ],
)
def test_unusable_settings_files(ardtool, text, message):
    Path("run.yaml").write_text(text)
    assert message in ardtool.error("train", "--config", "run.yaml")[0]


def test_a_folder_that_cannot_be_written(ardtool):
    Path("taken").write_text("a file, not a folder")
    message, hint = ardtool.error("train", "--data", "x.npy", "--latent", 2, "--epochs", 1, "--out", "taken/run")
    assert "taken" in message
    assert "--out" in hint


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "No space left on device"), (errno.EROFS, "Read-only file system")])
def test_a_full_or_read_only_disk(ardtool, monkeypatch, number, words):
    def refuse(*_args, **_options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("ardtool.storage.atomic.tempfile.mkstemp", refuse)
    message, hint = ardtool.error("train", "--data", "x.npy", "--latent", 2, "--epochs", 1, "--out", "locked")
    assert words in message
    assert "locked" in message
    assert hint == "Free space or choose another place with --out."
    assert not [path for path in Path("locked").rglob("*") if path.is_file()]


def test_a_run_of_other_settings_is_not_taken_for_this_one(ardtool):
    message, hint = ardtool.error("train", "--data", "x.npy", "--latent", 3, "--epochs", 3, "--out", MODEL.parent)
    assert "holds a run of other settings: latent 4, not 3" in message
    assert "--force" in hint


def test_several_unfinished_runs_need_a_choice(ardtool):
    for name in ("a", "b"):
        (Path("runs") / name / "resume").mkdir(parents=True)
        (Path("runs") / name / "resume" / "state.safetensors").touch()
    message, hint = ardtool.error("train", "--resume")
    assert "2 runs are unfinished: runs/a, runs/b" in message
    assert "--resume --out runs/a" in hint


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: No space left on device."),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system."),
        (MemoryError(), "Not enough memory."),
    ],
)
def test_trouble_of_the_machine_is_one_line(ardtool, monkeypatch, raised, said):
    monkeypatch.setattr("ardtool.registry.list_plugins", lambda: (_ for _ in ()).throw(raised))
    assert ardtool.error("plugins")[0] == said


def test_a_bug_keeps_its_traceback(ardtool, monkeypatch):
    monkeypatch.setattr("ardtool.registry.list_plugins", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ardtool("plugins")


def test_control_c_is_one_line_and_130(ardtool, monkeypatch):
    def press() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ardtool.registry.list_plugins", press)
    assert ardtool("plugins", code=130).stderr == "interrupted\n"


def test_the_real_program_prints_no_traceback(ardtool):
    result = subprocess.run([sys.executable, "-m", "ardtool", "train", "--latent", "0"], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: --latent is 0; expected 1 to 100000.\nhint: The default is 16.\n"
