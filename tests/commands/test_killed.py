"""A training process that is killed at random moments, within writes too, and continued, leaves what one leaves that nobody touched."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from killed import train_with_kills
from safetensors.torch import load_file

import ardtool

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


def lines(folder: Path) -> list[dict[str, object]]:
    """The history without times."""
    records = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if not name.endswith("seconds")} for record in records]


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_and_resumed_is_uninterrupted_bit_for_bit(tmp_path, kills, capsys):
    draw = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", draw.normal(size=(1500, 3)) @ draw.normal(size=(3, 8)) + 0.1 * draw.normal(size=(1500, 8)))
    settings = {"data": str(tmp_path / "x.npy"), "latent": 4, "epochs": 60, "batch_size": 50}
    straight = Path(ardtool.train(**settings, out=tmp_path / "straight").run)
    expected = load_file(straight / "model.safetensors")

    done = train_with_kills(settings, lambda number: tmp_path / f"killed{number}", kills, seed=kills)

    with capsys.disabled():
        print(f"\n{done.count} kills, {done.from_outside} of them from outside, the others {done.at}; {done.runs} runs finished")
    assert done.count == kills
    assert done.from_outside >= kills // 4
    assert sum(done.at.values()) >= kills // 4
    for number in range(done.runs):
        folder = tmp_path / f"killed{number}"
        found = load_file(folder / "model.safetensors")
        assert list(found) == list(expected)
        assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
        assert lines(folder) == lines(straight)
        assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.yaml", "history.jsonl", "relevance.json"}
