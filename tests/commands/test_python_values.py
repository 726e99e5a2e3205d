"""What Python callers hand over: values of NumPy and torch, paths as text or as `Path`, networks that fail."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ardtool
from ardtool.commands.inputs import whole_number, whole_numbers
from ardtool.data.catalogue import open_data
from ardtool.errors import ArdtoolError, ConfigError, DataError
from ardtool.registry import find_plugin
from ardtool.training.config import TrainConfig

X = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def pair() -> ardtool.ModulePair:
    torch.manual_seed(0)
    return ardtool.ModulePair(nn.Linear(5, 3), nn.Linear(3, 5), 5, np.int64(3))


@pytest.mark.parametrize("axes", [[0, 2], (0, 2), np.array([0, 2]), torch.tensor([0, 2]), "0,2", ["0", "2"]])
def test_axes_may_be_any_list_of_whole_numbers(pair, tmp_path, axes):
    assert whole_numbers("--axes", axes) == (0, 2)
    pruned = ardtool.prune(pair, data=X, axes=axes, out=tmp_path / "small.pt2")
    assert json.loads((tmp_path / "small.json").read_text())["kept"] == pruned.kept == [0, 2]
    assert sorted(ardtool.traverse(pair, data=X, axes=axes, out=tmp_path / "grid.png").axes) == [0, 2]


@pytest.mark.parametrize("value", ["active", 2.5, None, torch.tensor([1, 2])])
def test_what_is_no_whole_number_is_named(value):
    with pytest.raises(ConfigError, match=r"^--keep is .*; expected a whole number"):
        whole_number("--keep", value)


def test_a_word_for_keep_is_one_line(pair, tmp_path):
    with pytest.raises(ConfigError, match=r"^--keep is 'active'; expected a whole number"):
        ardtool.prune(pair, data=X, keep="active", out=tmp_path / "small.pt2")  # type: ignore[arg-type]


def test_a_threshold_of_numpy_can_be_written_as_json(pair):
    assert json.loads(json.dumps(ardtool.relevance(pair, data=X, threshold=np.float32(0.5)).to_dict()))["threshold"] == 0.5


@pytest.mark.parametrize(("value", "found"), [("many", "'many'"), (None, "None"), ([0.9], r"\[0.9\]"), (1.5, "1.5"), (float("nan"), "nan")])
def test_what_is_no_share_for_a_threshold_is_one_line(pair, tmp_path, value, found):
    sentence = rf"^--threshold is {found}; expected a share in \(0, 1\]\."
    with pytest.raises(ConfigError, match=sentence):
        ardtool.relevance(pair, data=X, threshold=value)
    with pytest.raises(ConfigError, match=sentence):
        ardtool.prune(pair, data=X, threshold=value, out=tmp_path / "small.pt2")


def test_paths_may_be_text(tmp_path):
    with pytest.raises(DataError, match=str(tmp_path)):
        open_data("mnist", data_root=str(tmp_path))
    with pytest.raises(ArdtoolError, match=r"plug.py"):
        find_plugin(Path("model"), tmp_path / "plug.py")
    with pytest.raises(ConfigError, match=r"--features is 'nothing', which does not exist"):
        ardtool.evaluate(ardtool.ModulePair(nn.Linear(5, 3), nn.Linear(3, 5), (5,), 3), data=X, metrics="fid", features=Path("nothing"))


def test_an_encoder_that_fails_is_one_line():
    wrong = ardtool.ModulePair(nn.Linear(6, 3), nn.Linear(3, 5), 5, 3)
    with pytest.raises(ArdtoolError, match=r"^The encoder cannot encode samples of 5: mat1 and mat2 shapes") as caught:
        ardtool.relevance(wrong, data=X)
    assert caught.value.hint == "`encode` must take samples of shape (N, 5) in float32."


def test_counts_as_bytes_are_vectors(pair):
    counts = np.random.default_rng(0).poisson(3, (300, 5))
    values = [ardtool.evaluate(pair, data=counts.astype(kind), metrics="mse").metrics["mse"].value for kind in (np.uint8, np.int32)]
    assert values[0] == values[1] > 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"precision": "bf61"}, "the settings: precision is 'bf61'; expected auto or fp32 or tf32 or bf16."),
        ({"prior": "student"}, "the settings: prior is 'student'; expected gaussian or student-t."),
        ({"epochs": 2.5}, "the settings: epochs is 2.5; expected a whole number."),
        ({"latent": None}, "the settings: latent is None; expected a whole number."),
    ],
)
def test_a_configuration_made_by_hand_is_checked(settings, sentence):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**settings).validated()
    assert caught.value.message == sentence
    assert TrainConfig(latent="16").validated().latent == 16  # type: ignore[arg-type]


@pytest.mark.parametrize("out", [".", ""])
def test_a_folder_is_no_file_to_write(pair, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^--out is .; a pruned model is a") as caught:
        ardtool.prune(pair, data=X, out=out)
    assert caught.value.hint == "Use --out small.safetensors."
    with pytest.raises(ConfigError, match=r"^--out is .; expected a .safetensors file.") as caught:
        ardtool.convert("model.pt", out=out)
    assert caught.value.hint == "Use --out model.safetensors."


def test_too_few_samples_for_a_floor_leave_it_out(pair):
    found = ardtool.evaluate(pair, data=X[:7], metrics="mse,fid", features="pixels")
    assert {"mse", "fd[pixels]"} <= set(found.metrics) and "fd_floor[pixels]" not in found.metrics
    assert found.note is not None and "fid has no floor: " in found.note


def test_a_metric_of_a_group_that_cannot_be_measured_is_left_out(tmp_path):
    dead = ardtool.ModulePair(nn.Sequential(nn.Linear(5, 3), nn.Hardshrink(1e9)), nn.Linear(3, 5), 5, 3)
    found = ardtool.evaluate(dead, data=X, metrics="reconstruction,latent")
    assert "neighbours" in found.left_out["dimension"] and "mse" in found.metrics
    with pytest.raises(DataError, match="neighbours"):
        ardtool.evaluate(dead, data=X, metrics="dimension")


def test_a_large_seed_and_a_wrong_sampler(pair):
    assert "prd_precision[pixels]" in ardtool.evaluate(pair, data=X[:40], metrics="prd", features="pixels", seed=2_000_000_000).metrics
    with pytest.raises(ConfigError, match=r"^--sampler is 'foo'; expected one of prior, paper"):
        ardtool.evaluate(pair, data=X, metrics="fid", sampler="foo")
    with pytest.raises(ConfigError, match=r"^--seed is 1180591620717411303424; expected 0 to"):
        ardtool.evaluate(pair, data=X, seed=2**70)


def test_codes_that_do_not_vary_are_sampled(tmp_path):
    constant = ardtool.ModulePair(lambda x: torch.full((len(x), 3), 0.5), nn.Linear(3, 5), 5, 3)
    ardtool.sample(constant, data=X, sampler="gmm", all_axes=True, n=8, out=tmp_path / "new.npy")
    assert np.ptp(np.load(tmp_path / "new.npy"), axis=0).max() < 1e-6


def test_a_moving_picture_of_vectors_writes_nothing(pair, tmp_path):
    with pytest.raises(ConfigError, match=r"^--gif needs a model of images"):
        ardtool.traverse(pair, data=X, gif=True, out=tmp_path / "grid.png")
    assert not list(tmp_path.iterdir())


def test_big_endian_files_are_read(pair, tmp_path):
    mean = np.zeros((5, 3), ">f4")
    np.savez(tmp_path / "codes.npz", mean=mean, context=np.zeros((5, 1), ">f4"))
    ardtool.decode(pair, codes=tmp_path / "codes.npz", out=tmp_path / "decoded.npz")
    np.savez(tmp_path / "factors.npz", factors=np.arange(600).reshape(300, 2).astype(">i4") % 3, names=["a", "b"])
    assert "mig" in ardtool.evaluate(pair, data=X, metrics="mig", factors=tmp_path / "factors.npz").metrics
    np.savez(tmp_path / "twice.npz", factors=np.zeros((300, 3)), names=["a", "b", "b"])
    with pytest.raises(DataError, match="names two factors 'b'"):
        ardtool.evaluate(pair, data=X, metrics="mig", factors=tmp_path / "twice.npz")


class Gated(nn.Module):
    """One of two axes is read, by the sign of a third."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        gate = (z[:, 2:3] > 0).float()
        return torch.cat([3 * z[:, :1] * (1 - gate), 3 * z[:, 1:2] * gate, z[:, 2:]], dim=1)


