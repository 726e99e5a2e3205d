"""`ardtool prune` on a terminal: what it shows, and limits in percent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ardtool.cli.prune import _change
from ardtool.storage.record import read_record


def test_a_limit_in_percent_shows_what_became_smaller_and_how(ardtool):
    shown = ardtool("prune", "--out", "small.safetensors", "--data", "x.npy", "--max-mse-increase", "5%").stdout
    stored = json.loads(Path("small.json").read_text())
    limit = 1.05 * stored["mse"]["before"]
    within = [point["k"] for point in stored["curve"] if point["mse"] <= limit]
    assert len(stored["kept"]) == min(k for k in within if all(larger in within for larger in range(k, 5)))
    assert Path("small.curve.png").read_bytes().startswith(b"\x89PNG")
    lines = {line[:12].strip(): line[12:] for line in shown.splitlines()[1:]}
    for label in ("kept", "dropped", "equality", "change", "parameters", "decoder", "encoder", "decoding", "MSE"):
        assert label in lines
    assert "bytes of weights" in lines["decoder"]
    assert "folded into the bias of its first layer" in lines["decoder"]
    assert "rows of its last layers are removed" in lines["encoder"]
    assert "µs a sample" in lines["decoding"]
    assert "wrote small.safetensors" in shown
    assert "a fresh process decodes with it" in shown
    assert "wrote small.curve.png" in shown
    assert "wrote small.json" in shown


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (1204, 602, "1,204 → 602 (−50.0 %)"),
        (15223, 15201, "15,223 → 15,201 (−0.1 %)"),
        (34556, 34540, "34,556 → 34,540 (<0.1 %)"),
        (34540, 34556, "34,540 → 34,556 (<0.1 %)"),
        (1000, 1200, "1,000 → 1,200 (+20.0 %)"),
        (1000, 1000, "1,000 → 1,000 (no change)"),
        (0, 0, "0 → 0"),
    ],
)
def test_a_change_that_rounds_to_nothing_is_said_in_words(before, after, shown):
    assert _change({"before": before, "after": after}, "") == shown


def test_directions_are_called_so(ardtool):
    result = ardtool.json("prune", "--out", "small.safetensors", "--basis", "principal", "--keep", 2)
    assert (result["basis"], result["kept"], result["dropped"], result["curve"]) == ("principal", [0, 1], [], None)
    assert result["files"] == ["small.safetensors", "small.json"]
    assert read_record(Path("small.json")) == result


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--keep", 2, "--max-output-change", "1%"], "--keep and --max-output-change both choose what stays.", "Give one of them."),
        (["--max-output-change", "much"], "--max-output-change is 'much'; expected a mean squared difference", "1%"),
        (["--max-mse-increase", "1%"], "--max-mse-increase is measured on data, and none are given.", "--data"),
        (["--export", "pickle"], "--export is 'pickle'; expected safetensors, pt2 or onnx.", "safetensors"),
        (
            ["--latents", "codes.npz", "--assume-prior"],
            "--data, --latents and --assume-prior each say where codes come from.",
            "one of them",
        ),
    ],
)
def test_wrong_requests_get_one_line(ardtool, arguments, message, hint):
    said, next_step = ardtool.error("prune", "--out", "small.safetensors", *arguments)
    assert message in said
    assert hint in next_step
    assert not list(Path.cwd().glob("small*"))
