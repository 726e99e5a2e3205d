"""Codes from files, and models that are objects of the user's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ardtool
from ardtool.commands.codes_file import read_codes
from ardtool.commands.opening import codes_for, measured_by, open_model
from ardtool.errors import ArdtoolError, DataError, ModelFileError
from ardtool.latent.axes import LatentAxes
from ardtool.latent.precision import GammaPosterior
from ardtool.storage.model_file import load_model


def refused(kind: type[ArdtoolError], function, *args, **options) -> str:
    """The message of an error that has one line and a hint."""
    with pytest.raises(kind) as caught:
        function(*args, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("kind", ["npz", "npy", "csv", "CSV"])
def test_codes_are_read_the_same_everywhere(vectors_run, vectors_file, tmp_path, kind):
    ardtool.encode(vectors_run.model, data=str(vectors_file), out=tmp_path / "all.npz")
    ardtool.encode(vectors_run.model, data=str(vectors_file), out=tmp_path / f"codes.{kind}")
    ardtool.decode(vectors_run.model, codes=tmp_path / "all.npz", out=tmp_path / "a.npy")
    ardtool.decode(vectors_run.model, codes=tmp_path / f"codes.{kind}", out=tmp_path / "b.npy")
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"), rtol=1e-5, atol=1e-3)
    assert ardtool.relevance(vectors_run.model, latents=tmp_path / f"codes.{kind}").active == 2


def test_axes_of_a_file_may_come_in_any_order(vectors_run, tmp_path):
    random = np.random.default_rng(0)
    mean, spread = random.normal(size=(9, 6)).astype(np.float32), random.normal(size=(9, 6)).astype(np.float32)
    order = [3, 1, 0, 5, 4, 2]
    np.savez(tmp_path / "straight.npz", mean=mean)
    np.savez(tmp_path / "mixed.npz", mean=mean[:, order], log_variance=spread[:, order], axes=order)
    posterior = read_codes(tmp_path / "mixed.npz", LatentAxes((6,))).posterior()
    np.testing.assert_array_equal(posterior.mean, mean)
    np.testing.assert_array_equal(posterior.log_variance, spread)
    for name in ("straight", "mixed"):
        ardtool.decode(vectors_run.model, codes=tmp_path / f"{name}.npz", out=tmp_path / f"{name}.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "straight.npy"), np.load(tmp_path / "mixed.npy"))


def test_some_axes_are_enough_to_decode_but_not_to_measure_by(vectors_run, vectors_file, tmp_path):
    reduced = ardtool.encode(vectors_run.model, data=str(vectors_file), out=tmp_path / "r.csv", axes="active")
    ardtool.decode(vectors_run.model, codes=tmp_path / "r.csv", out=tmp_path / "back.npy")
    said = refused(DataError, ardtool.relevance, vectors_run.model, latents=tmp_path / "r.csv")
    axes = ", ".join(map(str, reduced.axes))
    assert said == f"--latents {tmp_path / 'r.csv'} holds 2 of the model's 6 axes ({axes}); all are needed."


GOOD = np.zeros((4, 6), np.float32)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"mean": GOOD[:, :5]}, "holds codes of 4×5; the model has 6 axes."),
        ({"mean": GOOD[0]}, "holds codes of 6; the model has 6 axes."),
        ({"mean": GOOD[:0]}, "holds codes of 0×6; the model has 6 axes."),
        ({"mean": GOOD.astype(str)}, "holds codes of type <U32; expected real numbers."),
        ({"mean": GOOD.astype(complex)}, "holds codes of type complex128; expected real numbers."),
        ({"mean": GOOD.astype(object)}, "holds Python objects (a pickle)"),
        ({"mean": GOOD + np.nan}, "holds codes that are not finite: 24 of 24."),
        ({"mean": GOOD.astype(float) + 1e300}, "holds codes that are not finite: 24 of 24."),
        ({"mean": GOOD, "log_variance": GOOD[:3]}, "holds codes of 4×6, but log variances of 3×6."),
        ({"mean": GOOD, "log_variance": GOOD - np.inf}, "holds log variances that are not finite: 24 of 24."),
        ({"mean": GOOD, "axes": np.arange(5)}, "holds codes of 4×6, but names 5 axes."),
        ({"mean": GOOD[:, :2], "axes": [0, 9]}, "holds codes of the axes [0, 9]; the model has axes 0 to 5."),
        ({"mean": GOOD[:, :2], "axes": [-1, 2]}, "holds codes of the axes [-1, 2]; the model has axes 0 to 5."),
        ({"mean": GOOD[:, :2], "axes": [3, 3]}, "names an axis twice: [3, 3]."),
        ({"mean": GOOD[:, :1], "axes": 3}, "`axes` is a single number of type int64; expected a list of whole numbers."),
        ({"mean": GOOD[:, :1], "axes": [0.5]}, "`axes` is 1 of type float64; expected a list of whole numbers."),
        ({"images": GOOD}, "holds no array `mean`; found nothing."),
    ],
)
@pytest.mark.parametrize("command", ["decode", "relevance"])
def test_wrong_codes_are_one_sentence(vectors_run, tmp_path, arrays, said, command):
    path = tmp_path / "codes.npz"
    np.savez(path, **arrays)
    if command == "decode":
        assert said in refused(DataError, ardtool.decode, vectors_run.model, codes=path, out=tmp_path / "x.npy")
    else:
        assert said in refused(DataError, ardtool.relevance, vectors_run.model, latents=path)
    assert [file.name for file in tmp_path.iterdir()] == ["codes.npz"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.npz", b"PK\x03\x04 not really", "x.npz cannot be read:"),
        ("x.npy", b"", "x.npy cannot be read:"),
        ("x.csv", b"1.0,2.0\n3,4\n", "x.csv: its first line names no axes; expected axis_0,axis_1,…"),
        ("x.csv", b"axis_0,axis_1\n1,2\n3\n", "x.csv cannot be read:"),
        ("x.csv", b"axis_0,axis_1\n1,a\n", "x.csv cannot be read: could not convert string to float: 'a'."),
        ("x.csv", b"\xff\xfe", "x.csv cannot be read:"),
        ("x.csv", b"", "x.csv: its first line names no axes"),
        ("x.csv", b"axis_0,axis_1\n", "x.csv holds codes of 0×2; the model has 6 axes."),
        ("x.csv", b"axis_0,axis_1\n1,2,3\n", "x.csv holds codes of 1×3, but names 2 axes."),
    ],
)
def test_damaged_files_of_codes_are_one_sentence(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert said in refused(DataError, read_codes, tmp_path / name, LatentAxes((6,)))


def test_a_truncated_archive_of_codes(vectors_run, vectors_file, tmp_path):
    ardtool.encode(vectors_run.model, data=str(vectors_file), out=tmp_path / "c.npz")
    (tmp_path / "c.npz").write_bytes((tmp_path / "c.npz").read_bytes()[:-200])
    for options in ({"latents": tmp_path / "c.npz"},):
        assert "c.npz cannot be read:" in refused(DataError, ardtool.relevance, vectors_run.model, **options)


def test_a_pair_that_says_another_number_of_axes_is_refused():
    pair = ardtool.ModulePair(nn.Linear(6, 5), nn.Linear(3, 6), (6,), 3)
    said = refused(ModelFileError, ardtool.relevance, pair, data=torch.randn(40, 6))
    assert said == "The encoder gives codes of 40×5 for 40 samples; the model says it has 3 latent axes."


def test_broken_encoders_and_decoders_are_said(tmp_path):
    pair = ardtool.ModulePair(lambda x: x[:, :2] / 0, lambda z: z.log(), (3,), 2)
    said = refused(ModelFileError, ardtool.encode, pair, data=torch.zeros(4, 3), out=tmp_path / "x.npz")
    assert said == "The encoder gives codes that are not finite for 4 of 4 samples."
    np.save(tmp_path / "codes.npy", [[1.0, 2.0], [1.0, -2.0]])
    said = refused(ModelFileError, ardtool.decode, pair, codes=tmp_path / "codes.npy", out=tmp_path / "x.npy")
    assert said == "The decoder gives values that are not finite for 1 of 2 codes."


def test_objects_are_moved_to_the_device(vectors_run):
    """The `meta` device stands for one that the model does not live on."""
    pair = ardtool.ModulePair(nn.Linear(6, 3), nn.Linear(3, 6), (6,), 3)
    for model in (pair, load_model(Path(vectors_run.model))):
        opened = open_model(model, "meta")
        assert {parameter.device.type for parameter in opened.autoencoder.parameters()} == {"meta"}
    assert "lacks encode" in refused(ModelFileError, open_model, nn.Linear(2, 2))


def test_loaded_models_are_models(vectors_run, vectors_file, tmp_path):
    model = load_model(Path(vectors_run.model))
    assert ardtool.relevance(model).active == 2
    assert ardtool.evaluate(model, data=str(vectors_file), out=tmp_path / "m.json").metrics["mse"].n == 600


def test_active_axes_follow_the_codes_that_are_given(vectors_run, vectors_file, tmp_path):
    """Codes that vary along one relevant axis only: the saved two are no longer the active ones."""
    first = vectors_run.relevance.active_axes[0]
    codes = np.zeros((50, 6), np.float32)
    codes[:, first] = np.random.default_rng(0).normal(size=50)
    np.save(tmp_path / "codes.npy", codes)
    model = open_model(vectors_run.model)
    given = codes_for(model, latents=tmp_path / "codes.npy")
    assert measured_by(model, codes_for(model)) is model
    assert "relevance" not in measured_by(model, given).metadata
    assert ardtool.sample(model, out=tmp_path / "a.npy", latents=tmp_path / "codes.npy").axes == [first]
    assert ardtool.sample(model, out=tmp_path / "b.npy").axes == sorted(vectors_run.relevance.active_axes)


@pytest.mark.parametrize("rao_blackwell", [False, True])
def test_priors_of_given_codes_have_the_hyperprior_of_training(vectors_run, tmp_path, rao_blackwell):
    random = np.random.default_rng(0)
    mean, log_variance = random.normal(size=(30, 6)), random.normal(size=(30, 6))
    np.savez(tmp_path / "c.npz", mean=mean, log_variance=log_variance if rao_blackwell else np.full((30, 6), -80.0))
    model = load_model(Path(vectors_run.model))
    settings = model.metadata["settings"] | {"prior_a0": 5.0, "prior_b0": 3.0, "prior_mean": 0.5, "rao_blackwell": rao_blackwell}
    prior = codes_for(replace(model, metadata=model.metadata | {"settings": settings}), latents=tmp_path / "c.npz").prior
    spread = np.exp(log_variance) if rao_blackwell else 0
    expected = (3.0 + 0.5 * ((mean - 0.5) ** 2 + spread).sum(0)) / (5.0 + 15)
    assert isinstance(prior, GammaPosterior)
    np.testing.assert_allclose(prior.variance, expected, rtol=1e-4)