def test_sorted_codes_are_measured_as_shuffled_ones(tmp_path):
    model = ardtool.ModulePair(nn.Identity(), Gated(), 3, 3)
    codes = torch.randn(4000, 3, generator=torch.Generator().manual_seed(1))
    np.savez(tmp_path / "sorted.npz", mean=codes[codes[:, 2].argsort()].numpy())
    found = ardtool.relevance(model, latents=tmp_path / "sorted.npz")
    assert found.active == 3
    shares = {axis.axis: axis.explained for axis in found.axes}
    assert shares[0] == pytest.approx(shares[1], rel=0.5)


@pytest.mark.parametrize(
    ("method", "beta"),
    [("vae", 1.0), ("beta-vae", 4.0), ("beta-tcvae", 1.0), ("dip-vae-ii", 1.0), ("sigma-vae", None), ("ard-vae", 1.4), ("rae", "none")],
)
def test_the_likelihood_of_a_method_is_known(tmp_path, method, beta):
    np.save(tmp_path / "few.npy", X[:80].numpy())
    run = ardtool.train(data=tmp_path / "few.npy", latent=2, method=method, epochs=1, out=tmp_path / "run")
    known = ardtool.load_model(run.model).metadata["likelihood"]["beta"]
    if beta == "none":
        assert known is None
        return
    assert known == pytest.approx(beta) if beta is not None else known > 0
    found = ardtool.evaluate(run.model, data=tmp_path / "few.npy", metrics="elbo").metrics
    assert found["elbo"].value == pytest.approx(found["reconstruction"].value - found["kl"].value)
