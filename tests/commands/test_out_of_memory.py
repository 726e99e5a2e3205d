"""Where memory runs out commands halve what they do at once and go on, with the same results; training says what fits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ardtool
from ardtool.errors import ArdtoolError
from ardtool.networks.build import NetworkAutoencoder

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate 80 bytes."),
    MemoryError(),
]


class Scarcity:
    """Networks run out of memory on more than `most` samples at once; None for no limit.

    Attributes:
        refused: how often that has happened.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most: int | None = None
        self.error: Exception = MemoryError()
        self.refused = 0
        for name in ("encode", "decode_raw"):
            monkeypatch.setattr(NetworkAutoencoder, name, self._limited(getattr(NetworkAutoencoder, name)))

    def _limited(self, method: Callable) -> Callable:
        def limited(model, samples, *args):
            if self.most is not None and len(samples) > self.most:
                self.refused += 1
                raise self.error
            return method(model, samples, *args)

        return limited


@pytest.fixture
def scarcity(monkeypatch) -> Scarcity:
    return Scarcity(monkeypatch)


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def encoded(run, data, out):
    ardtool.encode(run.model, data=data, out=out / "codes.npz")
    return arrays(out / "codes.npz")


def decoded(run, data, out):
    np.save(out / "z.npy", np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32))
    ardtool.decode(run.model, codes=out / "z.npy", out=out / "x.npz")
    return arrays(out / "x.npz")


def sampled(run, data, out):
    ardtool.sample(run.model, out=out / "samples.npz", n=150)
    return arrays(out / "samples.npz")


def traversed(run, data, out):
    ardtool.traverse(run.model, out=out / "grid.png", axes="all")
    return {"pixels": np.asarray(Image.open(out / "grid.png")) / 255}


def evaluated(run, data, out):
    found = ardtool.evaluate(run.model, data=data, metrics=["all"], features="pixels", iwae_draws=20, cache=False).to_dict()
    numbers = {name: value["value"] for name, value in found["metrics"].items()}
    curve = {"curve": [row["mse"] for row in found["curves"]["mse"]]}
    return {name: np.asarray(value, dtype=float) for name, value in (numbers | curve).items()}


def pruned(run, data, out):
    found = ardtool.prune(run.model, keep=3, data=data, out=out / "pruned.safetensors", force=True)
    assert found.mse is not None
    return {"mse": np.asarray(list(found.mse.values())), "output_change": np.asarray(found.output_change)}


def scored(run, data, out):
    found = ardtool.relevance(run.model, data=data)
    return {"scores": np.asarray([axis["score"] for axis in found.to_dict()["axes"]])}


COMMANDS = [encoded, decoded, sampled, traversed, evaluated, pruned, scored]


@pytest.fixture(scope="module")
def waves(images_run) -> str:
    """The data of the run."""
    return ardtool.load_model(images_run.model).metadata["settings"]["data"]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_halved_batches_give_the_same(command, error, images_run, scarcity, tmp_path, waves):
    expected = command(images_run, waves, tmp_path)
    scarcity.most, scarcity.error = 7, error
    found = command(images_run, waves, tmp_path)
    assert scarcity.refused > 0
    assert found.keys() == expected.keys() and found
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_where_one_sample_does_not_fit_commands_say_so(command, images_run, scarcity, tmp_path, waves):
    scarcity.most, scarcity.error = 0, ERRORS[1]
    with pytest.raises(ArdtoolError, match=r"Memory ran out on one sample at a time: .*can't allocate memory") as caught:
        command(images_run, waves, tmp_path)
    assert "smaller network" in caught.value.hint


def test_an_error_of_another_kind_is_not_taken_for_a_shortage(images_run, scarcity, tmp_path, waves):
    scarcity.most, scarcity.error = 7, RuntimeError("shapes do not match")
    with pytest.raises(ArdtoolError, match=r"^The encoder cannot encode samples of 1×16×16: shapes do not match\.") as caught:
        encoded(images_run, waves, tmp_path)
    assert isinstance(caught.value.__cause__, RuntimeError) and scarcity.refused == 1


