"""Records of results: what was written comes back; one that was changed is not believed; one without a hash is."""

from __future__ import annotations

import json
import math
import shutil

import pytest

import ardtool
from ardtool.commands.comparing.runs import find_runs
from ardtool.storage.record import HASH, read_record, write_record

RECORD = {"schema": "x/1", "n": 3, "values": [0.1, math.nan, None, 1e300], "name": "ä\ud800", "inner": {"b": 1, "a": True}}


def test_it_comes_back(tmp_path):
    path = tmp_path / "r.json"
    record = RECORD | {"name": "ä"}
    write_record(path, record)
    assert read_record(path) == record | {"values": [0.1, None, None, 1e300]}
    assert list(json.loads(path.read_text()))[-1] == HASH
    write_record(path, read_record(path))
    assert read_record(path)["n"] == 3


@pytest.mark.parametrize(("old", "new"), [('"n": 3', '"n": 4'), ("0.1", "0.11"), ('"a": true', '"a": false'), ("null", "0")])
def test_a_changed_one_is_refused(tmp_path, old, new):
    path = tmp_path / "r.json"
    write_record(path, RECORD | {"name": "ä"})
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match="its content is not what was written"):
        read_record(path)
    path.write_text(json.dumps(json.loads(text), sort_keys=True))  # written otherwise, the same content
    assert read_record(path)["n"] == 3
    path.write_text('{"n": 4}')
    assert read_record(path) == {"n": 4}


@pytest.mark.parametrize("text", ["", "[1]", "3", "{", "[" * 100_000, '{"a": 1, "content_sha256": [1]}', "\ud800"])
def test_what_is_no_record(tmp_path, text):
    (tmp_path / "r.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=r"."):
        read_record(tmp_path / "r.json")


def test_compare_and_evaluate_leave_changed_metrics_alone(seed_runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(seed_runs / "s0", run)
    metrics = run / "metrics.json"
    record = read_record(metrics)
    name = next(iter(record["metrics"]))
    text = metrics.read_text()
    metrics.write_text(text.replace(repr(record["metrics"][name]["value"]), "0.125", 1))
    assert metrics.read_text() != text
    (left_out,) = find_runs([run]).left_out
    assert left_out.reason == "cannot be read (its content is not what was written)"
    ardtool.evaluate(run / "model.safetensors", data=str(seed_runs / "x.npy"), metrics=["mse"])
    again = read_record(metrics)["metrics"]
    assert "mse" in again
    assert all(value["value"] != 0.125 for value in again.values())
