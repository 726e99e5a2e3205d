"""Train once, and everything that relevance promises about the result."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ardtool
from ardtool.errors import ConfigError, ModelFileError, TrainingError
from ardtool.storage.model_file import load_model, save_model


def test_the_rank_is_found_and_said(vectors_run):
    assert vectors_run.active == 2
    assert vectors_run.active_interval == (2, 2)
    assert vectors_run.converged
    states = [axis.state for axis in vectors_run.relevance.axes]
    assert states[:2] == ["relevant", "relevant"]
    assert "relevant" not in states[2:]


def test_the_run_folder_holds_what_it_should(vectors_run):
    folder = Path(vectors_run.run)
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.yaml", "history.jsonl", "relevance.json"} <= names
    assert "resume" not in names
    assert not (folder.parent / "latest").exists()  # only runs/ has one
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == list(range(1, 151))
    assert history[-1]["training"]["loss"] < 0.5 * history[0]["training"]["loss"]
    assert json.loads((folder / "relevance.json").read_text()) == vectors_run.relevance.to_dict()


def test_json_contract(vectors_run):
    train, relevance = vectors_run.to_dict(), vectors_run.relevance.to_dict()
    assert {"schema", "run", "model", "epochs", "seconds", "samples_per_second", "active", "active_interval", "known_factors"} <= set(train)
    assert train["schema"] == "ardtool.train/1"
    assert relevance["schema"] == "ardtool.relevance/1"
    assert list(relevance)[:6] == ["schema", "model", "method", "latent_dim", "active", "active_interval"]
    expected = {"axis", "variance", "weight", "score", "score_stderr", "explained", "cumulative", "active", "kl", "mean_variance", "state"}
    assert all(set(axis) == expected for axis in relevance["axes"])
    assert relevance["codes_from"] == "model"
    assert relevance["variance_kind"] == "second_moment"
    assert relevance["estimator"] == {"name": "exact", "samples": 100, "seed": 0}
    json.dumps([train, relevance], allow_nan=False)


def test_the_file_alone_gives_the_same_answer(vectors_run, tmp_path):
    copy = tmp_path / "elsewhere.safetensors"
    copy.write_bytes(Path(vectors_run.model).read_bytes())
    again = ardtool.relevance(copy)
    assert again.to_dict() | {"model": ""} == vectors_run.relevance.to_dict() | {"model": ""}


def test_units_do_not_matter(vectors_run, vectors_file, tmp_path):
    scaled = tmp_path / "scaled.npy"
    np.save(scaled, np.load(vectors_file) * 1e3)
    other = ardtool.train(data=str(scaled), latent=6, epochs=150, out=tmp_path / "run")
    assert other.active == 2
    ours = sorted(axis.score for axis in vectors_run.relevance.axes)[-2:]
    assert sorted(axis.score for axis in other.relevance.axes)[-2:] == pytest.approx(ours, rel=0.1)


def test_own_data_and_codes_agree_with_the_models_own(vectors_run, vectors_file, tmp_path):
    by_data = ardtool.relevance(vectors_run.model, data=str(vectors_file))
    assert (by_data.active, by_data.codes_from) == (2, "data")
    ardtool.encode(vectors_run.model, data=str(vectors_file), out=tmp_path / "codes.npz")
    by_latents = ardtool.relevance(vectors_run.model, latents=tmp_path / "codes.npz")
    assert (by_latents.active, by_latents.codes_from) == (2, "latents")
    for axis in by_data.axes[:2]:
        twin = next(other for other in vectors_run.relevance.axes if other.axis == axis.axis)
        assert abs(axis.score - twin.score) < 3 * math.hypot(axis.score_stderr, twin.score_stderr)


def test_authors_convention_is_at_most_the_papers(vectors_run):
    other = ardtool.relevance(vectors_run.model, convention="authors-code")
    assert other.convention == "authors-code"
    assert other.active == 2
    assert other.axes[0].weight < 1.05 * vectors_run.relevance.axes[0].weight


def test_an_axis_killed_by_hand_is_ignored_and_dropped(vectors_run, tmp_path):
    """Zero the decoder weights that read a relevant axis: the encoder still writes it."""
    model = load_model(Path(vectors_run.model))
    victim = vectors_run.relevance.active_axes[0]
    first = model.autoencoder.decoder[0]
    assert isinstance(first, nn.Linear)
    with torch.no_grad():
        first.weight[:, victim] = 0
    path = tmp_path / "killed.safetensors"
    save_model(replace(model, metadata={name: value for name, value in model.metadata.items() if name != "relevance"}), path)
    result = ardtool.relevance(path)
    states = {axis.axis: axis.state for axis in result.axes}
    assert states[victim] == "ignored"
    assert [axis for axis, state in states.items() if state == "ignored"] == [victim]
    pruned = ardtool.prune(path, out=tmp_path / "small.safetensors")
    assert victim in pruned.dropped


def test_identical_run_is_not_repeated_and_force_repeats_it(vectors_file, tmp_path):
    settings = {"data": str(vectors_file), "latent": 3, "epochs": 2, "out": tmp_path / "run"}
    first = ardtool.train(**settings)
    before = Path(first.model).stat().st_mtime_ns
    second = ardtool.train(**settings)
    assert (first.repeated, second.repeated) == (False, True)
    assert Path(first.model).stat().st_mtime_ns == before
    assert second.relevance.to_dict() == first.relevance.to_dict()
    assert not ardtool.train(**settings, force=True).repeated
    assert Path(first.model).stat().st_mtime_ns > before


def test_other_settings_get_a_folder_of_their_own(vectors_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = ardtool.train(data=str(vectors_file), latent=3, epochs=2)
    second = ardtool.train(data=str(vectors_file), latent=3, epochs=3)
    assert first.run == "runs/vectors-ard-vae-L3-s0"
    assert second.run.startswith("runs/vectors-ard-vae-L3-s0-")
    assert ardtool.train(data=str(vectors_file), latent=3, epochs=3).repeated
    assert (tmp_path / "runs" / "latest").read_text().strip() == Path(second.run).name
    assert ardtool.relevance().model == second.model  # the newest


class Stop(Exception):
    pass


class StopAfter:
    """Interrupts a run in the middle of an epoch."""

    def __init__(self, epoch: int):
        self.epoch, self.done = epoch, 0

    def started(self, run, folder): ...

    def noted(self, text): ...

    def epoch_ended(self, record):
        self.done = record.epoch

    def stepped(self, done, steps):
        if self.done == self.epoch and done == 2:
            raise Stop


def test_an_interrupted_run_resumes_to_the_same_model(vectors_file, tmp_path):
    settings = {"data": str(vectors_file), "latent": 3, "epochs": 6}
    straight = ardtool.train(**settings, out=tmp_path / "straight")
    with pytest.raises(Stop):
        ardtool.train(**settings, out=tmp_path / "stopped", observer=StopAfter(3))
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    with pytest.raises(TrainingError, match="holds an unfinished run of these settings") as caught:
        ardtool.train(**settings, out=tmp_path / "stopped")
    assert caught.value.hint == "Continue it with --resume, or start again with --force."
    resumed = ardtool.train(**settings, out=tmp_path / "stopped", resume=True)
    first, second = load_model(Path(straight.model)), load_model(Path(resumed.model))
    assert first.metadata["content_sha256"] == second.metadata["content_sha256"]


def test_a_users_own_pair_of_modules():
    """A linear pair whose answer is known: w_l = ‖W_l‖², scores = w · Var(z_l)."""
    encoder, decoder = nn.Linear(6, 3), nn.Linear(3, 6)
    with torch.no_grad():
        decoder.weight[:, 2] = 0
    x = torch.randn(500, 6)
    model = ardtool.ModulePair(encoder, decoder, (6,), 3)
    with pytest.raises(ModelFileError, match="carries no codes") as caught:
        ardtool.relevance(model)
    assert caught.value.hint == "Give --data DATA, or --latents codes.npz, or --assume-prior (z ~ N(0, I))."
    result = ardtool.relevance(model, data=x)
    variance = encoder(x).detach().double().var(0, correction=0)
    expected = decoder.weight.detach().double().square().sum(0) * variance
    for axis in result.axes:
        assert axis.score == pytest.approx(float(expected[axis.axis]), rel=1e-4)
    states = {axis.axis: (axis.state, axis.kl) for axis in result.axes}
    assert states[2] == ("ignored", None)
    prior = ardtool.relevance(model, assume_prior=True)
    assert prior.codes_from == "prior"
    assert [axis.variance for axis in prior.axes] == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"threshold": 1.5}, "--threshold is 1.5; expected a share in (0, 1]."),
        ({"samples": 1}, "--samples is 1; expected at least 2."),
        ({"samples": 5000}, "--samples is 5000; the model file holds 540 reference codes."),
        ({"data": "x", "assume_prior": True}, "'x' is"),
        ({"device": "cuda:7"}, "--device cuda:7: torch finds no such device here."),
        ({"device": "gpu"}, "--device is 'gpu'; expected auto, cpu, cuda, cuda:N or mps."),
    ],
)
def test_errors_of_relevance(vectors_run, settings, sentence):
    if settings.get("device") == "cuda:7" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ardtool.ArdtoolError) as caught:
        ardtool.relevance(vectors_run.model, **settings)
    if "data" not in settings:
        assert caught.value.message == sentence
        assert caught.value.hint


def test_two_sources_of_codes_are_refused(vectors_run, vectors_file):
    with pytest.raises(ConfigError, match="each say where codes come from"):
        ardtool.relevance(vectors_run.model, data=str(vectors_file), assume_prior=True)


def test_reconstructions_beat_predicting_the_mean(vectors_run, vectors_file):
    """Standardised columns have variance 1, so predicting the mean has error 1."""
    assert ardtool.evaluate(vectors_run.model, data=str(vectors_file), metrics=["mse"]).metrics["mse"].value < 0.05
    assert 0 < vectors_run.validation_mse < 0.5  # this one decodes sampled codes
    assert math.isfinite(vectors_run.samples_per_second)
