"""`ardtool evaluate` as it is typed."""

from __future__ import annotations

import json

from ardtool.commands.evaluate import METRICS


def test_the_list_of_metrics_needs_no_model(ardtool):
    shown = ardtool("evaluate", "--list-metrics").stdout
    for name, metric in METRICS.items():
        assert f"  {name} " in shown
        assert metric.summary in shown
    listed = json.loads(ardtool("evaluate", "--list-metrics", "--json").stdout)
    assert [row["name"] for row in listed["metrics"]] == list(METRICS)


def test_data_are_asked_for(ardtool):
    result = ardtool("evaluate", code=2)
    assert "the data to measure on are missing" in " ".join(result.stderr.split())


def test_tables_name_features_and_what_was_left_out(ardtool):
    result = ardtool("evaluate", "--data", "x.npy", "--metrics", "reconstruction,kid", "--samples", "60")
    lines = result.stdout.splitlines()
    assert any(line.startswith("kd_floor[pixels] ") for line in lines)
    assert any(line.startswith("kd[pixels]: features ") and line.endswith(", data x") for line in lines)
    assert "without psnr: needs images" in result.stderr
