"""Data and codes at the door of a trained model: the same numbers give the same results whatever way they come in."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ardtool
from ardtool.autoencoder import Posterior
from ardtool.commands.inputs import data_for
from ardtool.commands.opening import codes_for
from ardtool.data.dataset import DataSet
from ardtool.errors import ArdtoolError, ConfigError, DataError
from ardtool.networks.build import architecture_record, build_network
from ardtool.storage.model_file import SavedModel, load_model, save_model
from ardtool.storage.record import read_record


def refused(kind: type[ArdtoolError], function, *args, **options) -> str:
    """The message of an error that has one line and a hint."""
    with pytest.raises(kind) as caught:
        function(*args, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value.message


def with_map(run, path: Path, pixel_map: list[float] | None) -> Path:
    """A copy of a model that was trained with this map of pixels."""
    model = load_model(Path(run.model))
    save_model(replace(model, metadata=model.metadata | {"data": model.metadata["data"] | {"pixel_map": pixel_map}}), path)
    return path


def means(model, data, folder: Path) -> np.ndarray:
    ardtool.encode(model, data=data, out=folder / "c.npz")
    return np.load(folder / "c.npz")["mean"]


def untrained(shape: tuple[int, ...], path: Path | None = None, **metadata) -> SavedModel:
    """A dense network with random weights and the codes of N(0, I)."""
    value_range = (0.0, 1.0) if len(shape) == 3 else None
    model = SavedModel(build_network(architecture_record("dense", shape, 3, value_range=value_range), 0), None, metadata)
    model = replace(model, codes=replace(codes_for(model, assume_prior=True), source="model"))
    if path is not None:
        save_model(model, path)
    return model


# --- pixels ---


def test_the_models_map_holds_for_every_file_and_array(images_run, tmp_path):
    model = with_map(images_run, tmp_path / "m.safetensors", [-1000.0, 3000.0])
    users = np.random.default_rng(0).uniform(-900, 2500, (7, 16, 16))
    np.save(tmp_path / "all.npy", users)
    np.save(tmp_path / "one.npy", users[:1].astype(np.float32))
    expected = load_model(model).autoencoder.encode(torch.from_numpy((users[:, None] + 1000) / 4000).float()).mean.detach()
    np.testing.assert_allclose(means(model, str(tmp_path / "all.npy"), tmp_path), expected, atol=1e-5)
    np.testing.assert_allclose(means(model, str(tmp_path / "one.npy"), tmp_path), expected[:1], atol=1e-5)
    np.testing.assert_allclose(means(model, users[:, None], tmp_path), expected, atol=1e-5)
    guessed = ardtool.open_data(str(tmp_path / "all.npy"))  # brought to [0, 1] by a map of its own
    np.testing.assert_allclose(means(model, guessed, tmp_path), expected, atol=1e-5)


@pytest.mark.parametrize("command", ["sample", "decode"])
def test_arrays_come_back_in_the_users_range_and_pictures_do_not_change(images_run, tmp_path, command):
    unit = with_map(images_run, tmp_path / "unit.safetensors", None)
    users = with_map(images_run, tmp_path / "users.safetensors", [-1000.0, 3000.0])
    np.save(tmp_path / "codes.npy", np.random.default_rng(0).normal(size=(4, 5)))

    def written(model: Path, name: str) -> Path:
        if command == "sample":
            ardtool.sample(model, out=tmp_path / name, n=4)
        else:
            ardtool.decode(model, codes=tmp_path / "codes.npy", out=tmp_path / name)
        return tmp_path / name

    a, b = np.load(written(unit, "a.npz"))["samples"], np.load(written(users, "b.npz"))["samples"]
    assert 0 <= a.min() <= a.max() <= 1
    np.testing.assert_allclose(b, 4000.0 * a - 1000, rtol=1e-5, atol=1e-2)
    assert written(unit, "a.png").read_bytes() == written(users, "b.png").read_bytes()


def test_images_in_other_units_are_refused(images_run, tmp_path):
    model = with_map(images_run, tmp_path / "m.safetensors", None)
    said = refused(DataError, ardtool.evaluate, model, data=np.full((2, 1, 16, 16), 200.0))
    assert said == "The array: the pixel values lie in [200, 200]; the model takes values from 0 to 1."


def test_small_images_and_other_channels_reach_a_model_that_takes_them(tmp_path):
    for folder, mode in (("grey", "L"), ("colour", "RGB")):
        (tmp_path / folder).mkdir()
        for number in range(3):
            Image.new(mode, (6, 6), 40 * number if mode == "L" else (40 * number, 3, 9)).save(tmp_path / folder / f"{number}.png")
    for shape in ((1, 6, 6), (3, 6, 6)):
        model = untrained(shape, tmp_path / "m.safetensors")
        for folder in ("grey", "colour"):
            assert data_for(model, tmp_path / folder, None).shape == shape
            assert ardtool.evaluate(tmp_path / "m.safetensors", data=str(tmp_path / folder), metrics=["mse"]).metrics["mse"].n == 3


def test_a_file_of_some_training_images_gives_their_codes(tmp_path):
    random = np.random.default_rng(0)
    users = 1000 + 4000 * random.random((60, 1, 1)) * np.linspace(0, 1, 64).reshape(8, 8)
    np.save(tmp_path / "all.npy", users)
    np.save(tmp_path / "few.npy", users[:5] // 1)
    run = ardtool.train(data=str(tmp_path / "all.npy"), latent=2, epochs=1, out=tmp_path / "run")
    few, whole = means(run.model, str(tmp_path / "few.npy"), tmp_path), means(run.model, str(tmp_path / "all.npy"), tmp_path)
    np.testing.assert_allclose(few, whole[:5], atol=1e-3)
    ardtool.sample(run.model, out=tmp_path / "s.npy", n=20)
    assert 1000 <= np.load(tmp_path / "s.npy").min() <= np.load(tmp_path / "s.npy").max() <= 5000
    assert np.load(tmp_path / "s.npy").max() > 1500


# --- vectors and samples ---


def test_timestamps_survive_training_and_come_back(tmp_path):
    random = np.random.default_rng(0)
    users = np.stack([1.7e9 + 50 * random.normal(size=200), random.normal(size=200)], axis=1)
    np.save(tmp_path / "t.npy", users)
    result = ardtool.train(data=str(tmp_path / "t.npy"), latent=2, epochs=2, out=tmp_path / "run")
    scaling = load_model(Path(result.model)).scaling
    assert scaling.scale.dtype == torch.float64
    assert float(scaling.scale[0]) == pytest.approx(50, rel=0.2)
    ardtool.sample(result.model, out=tmp_path / "s.npy", n=50, all_axes=True)
    seconds = np.load(tmp_path / "s.npy")[:, 0] - 1.7e9
    assert len(np.unique(seconds)) == 50
    assert np.abs(seconds).max() < 1e4


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (torch.full((4, 12), torch.nan), "The array: 48 values are NaN, infinite or beyond float32, the first in row 0, column 0"),
        (np.zeros((0, 12)), "The array is empty: its shape is (0, 12)"),
        ([{}], "The array holds values of type object"),
        (None, "The array holds values of type object"),
        (DataSet("mine", torch.full((4, 12), torch.inf)), "'mine' holds no samples, or values that are not finite."),
        (DataSet("mine", torch.zeros(0, 12)), "'mine' holds no samples, or values that are not finite."),
        (np.zeros(12), "'array' holds samples of one number; the model takes 12."),
    ],
)
def test_arrays_that_are_no_data_are_refused(vectors_run, samples, said):
    assert said in refused(DataError, ardtool.evaluate, vectors_run.model, data=samples)


def test_one_sample_and_equal_samples_can_be_encoded_measured_and_decoded(vectors_run, vectors_file, tmp_path):
    rows = np.load(vectors_file)
    expected = means(vectors_run.model, str(vectors_file), tmp_path)
    for name, array in (("one", rows[3:4]), ("same", rows[[3, 3, 3]])):
        np.save(tmp_path / f"{name}.npy", array)
        found = means(vectors_run.model, str(tmp_path / f"{name}.npy"), tmp_path)
        np.testing.assert_allclose(found, expected[[3] * len(array)], atol=1e-5)
        ardtool.decode(vectors_run.model, codes=tmp_path / "c.npz", out=tmp_path / "back.npy")
        assert np.load(tmp_path / "back.npy").shape == array.shape
        ardtool.evaluate(vectors_run.model, data=str(tmp_path / f"{name}.npy"), out=tmp_path / f"{name}.json")
    record = json.loads((tmp_path / "one.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert record["metrics"]["mse"]["stderr"] is None
    assert record["metrics"]["mse"]["value"] > 0
    said = refused(DataError, ardtool.relevance, vectors_run.model, data=str(tmp_path / "one.npy"))
    assert said == "'one' holds 1 sample; at least 2 are needed to measure variances."


# --- evaluate ---


def test_units_say_what_is_measured(vectors_run, vectors_file, images_run, tmp_path):
    vectors = ardtool.evaluate(vectors_run.model, data=str(vectors_file), out=tmp_path / "a.json").metrics
    images = ardtool.evaluate(images_run.model, data=torch.zeros(3, 1, 16, 16), out=tmp_path / "b.json").metrics
    assert {vectors["mse"].unit, vectors["mse_active"].unit} == {"standard deviations squared per output"}
    assert images["mse"].unit == "squared pixel range per output"
    assert vectors["elbo"].unit == vectors["reconstruction"].unit == "nats per sample of standardised data"
    assert images["elbo"].unit == "nats per sample"


def test_the_training_data_are_recognised(vectors_run, vectors_file, tmp_path):
    note = "These are the data that the model was trained on; new data tell more about how well it reconstructs."
    same = ardtool.evaluate(vectors_run.model, data=str(vectors_file), metrics=["mse"], out=tmp_path / "a.json")
    assert same.note == note
    assert same.to_dict()["note"] == note
    assert same.data_sha256 == load_model(Path(vectors_run.model)).metadata["data"]["sha256"]
    other = ardtool.evaluate(vectors_run.model, data=np.load(vectors_file)[1:], metrics=["mse"], out=tmp_path / "b.json")
    assert other.note is None
    assert "note" not in other.to_dict()


def test_metrics_of_another_model_or_other_data_are_not_mixed(vectors_run, vectors_file, tmp_path):
    """Model and data have the same names; only their content differs."""
    out, model, data = tmp_path / "m.json", tmp_path / "model.safetensors", tmp_path / "d.npy"
    shutil.copy(vectors_run.model, model)
    shutil.copy(vectors_file, data)
    ardtool.evaluate(model, data=str(data), metrics=["elbo"], out=out)
    ardtool.evaluate(model, data=str(data), metrics=["mse"], out=out)
    record = json.loads(out.read_text())
    assert {"mse", "elbo"} <= set(record["metrics"])
    assert record["model_sha256"] == load_model(model).metadata["content_sha256"]
    np.save(data, np.load(data) + 1)
    ardtool.evaluate(model, data=str(data), metrics=["mse"], out=out)
    assert set(json.loads(out.read_text())["metrics"]) == {"mse", "mse_active"}
    ardtool.evaluate(model, data=str(data), metrics=["elbo"], out=out)
    changed = load_model(model)
    with torch.no_grad():
        changed.autoencoder.decoder[0].weight.mul_(1.1)
    save_model(changed, model)
    ardtool.evaluate(model, data=str(data), metrics=["mse"], out=out)
    assert set(json.loads(out.read_text())["metrics"]) == {"mse", "mse_active"}


def test_models_in_one_folder_have_files_of_their_own(vectors_run, vectors_file, tmp_path):
    for name, expected in (("model", "metrics.json"), ("small", "small.metrics.json")):
        shutil.copy(vectors_run.model, tmp_path / f"{name}.safetensors")
        result = ardtool.evaluate(tmp_path / f"{name}.safetensors", data=str(vectors_file), metrics=["mse"])
        assert result.file == str(tmp_path / expected)
        assert json.loads((tmp_path / expected).read_text())["model"] == str(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("damage", ["metrics", "text", "list", "other"])
def test_a_broken_metrics_file_is_replaced(vectors_run, vectors_file, tmp_path, damage):
    out = tmp_path / "m.json"
    record = ardtool.evaluate(vectors_run.model, data=str(vectors_file), metrics=["mse"], out=out).to_dict()
    broken = {"metrics": {k: v for k, v in record.items() if k != "metrics"}, "list": [], "other": record | {"metrics": 7}}
    out.write_bytes(b"\xff{" if damage == "text" else json.dumps(broken[damage]).encode())
    ardtool.evaluate(vectors_run.model, data=str(vectors_file), metrics=["mse"], out=out)
    assert read_record(out) == record


def test_a_bernoulli_likelihood_is_measured_from_logits():
    """A confident decoder: probabilities round to 0 and 1, logits do not."""
    model = untrained((1, 4, 4), likelihood={"kind": "bernoulli", "beta": 1.0})
    with torch.no_grad():
        model.autoencoder.decoder[-2].bias.fill_(50.0)
    data = torch.zeros(2, 1, 4, 4)
    found = ardtool.evaluate(model, data=data, metrics=["elbo"]).metrics["reconstruction"].value
    assert found == pytest.approx(-50 * 16, rel=0.1)  # clamped probabilities would give -16.1 · 16


def test_the_bound_is_decoded_with_its_context(tmp_path):
    class Labelled(nn.Module):
        input_shape, latent_shape = (2,), (1,)

        def encode(self, x):
            return Posterior(0 * x[:, :1], torch.full((len(x), 1), -80.0), x.clone())

        def decode(self, z, context=None):
            assert context is not None, "the label is lost"
            return context + 0 * z

    model = SavedModel(Labelled(), None, {"method": "foreign", "likelihood": {"kind": "gaussian", "beta": 2.0}})
    x = torch.randn(700, 2)
    result = ardtool.evaluate(model, data=x, metrics=["elbo"])
    assert result.metrics["reconstruction"].value == pytest.approx(-math.log(2 * math.pi))  # no error, variance 1


# --- arguments are looked at first ---


def test_suffixes_may_be_written_large(images_run, tmp_path):
    ardtool.sample(images_run.model, out=tmp_path / "x.PNG", n=2)
    ardtool.sample(images_run.model, out=tmp_path / "x.NPZ", n=2)
    ardtool.encode(images_run.model, data=torch.zeros(2, 1, 16, 16), out=tmp_path / "codes.NPZ")
    ardtool.decode(images_run.model, codes=tmp_path / "codes.NPZ", out=tmp_path / "back.PNG")
    ardtool.decode(images_run.model, codes=tmp_path / "codes.NPZ", out=tmp_path / "back.NPY")
    assert Image.open(tmp_path / "back.PNG").format == "PNG"
    assert np.load(tmp_path / "back.NPY").shape == np.load(tmp_path / "x.NPZ")["samples"].shape == (2, 1, 16, 16)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, t: ardtool.sample(m, out=t / "x.mp4"), "expected a picture (.png, .jpg, .webp), an array (.npz, .npy) or a folder."),
        (
            lambda m, t: ardtool.sample(m, out=t / "x.png", sampler="foo"),
            "--sampler is 'foo'; expected one of prior, paper, centred, full-gaussian, gmm.",
        ),
        (lambda m, t: ardtool.encode(m, data="no", out=t / "x.npz", axes="relevant"), "--axes must be all or active."),
        (lambda m, t: ardtool.decode(m, codes=t / "no.npz", out=t / "x.mp4"), "expected .npz or .npy, or a picture for images."),
    ],
)
def test_wrong_arguments_are_said_before_anything_is_computed(images_run, tmp_path, monkeypatch, call, said):
    def never(*args, **options):
        raise AssertionError("computed first")

    model = load_model(Path(images_run.model))
    monkeypatch.setattr(type(model.autoencoder), "decode", never)
    monkeypatch.setattr(type(model.autoencoder), "encode", never)
    assert said in refused(ConfigError, call, model, tmp_path)
