"""Several processes: the same samples, noise, gradients and state as one, whatever their number."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from several import RESUMED, drawn, each, laws, measured, new_run, normalised, scored, states_of, trained
from torch.distributed import FileStore

import ardtool
from ardtool.errors import ConfigError, TrainingError
from ardtool.training.distributed import ProcessGroup, _device_of
from ardtool.training.processes import Processes, Shard

from .runs import METHODS, name_of, pixels, small_run

SMALL = {"mask-aae": {"mask.units": 8}, "wae-gan": {"gan.units": 8}}  # critics
EVERY: list[dict[str, Any]] = [SMALL.get(str(settings["method"]), {}) | settings for settings in METHODS]
TRAINED = {2: [{"method": "ard-vae"}], 3: EVERY}  # 31 samples in a batch are no multiple of either


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """What one process does, by law."""
    return {
        "trained": {name_of(settings): trained(Processes(), settings, pixels()) for settings in EVERY},
        "normalised": normalised(Processes()),
        "drawn": drawn(Processes()),
        "scored": scored(Processes()),
        "measured": measured(Processes()),
        "states": states_of(Processes(), RESUMED, pixels()),
    }


@pytest.fixture(scope="module", params=TRAINED)
def several(request, alone, tmp_path_factory) -> list[dict[str, Any]]:
    """What each of several processes does."""
    return each(request.param, tmp_path_factory.mktemp("stores"), laws, TRAINED[request.param], pixels(), alone["states"])


def assert_close(found: dict[str, Any], expected: dict[str, Any], rtol: float, where: str = "") -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=rtol, atol=rtol, err_msg=f"{where} {name}")


@pytest.mark.parametrize("samples", [1, 3, 4, 5, 6, 7, 100])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_parts_cover_all_samples_once_or_are_everything(samples, size):
    shards = [Shard.of(samples, rank, size) for rank in range(size)]
    assert sum(shard.weight for shard in shards) == pytest.approx(1)
    parts = [list(range(samples)[shard.rows]) for shard in shards]
    if samples < 2 * size:
        assert parts == [list(range(samples))] * size
    else:
        assert [row for part in parts for row in part] == list(range(samples))
        assert min(map(len, parts)) >= 2


@pytest.mark.parametrize("method", ["ard-vae", "mask-aae"])
def test_the_batches_of_all_processes_are_those_of_one(method):
    run = small_run({"method": method, "batch_size": 31})
    _, rest = run.split_epoch(0)
    whole = run._batches(rest).unflatten(1, (-1, 31))
    parts = []
    for rank in range(3):
        run.processes = Processes()
        run.processes.rank, run.processes.size = rank, 3
        parts.append(run._batches(rest).unflatten(1, (whole.shape[1], -1)))
    assert torch.equal(torch.cat(parts, dim=2), whole)


def test_training_is_that_of_one_process(several, alone):
    """In float64; the codes that priors are estimated from are rounded to float32."""
    for process in several:
        for settings, found in zip(TRAINED[len(several)], process["trained"], strict=True):
            assert_close(found, alone["trained"][name_of(settings)], 1e-6, name_of(settings))


def test_all_processes_have_the_same_state_to_the_last_bit(several):
    first = several[0]
    for process in several[1:]:
        for settings, expected, found in zip(TRAINED[len(several)], first["trained"], process["trained"], strict=True):
            assert all(np.array_equal(value, expected[name]) for name, value in found.items()), name_of(settings)


def test_batch_norm_takes_the_moments_of_the_whole_batch(several, alone):
    for process in several:
        assert_close(process["normalised"], alone["normalised"], 1e-9)


def test_noise_belongs_to_a_sample(several, alone):
    for process in several:
        assert all(np.array_equal(found, expected) for found, expected in zip(process["drawn"], alone["drawn"], strict=True))


def test_relevance_is_that_of_one_process(several, alone):
    for process in several:
        assert process["scored"].keys() == alone["scored"].keys()
        for name, (axes, interval) in process["scored"].items():
            np.testing.assert_allclose(axes, alone["scored"][name][0], rtol=1e-6)
            assert interval == alone["scored"][name][1]
        assert process["active"] == new_run(Processes(), {}, pixels()).count_active() > 0


def test_metrics_are_those_of_one_process(several, alone):
    for process in several:
        assert process["measured"].keys() == alone["measured"].keys()
        for name, numbers in process["measured"].items():
            np.testing.assert_allclose(numbers, alone["measured"][name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_run_continues_with_another_number_of_processes(several, alone):
    straight = alone["states"][-1][0]
    for process in several:
        assert_close(process["continued"][-1][0], straight, 1e-6)
    resumed = states_of(Processes(), RESUMED, pixels(), several[0]["states"][1])
    assert_close(resumed[-1][0], straight, 1e-6)


def test_an_error_of_one_is_the_error_of_all(several):
    for process in several:
        first, any_of_them, settings, data = process["refused"]
        assert first == "rank 0 cannot Hint: help it"
        assert any_of_them == "rank 1 cannot Hint: help it"
        assert "different settings: process 0 has latent 4, process 1 has 5" in settings
        assert "Process 1 reads other data than process 0." in data


def test_one_process_speaks_and_names_the_one_that_is_gone(several):
    speakers = [message for speaks, message in (process["missed"] for process in several) if speaks]
    assert speakers == [f"Process 1 of {len(several)} (counted from 0) ended."]


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [("auto", 2, "cuda:1"), ("cuda", 2, "cuda:1"), ("cpu", 2, "cpu"), ("auto", 0, "cpu"), ("cuda", 0, "cuda")],
)
def test_each_process_takes_the_gpu_of_its_number(monkeypatch, device, gpus, expected):
    environment(monkeypatch, gpus)
    assert _device_of(device) == expected


@pytest.mark.parametrize(
    ("device", "gpus", "message"),
    [
        ("auto", 1, "2 processes were started on a machine with 1 GPU."),
        ("cuda:1", 2, "--device cuda:1 is one device for several processes."),
    ],
)
def test_devices_that_several_processes_cannot_have(monkeypatch, device, gpus, message):
    environment(monkeypatch, gpus)
    with pytest.raises(ConfigError) as error:
        _device_of(device)
    assert error.value.message == message


def environment(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    """That of the second of two processes on a machine."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are found through /proc")
def test_no_thread_of_a_group_outlives_it(tmp_path):
    """One that did could end a process by SIGABRT when Python ends. torch's compiler is imported when an optimiser is made."""
    script = (
        "import pathlib, sys, torch\n"
        "from ardtool.training.distributed import ProcessGroup, dist\n"
        "threads = lambda: [task.joinpath('comm').read_text().strip() for task in pathlib.Path('/proc/self/task').iterdir()]\n"
        "group = ProcessGroup(dist.FileStore(sys.argv[1], 1), 0, 1)\n"
        "group.start('cpu')\n"
        "torch.optim.Adam([torch.zeros(1, requires_grad=True)])\n"
        "assert 'torch._dynamo' in sys.modules\n"
        "print(any('gloo' in name for name in threads()))\n"
        "group.close()\n"
        "print(any('gloo' in name for name in threads()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "store")], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_what_a_script_has_begun_itself_is_left_alone(tmp_path):
    store = FileStore(str(tmp_path / "own"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        group = ProcessGroup(FileStore(str(tmp_path / "store"), 1), 0, 2)
        with pytest.raises(TrainingError, match=r"torch\.distributed is in use already\."):
            group.start("cpu")
        group.leave()
        assert torch.distributed.is_initialized()
    finally:
        torch.distributed.destroy_process_group()


def test_one_process_alone_does_not_ask_for_others(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ardtool.training.distributed", None)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 4)))
    assert ardtool.train(data=str(tmp_path / "x.npy"), latent=2, epochs=1, out=tmp_path / "run").epochs == 1
    assert ardtool.relevance(tmp_path / "run").latent_dim == 2
