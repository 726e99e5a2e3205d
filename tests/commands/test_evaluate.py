"""What holds for all metrics: which are measured, on how many samples, and how the file keeps them."""

from __future__ import annotations

import json

import numpy as np
import pytest

import ardtool
from ardtool.commands.evaluate import METRICS
from ardtool.commands.evaluating.record import save
from ardtool.commands.evaluating.table import chosen_metrics
from ardtool.commands.evaluating.values import EvaluateResult, MetricValue
from ardtool.errors import ConfigError


def test_names_groups_and_all():
    assert set(chosen_metrics(None)) == {name for name, metric in METRICS.items() if metric.usual}
    assert set(chosen_metrics(["all"])) == set(METRICS)
    for group in {metric.group for metric in METRICS.values()} - set(METRICS):
        assert set(chosen_metrics([group])) == {name for name, metric in METRICS.items() if metric.group == group}
    assert chosen_metrics(["mse", "likelihood"])["mse"] is True
    assert chosen_metrics(["likelihood"])["elbo"] is False
    assert chosen_metrics("mse, fid") == chosen_metrics(["mse", "fid"]) == {"mse": True, "fid": True}


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [(["msee"], "Did you mean 'mse'?"), (["likelyhood"], "Did you mean 'likelihood'?"), ([], "Known"), ("msee", "Did you mean 'mse'?")],
)
def test_an_unknown_metric_is_named_with_the_nearest(wanted, hint):
    with pytest.raises(ConfigError, match="Unknown metric") as caught:
        chosen_metrics(wanted)
    assert caught.value.hint.startswith(hint)


def test_at_most_so_many_samples_are_measured(vectors_run, vectors_file, tmp_path):
    few = ardtool.evaluate(vectors_run.model, data=str(vectors_file), samples=50, out=tmp_path / "a.json").metrics
    assert {value.n for value in few.values()} == {50}
    again = ardtool.evaluate(vectors_run.model, data=str(vectors_file), samples=50, out=tmp_path / "b.json").metrics
    assert again == few
    other = ardtool.evaluate(vectors_run.model, data=str(vectors_file), samples=50, seed=1, out=tmp_path / "c.json").metrics
    assert other["mse"].value != few["mse"].value
    everything = ardtool.evaluate(vectors_run.model, data=str(vectors_file), out=tmp_path / "d.json").metrics
    assert everything["mse"].value == pytest.approx(few["mse"].value, abs=6 * few["mse"].stderr)


@pytest.mark.parametrize("flag", ["samples", "eval_seeds", "iwae_draws"])
def test_counts_start_at_one(vectors_run, flag):
    with pytest.raises(ConfigError, match=f"--{flag.replace('_', '-')} is 0; expected at least 1"):
        ardtool.evaluate(vectors_run.model, data=np.zeros((3, 12)), **{flag: 0})


def value(number: float, family: str, **provenance: str) -> MetricValue:
    return MetricValue(number, 0.1, 10, "all", "points", family, provenance)


def result(**metrics: MetricValue) -> EvaluateResult:
    return EvaluateResult("m", "d", metrics, model_sha256="1", data_sha256="2")


def test_a_family_is_replaced_as_a_whole(tmp_path):
    """An earlier call measured the floor too; after a call of another convention that number would be read as belonging to it."""
    path = tmp_path / "metrics.json"
    save(result(fid=value(9, "fid", resize="a"), fid_floor=value(1, "fid", resize="a"), mse=value(2, "mse")), path)
    save(result(fid=value(8, "fid", resize="b")), path)
    found = json.loads(path.read_text())["metrics"]
    assert set(found) == {"fid", "mse"}
    assert found["fid"]["provenance"] == {"resize": "b"}


def test_features_of_two_kinds_stand_side_by_side(tmp_path):
    path = tmp_path / "metrics.json"
    save(result(fid=value(9, "fid")), path)
    save(result(**{"fd[pixels]": value(3, "fd[pixels]")}), path)
    assert set(json.loads(path.read_text())["metrics"]) == {"fid", "fd[pixels]"}


def test_what_is_no_number_is_null_and_what_is_empty_is_left_out():
    record = MetricValue(float("nan"), float("inf"), 1, "all", "nats", "sap").to_dict()
    assert record == {"value": None, "stderr": None, "n": 1, "axes": "all", "unit": "nats", "family": "sap"}