REAL = """
import resource
import numpy as np, torch
from torch import nn
import ardtool

torch.set_num_threads(1)
torch.manual_seed(0)
wide = 300_000
model = ardtool.ModulePair(
    nn.Sequential(nn.Linear(8, wide), nn.ReLU(), nn.Linear(wide, 4)),
    nn.Sequential(nn.Linear(4, wide), nn.ReLU(), nn.Linear(wide, 8)),
    (8,),
    4,
)
x = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
before = ardtool.encode(model, data=x, out="before.npz")
ardtool.decode(model, codes="before.npz", out="whole.npz")
taken = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (taken + LEFT * 2**20, resource.RLIM_INFINITY))
try:
    torch.empty(200 * 2**20, dtype=torch.uint8)
except RuntimeError:
    print("the limit holds")
ardtool.encode(model, data=x, out="after.npz")
ardtool.decode(model, codes="before.npz", out="halved.npz")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux'")
def test_a_real_limit_of_the_system(tmp_path):
    done = subprocess.run([sys.executable, "-c", REAL.replace("LEFT", "100")], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "the limit holds" in done.stdout, done.stderr
    for one, other in (("before", "after"), ("whole", "halved")):
        expected, found = arrays(tmp_path / f"{one}.npz"), arrays(tmp_path / f"{other}.npz")
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("method", ["ard-vae", "wae-gan", "mask-aae"])
def test_training_names_a_batch_size_that_fits_and_it_does(method, error, scarcity, tmp_path, vectors_file):
    scarcity.most, scarcity.error = 40, error
    settings = {"data": str(vectors_file), "method": method, "latent": 3, "epochs": 1, "out": tmp_path / "run"}
    with pytest.raises(ArdtoolError, match=r"Memory ran out in epoch 1 in a step of 150 samples") as caught:
        ardtool.train(batch_size=150, **settings)
    assert caught.value.hint == "A step of 37 samples fits: use --batch-size 37."
    assert ardtool.train(batch_size=37, force=True, **settings).epochs == 1


def test_training_says_where_no_batch_fits(scarcity, tmp_path, vectors_file):
    scarcity.most = 1
    with pytest.raises(ArdtoolError, match=r"in a step of 16 samples") as caught:
        ardtool.train(data=str(vectors_file), latent=3, epochs=1, batch_size=16, out=tmp_path / "run")
    assert caught.value.hint.startswith("A step of 2 does not fit either: use smaller images")


def test_a_run_that_runs_out_of_memory_later_goes_on_from_its_checkpoint(scarcity, tmp_path, vectors_file):
    class Later:
        def __getattr__(self, name):
            return lambda *args: None

        def epoch_ended(self, record):
            scarcity.most = 5 if record.epoch == 2 else None

    settings = {"data": str(vectors_file), "latent": 3, "epochs": 4, "batch_size": 50}
    whole = ardtool.train(out=tmp_path / "whole", **settings)
    with pytest.raises(ArdtoolError, match="Memory ran out in epoch 3"):
        ardtool.train(out=tmp_path / "run", observer=Later(), **settings)
    scarcity.most = None
    resumed = ardtool.train(out=tmp_path / "run", resume=True, **settings)
    for name, value in ardtool.load_model(whole.model).autoencoder.state_dict().items():
        assert torch.equal(value, ardtool.load_model(resumed.model).autoencoder.state_dict()[name])


def test_validation_is_done_in_smaller_batches(scarcity, tmp_path, vectors_file):
    """Steps of 20 fit, validation batches of 60 do not; the terms of a method without noise are means over samples."""
    settings = {"data": str(vectors_file), "method": "rae", "latent": 3, "epochs": 2, "batch_size": 20, "val_fraction": 0.1}
    expected = ardtool.train(out=tmp_path / "whole", **settings)
    scarcity.most = 20
    found = ardtool.train(out=tmp_path / "run", **settings)
    assert scarcity.refused > 0
    assert found.validation_mse == pytest.approx(expected.validation_mse, rel=1e-4)
