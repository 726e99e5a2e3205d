"""The check in a fresh process: what counts as a difference, what a broken file says, how time is taken."""

from __future__ import annotations

import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.errors import ArdtoolError
from ardtool.export import fresh
from ardtool.export.fresh import FreshCheck, check_in_fresh_process, decode_seconds
from ardtool.latent.codes import LatentCodes
from ardtool.latent.statistics import CodeStatistics
from ardtool.networks.build import architecture_record, build_network
from ardtool.storage.model_file import SavedModel, save_model


def test_a_model_file_decodes_as_the_model(tmp_path):
    network = build_network(architecture_record("auto", (7,), 4, value_range=None), 0).eval()
    codes, path = Posterior(torch.randn(40, 4)), tmp_path / "model.safetensors"
    save_model(SavedModel(network, LatentCodes(CodeStatistics.of(codes.mean), codes, None), {"method": "vae"}), path)
    with torch.no_grad():
        expected = network.decode(codes.mean)
    check = check_in_fresh_process(path, "safetensors", codes, expected)
    assert check.relative <= 1e-5
    assert check.output_scale == float(expected.abs().max())
    assert check.batches == [1, 4, 33]


def test_the_other_process_sees_no_module_of_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("open('ran', 'w')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArdtoolError, match=r"Cannot read .*small\.pt2"):
        check_in_fresh_process(tmp_path / "small.pt2", "pt2", Posterior(torch.randn(3, 6)), torch.zeros(3, 5))
    assert not (tmp_path / "ran").exists()


def test_a_process_that_dies_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ArdtoolError, match=r"The process that checks .*small.pt2 ended with code 1: it said nothing\."):
        check_in_fresh_process(tmp_path / "small.pt2", "pt2", Posterior(torch.randn(3, 6)), torch.zeros(3, 5))


@pytest.mark.parametrize(("found", "difference"), [(1.0, 0.0), (1.5, 0.5), (float("nan"), float("inf")), (float("inf"), float("inf"))])
def test_one_wrong_output_is_enough(found, difference, tmp_path):
    outputs = torch.ones(4, 5)
    outputs[3, 2] = found
    save_file({"all": outputs}, tmp_path / "outputs", metadata={"seconds_per_sample": "0.5", "sizes": '{"all": 4}'})
    check = fresh.compare(tmp_path / "small.pt2", tmp_path / "outputs", torch.ones(4, 5))
    assert check == FreshCheck(difference, 1.0, 0.5, [4])


def test_outputs_of_another_shape_are_refused(tmp_path):
    save_file({"all": torch.ones(1, 5)}, tmp_path / "outputs", metadata={"seconds_per_sample": "0.5", "sizes": '{"all": 1}'})
    with pytest.raises(ArdtoolError, match=r"small.pt2 decodes a batch of 1 to shape \(1, 5\); expected \(1, 6\)."):
        fresh.compare(tmp_path / "small.pt2", tmp_path / "outputs", torch.ones(1, 6))


def test_a_difference_is_relative_to_the_largest_output():
    assert FreshCheck(2e-6, 4.0, 0.0, [1]).relative == 5e-7


def test_a_damaged_file_is_one_line_from_the_other_process(tmp_path):
    path = tmp_path / "small.pt2"
    path.write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(ArdtoolError, match=r"small.pt2 is truncated or damaged") as caught:
        check_in_fresh_process(path, "pt2", Posterior(torch.randn(3, 6)), torch.zeros(3, 5))
    assert "\n" not in str(caught.value)


def test_seconds_are_the_median_after_a_warm_up(monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 11.0, 20.0, 23.0])
    monkeypatch.setattr(fresh.time, "perf_counter", lambda: next(clock))
    calls = []
    assert fresh.median_seconds(lambda: calls.append(1), repeats=3) == 3.0
    assert len(calls) == 4


def test_timing_fills_the_batch_and_leaves_the_model_as_it_was():
    sizes = []
    decoder = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8))
    model = ModulePair(nn.Linear(5, 6), decoder, (8,), 6).train()
    decoder[1].eval()  # as where someone froze its statistics
    decoder.register_forward_hook(lambda module, inputs, output: sizes.append((len(output), module.training)))
    assert decode_seconds(model, Posterior(torch.randn(5, 6)), batch=64, repeats=2) > 0
    assert sizes == [(64, False)] * 3
    assert model.training and decoder[0].training and not decoder[1].training
