"""Prune, sample, traverse, evaluate, encode, decode on trained models."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ardtool
import ardtool.commands.sample as sample_module
from ardtool.errors import ArdtoolError, ConfigError, DataError
from ardtool.latent.pruning import full_codes
from ardtool.storage.model_file import load_model
from ardtool.storage.record import read_record


def test_a_pruned_model_equals_the_original_with_dropped_axes_at_their_mean(vectors_run, tmp_path):
    result = ardtool.prune(vectors_run.model, out=tmp_path / "small.safetensors")
    full, small = load_model(Path(vectors_run.model)), load_model(tmp_path / "small.safetensors")
    assert result.kept == sorted(vectors_run.relevance.active_axes)
    assert sorted(result.kept + result.dropped) == list(range(6))
    fresh = torch.randn(200, 2) * 2
    expected = full.autoencoder.decode(full_codes(fresh, result.kept, full.codes.statistics.mean))
    found = small.autoencoder.decode(fresh)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    x = torch.randn(50, 12)
    torch.testing.assert_close(small.autoencoder.encode(x).mean, full.autoencoder.encode(x).mean[:, result.kept], rtol=1e-4, atol=1e-5)
    assert result.parameters["after"] < result.parameters["before"]
    assert result.max_abs_difference <= 1e-5 * result.output_scale


def test_a_pruned_model_is_a_model_like_any_other(vectors_run, vectors_file, tmp_path):
    small = tmp_path / "small.safetensors"
    pruned = ardtool.prune(vectors_run.model, out=small, data=str(vectors_file))
    assert pruned.mse["after"] == pytest.approx(pruned.mse["before"], rel=0.05)
    result = ardtool.relevance(small)
    assert (result.latent_dim, result.active, list(result.original_axes)) == (2, 2, pruned.kept)
    ardtool.sample(small, out=tmp_path / "samples.npz", n=5)
    ardtool.traverse(small, out=tmp_path / "grid.png")
    ardtool.evaluate(small, data=str(vectors_file))
    again = ardtool.prune(small, out=tmp_path / "smaller.safetensors", keep=1)
    assert load_model(tmp_path / "smaller.safetensors").metadata["axes"]["kept"] == [pruned.kept[again.kept[0]]]
    assert load_model(tmp_path / "smaller.safetensors").metadata["axes"]["of"] == 6


def test_choosing_axes(vectors_run, tmp_path):
    ranked = [axis.axis for axis in vectors_run.relevance.axes]
    assert ardtool.prune(vectors_run.model, out=tmp_path / "a.safetensors", keep=3).kept == sorted(ranked[:3])
    assert ardtool.prune(vectors_run.model, out=tmp_path / "b.safetensors", axes=[5, 0]).kept == [0, 5]
    assert ardtool.prune(vectors_run.model, out=tmp_path / "c.safetensors", threshold=1.0).dropped == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"keep": 0}, "--keep is 0; expected 1 to 6."),
        ({"axes": [0, 9]}, "--axes names [9]; the model has axes 0 to 5."),
        ({"axes": []}, "--axes names no axis; the model has axes 0 to 5."),
        ({"keep": 2, "axes": [0]}, "--keep and --axes both choose what stays."),
        ({"threshold": 0.0}, "--threshold is 0; expected a share in (0, 1]."),
    ],
)
def test_wrong_choices_write_nothing(vectors_run, tmp_path, options, sentence):
    with pytest.raises(ConfigError) as caught:
        ardtool.prune(vectors_run.model, out=tmp_path / "x.safetensors", **options)
    assert caught.value.message == sentence
    assert not list(tmp_path.iterdir())


def test_a_pruned_model_is_not_overwritten_without_force(vectors_run, tmp_path):
    ardtool.prune(vectors_run.model, out=tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match="exists already"):
        ardtool.prune(vectors_run.model, out=tmp_path / "x.safetensors")
    ardtool.prune(vectors_run.model, out=tmp_path / "x.safetensors", force=True)


def test_samples_of_vectors_come_in_the_users_units(vectors_run, vectors_file, tmp_path):
    ardtool.sample(vectors_run.model, out=tmp_path / "s.npz", n=4000, sampler="centred")
    samples, data = np.load(tmp_path / "s.npz")["samples"], np.load(vectors_file)
    assert samples.shape == (4000, 12)
    np.testing.assert_allclose(samples.mean(0), data.mean(0), atol=3)  # columns have mean 7 and deviations of 10 to 25
    np.testing.assert_allclose(samples.std(0), data.std(0), rtol=0.35)


def test_images_can_be_a_grid_an_array_or_a_folder(images_run, tmp_path):
    ardtool.sample(images_run.model, out=tmp_path / "grid.png", n=9)
    assert Image.open(tmp_path / "grid.png").size[0] > 100
    array = ardtool.sample(images_run.model, out=tmp_path / "a.npy", n=12)
    assert array.shape == [12, 1, 16, 16]
    assert 0 <= np.load(tmp_path / "a.npy").min() <= np.load(tmp_path / "a.npy").max() <= 1
    folder = ardtool.sample(images_run.model, out=tmp_path / "many", n=12)
    assert len(folder.files) == 12
    assert Image.open(folder.files[11]).size == (16, 16)
    pixels = np.asarray(Image.open(folder.files[3]).convert("L"))
    np.testing.assert_array_equal(pixels, np.round(np.load(tmp_path / "a.npy") * 255)[3, 0])


def test_a_folder_of_samples_is_complete_or_absent(images_run, tmp_path, monkeypatch):
    drawn, save = [], sample_module.save_picture

    def breaks(image, path):
        drawn.append(path)
        if len(drawn) % 4 == 0:
            raise OSError(28, "No space left on device")
        save(image, path)

    monkeypatch.setattr(sample_module, "save_picture", breaks)
    with pytest.raises(ArdtoolError, match=r"Cannot write .*many: No space left on device"):
        ardtool.sample(images_run.model, out=tmp_path / "many", n=12)
    assert len(drawn) == 4 and list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_replaced_as_a_whole_and_with_force_only(images_run, tmp_path, monkeypatch):
    many = tmp_path / "many"
    many.mkdir()
    ardtool.sample(images_run.model, out=many, n=12)  # an empty one may be filled
    with pytest.raises(ConfigError, match=r"--out .*many is a folder that holds something\. Hint: .*--force"):
        ardtool.sample(images_run.model, out=many, n=3)
    assert len(list(many.iterdir())) == 12
    ardtool.sample(images_run.model, out=many, n=3, force=True)
    assert sorted(file.name for file in many.iterdir()) == ["0.png", "1.png", "2.png"]
    replace = os.replace

    def breaks(source, target):
        if Path(source).name.startswith(".many.") and Path(target).name == "many" and not broken:
            broken.append(target)
            raise OSError(5, "Input/output error")
        replace(source, target)

    broken: list[Path] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", breaks)
        with pytest.raises(ArdtoolError, match=r"Cannot write .*many: Input/output error"):
            ardtool.sample(images_run.model, out=many, n=7, force=True)
    assert broken and len(list(many.iterdir())) == 3
    (many / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match=r"holds 'thesis.tex', which is no picture; it is not replaced"):
        ardtool.sample(images_run.model, out=many, n=3, force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["many"] and len(list(many.iterdir())) == 4


def test_the_same_seed_draws_the_same_samples(images_run, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        ardtool.sample(images_run.model, out=tmp_path / f"{name}.npy", n=3, seed=seed)
    a, b, c = (np.load(tmp_path / f"{name}.npy") for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_traversals_are_sorted_by_relevance(images_run, tmp_path):
    result = ardtool.traverse(images_run.model, out=tmp_path / "grid.png", gif=True)
    assert result.axes == [axis.axis for axis in images_run.relevance.axes]
    assert {Path(file).suffix for file in result.files} == {".png", ".gif"}
    assert Image.open(tmp_path / "grid.gif").n_frames > 10
    relevant = ardtool.traverse(images_run.model, out=tmp_path / "r.png", axes="relevant")
    assert relevant.axes == images_run.relevance.active_axes
    chosen = ardtool.traverse(images_run.model, out=tmp_path / "c.png", axes=[4, 1], reference=3, steps=5)
    assert sorted(chosen.axes) == [1, 4]
    assert chosen.shape == [2, 5, 1, 16, 16]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m, t: ardtool.traverse(m, out=t / "x.png", axes=[77]), "--axes names [77]; the model has axes 0 to 5."),
        (lambda m, t: ardtool.traverse(m, out=t / "x.mp4"), "expected a .png, .svg, .pdf or .gif file."),
        (lambda m, t: ardtool.traverse(m, out=t / "x.gif"), "--gif needs a model of images."),
        (lambda m, t: ardtool.traverse(m, out=t / "x.png", steps=1), "--steps is 1; expected 2 to 101."),
        (lambda m, t: ardtool.traverse(m, out=t / "x.png", sigmas=0), "--range is 0; expected a positive number of standard deviations."),
        (lambda m, t: ardtool.traverse(m, out=t / "x.png", reference=-1), "--reference is -1; expected 0 to 539."),
        (lambda m, t: ardtool.sample(m, out=t / "x.png"), "but the model makes vectors of 12 numbers."),
        (lambda m, t: ardtool.sample(m, out=t / "x.npz", n=0), "-n is 0; expected 1 to 1,000,000."),
        (lambda m, t: ardtool.encode(m, data=np.zeros((3, 12)), out=t / "x.txt"), "expected an .npz, .npy or .csv file."),
        (lambda m, t: ardtool.evaluate(m, data=np.zeros((3, 12)), metrics=["fame"]), "Unknown metric 'fame'."),
        (lambda m, t: ardtool.evaluate(m, data=np.zeros((3, 5))), "'array' holds samples of 5; the model takes 12."),
        (lambda m, t: ardtool.decode(m, codes=t / "no.npz", out=t / "x.npz"), "no.npz does not exist."),
    ],
)
def test_errors_name_what_to_change_and_write_nothing(vectors_run, tmp_path, call, sentence):
    with pytest.raises(ArdtoolError) as caught:
        call(vectors_run.model, tmp_path)
    assert sentence in caught.value.message
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_evaluation_against_a_computation_by_hand(vectors_run, vectors_file, tmp_path):
    result = ardtool.evaluate(vectors_run.model, data=str(vectors_file), out=tmp_path / "metrics.json")
    model = load_model(Path(vectors_run.model))
    x = model.scaling.apply(torch.from_numpy(np.load(vectors_file)))
    with torch.no_grad():
        posterior = model.autoencoder.encode(x)
        errors = (model.autoencoder.decode(posterior.mean) - x).square().mean(1)
    assert result.metrics["mse"].value == pytest.approx(float(errors.mean()), rel=1e-4)
    assert result.metrics["mse"].stderr == pytest.approx(float(errors.std() / 600**0.5), rel=1e-3)
    assert result.metrics["mse"].n == 600
    assert result.metrics["mse_active"].axes == "active"
    assert result.metrics["elbo"].value == pytest.approx(result.metrics["reconstruction"].value - result.metrics["kl"].value)
    beta = model.metadata["likelihood"]["beta"]
    z = posterior.sample(torch.Generator().manual_seed(0))
    density = torch.distributions.Normal(model.autoencoder.decode(z).detach(), (beta / 2) ** 0.5).log_prob(x).sum(1)
    assert result.metrics["reconstruction"].value == pytest.approx(float(density.mean()), rel=1e-4)
    assert read_record(tmp_path / "metrics.json") == result.to_dict()


def test_metrics_merge_over_calls_on_the_same_data_only(vectors_run, vectors_file, tmp_path):
    out = tmp_path / "metrics.json"
    ardtool.evaluate(vectors_run.model, data=str(vectors_file), metrics=["mse"], out=out)
    ardtool.evaluate(vectors_run.model, data=str(vectors_file), metrics=["elbo"], out=out)
    assert {"mse", "elbo"} <= set(json.loads(out.read_text())["metrics"])
    other = np.load(vectors_file)[:100]
    ardtool.evaluate(vectors_run.model, data=torch.from_numpy(other), metrics=["mse"], out=out)
    assert set(json.loads(out.read_text())["metrics"]) == {"mse", "mse_active"}


def test_codes_go_out_and_come_back(vectors_run, vectors_file, tmp_path):
    full = ardtool.encode(vectors_run.model, data=str(vectors_file), out=tmp_path / "full.npz")
    reduced = ardtool.encode(vectors_run.model, data=str(vectors_file), out=tmp_path / "reduced.csv", axes="active")
    assert full.shape == [600, 6]
    assert reduced.axes == sorted(vectors_run.relevance.active_axes)
    header = (tmp_path / "reduced.csv").read_text().split("\n")[0]
    assert header == ",".join(f"axis_{axis}" for axis in reduced.axes)
    ardtool.decode(vectors_run.model, codes=tmp_path / "full.npz", out=tmp_path / "full_back.npz")
    ardtool.decode(vectors_run.model, codes=tmp_path / "reduced.csv", out=tmp_path / "reduced_back.npz")
    data = np.load(vectors_file)
    for name in ("full_back", "reduced_back"):
        back = np.load(tmp_path / f"{name}.npz")["samples"]
        assert np.mean((back - data) ** 2) < 0.1 * data.var(0).mean()


def test_codes_of_another_model_are_refused(vectors_run, tmp_path):
    np.save(tmp_path / "codes.npy", np.zeros((4, 9), np.float32))
    with pytest.raises(DataError, match="holds codes of 4×9; the model has 6 axes"):
        ardtool.decode(vectors_run.model, codes=tmp_path / "codes.npy", out=tmp_path / "x.npz")
