"""`ardtool evaluate` as it is typed."""

from __future__ import annotations

import json

import pytest

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


GENERATION_HINT = "Leave it out, or ask for what it is for: --metrics generation, or some of fid, kid, prd, prdc."


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--features", "pixels"], "--features has no effect on mse, elbo.", GENERATION_HINT),
        (["--features", "none.npz", "--metrics", "mse,mig"], "--features has no effect on mse, mig.", GENERATION_HINT),
        (["--generated", "x.npy", "--metrics", "mse"], "--generated has no effect on mse.", GENERATION_HINT),
        (["--inception-weights", "w.pth", "--metrics", "mse"], "--inception-weights has no effect on mse.", GENERATION_HINT),
        (["--sampler", "gmm", "--metrics", "mse"], "--sampler has no effect on mse.", GENERATION_HINT),
        (["--all-axes", "--metrics", "mse"], "--all-axes has no effect on mse.", GENERATION_HINT),
        (
            ["--factors", "f.npz", "--metrics", "kid"],
            "--factors has no effect on kid.",
            "Leave it out, or ask for what it is for: --metrics disentanglement, "
            "or some of factor-vae, mig, beta-vae, sap, modularity, dci.",
        ),
    ],
)
def test_what_no_metric_asked_for_uses_is_refused(ardtool, arguments, message, hint):
    assert ardtool.error("evaluate", "--data", "x.npy", *arguments) == (message, hint)


def test_features_may_be_chosen_where_one_of_the_metrics_uses_them(ardtool):
    asked = ("evaluate", "--data", "x.npy", "--samples", 60, "--features", "pixels", "--metrics")
    for metrics in ("mse,kid", "generation"):
        assert "kd[pixels]" in ardtool.json(*asked, metrics)["metrics"]
