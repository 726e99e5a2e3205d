"""Train once, and everything that relevance promises about the result."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import ardtool
from ardtool.errors import ConfigError, ModelFileError, TrainingError
from ardtool.storage.model_file import load_model, save_model
from ardtool.storage.record import read_record


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
    assert read_record(folder / "relevance.json") == vectors_run.relevance.to_dict()


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
    assert {name: relevance["estimator"][name] for name in ("name", "samples", "seed")} == {"name": "exact", "samples": 100, "seed": 0}
    assert relevance["estimator"]["reason"].startswith("exact: for a 5 % standard error the sketch costs")
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


def test_authors_convention_gives_the_same_count_here(vectors_run):
    other = ardtool.relevance(vectors_run.model, convention="authors-code")
    assert other.convention == "authors-code"
    assert other.active == 2
    assert other.axes[0].weight == pytest.approx(vectors_run.relevance.axes[0].weight, rel=0.2)


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


def test_a_run_on_some_samples_says_so_and_is_a_run_of_its_own(vectors_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"data": str(vectors_file), "latent": 3, "epochs": 2}
    some, whole = ardtool.train(samples=90, **settings), ardtool.train(**settings)
    assert some.run != whole.run
    metadata = load_model(some.model).metadata
    assert metadata["settings"]["samples"] == metadata["identity"]["samples"] == 90
    assert (metadata["data"]["training_samples"], metadata["data"]["validation_samples"]) == (90, 10)
    assert metadata["data"]["alpha_samples"] == 18
    assert metadata["data"]["samples"] == len(np.load(vectors_file))
    assert ardtool.train(samples=90, **settings).repeated
    with pytest.raises(ConfigError, match="--samples is 9; expected at least 10"):
        ardtool.train(samples=9, **settings)


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


@pytest.mark.parametrize("samples", [None, 300])
def test_an_interrupted_run_resumes_to_the_same_model(vectors_file, tmp_path, samples):
    settings = {"data": str(vectors_file), "latent": 3, "epochs": 6, "samples": samples}
    straight = ardtool.train(**settings, out=tmp_path / "straight")
    with pytest.raises(Stop):
        ardtool.train(**settings, out=tmp_path / "stopped", observer=StopAfter(3))
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    with pytest.raises(TrainingError, match="holds an unfinished run of these settings") as caught:
        ardtool.train(**settings, out=tmp_path / "stopped")
    assert caught.value.hint == "Continue it with --resume, or start again with --force."
    resumed = ardtool.train(**settings, out=tmp_path / "stopped", resume=True)
    first, second = load_file(straight.model), load_file(resumed.model)
    assert all(torch.equal(first[name], second[name]) for name in first)


def unfinished(vectors_file, folder, **settings) -> dict:
    """A run that was stopped in its third epoch."""
    settings = {"data": str(vectors_file), "latent": 3, "epochs": 6, "out": folder} | settings
    with pytest.raises(Stop):
        ardtool.train(**settings, observer=StopAfter(2))
    return settings


def test_a_run_that_has_not_finished_is_no_model_yet(vectors_file, tmp_path):
    unfinished(vectors_file, tmp_path / "run")
    with pytest.raises(ModelFileError) as caught:
        ardtool.relevance(tmp_path / "run")
    assert caught.value.message == f"{tmp_path / 'run'} is a folder without model.safetensors."
    assert "that training finished" in caught.value.hint


def test_force_keeps_the_old_model_until_the_new_one_is_there(vectors_file, tmp_path):
    settings = {"data": str(vectors_file), "latent": 3, "epochs": 6, "out": tmp_path / "run"}
    ardtool.train(**settings)
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    with pytest.raises(Stop):
        ardtool.train(**settings, seed=1, force=True, observer=StopAfter(2))
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    assert ardtool.train(**settings, seed=1, resume=True).relevance.to_dict() != {}
    assert load_model(tmp_path / "run" / "model.safetensors").metadata["settings"]["seed"] == 1


@pytest.mark.parametrize("step", ["save_model", "write_record"])
def test_a_crash_while_the_last_files_are_written_is_repaired_by_resume(vectors_file, tmp_path, monkeypatch, step):
    settings = {"data": str(vectors_file), "latent": 3, "epochs": 4, "out": tmp_path / "run"}
    straight = ardtool.train(**(settings | {"out": tmp_path / "straight"}))

    def crash(*_args):
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(f"ardtool.commands.train.{step}", crash)
        with pytest.raises(Stop):
            ardtool.train(**settings)
    with pytest.raises(TrainingError, match="holds an unfinished run of these settings"):
        ardtool.train(**settings)
    ardtool.train(**settings, resume=True)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"model.safetensors", "config.yaml", "history.jsonl", "relevance.json"}
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 4
    first, second = load_file(straight.model), load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_folder_never_passes_for_another_run(vectors_file, tmp_path):
    settings = {"data": str(vectors_file), "latent": 3, "epochs": 2, "out": tmp_path / "run"}
    ardtool.train(**settings)
    (tmp_path / "run" / "config.yaml").write_bytes(b"\xff: : :")  # only for people; the model itself says what it is
    assert ardtool.train(**settings).repeated
    with pytest.raises(TrainingError, match="holds a run of other settings: latent 3, not 5") as caught:
        ardtool.train(**(settings | {"latent": 5}))
    assert caught.value.hint == "Choose another --out, or replace that run with --force."
    other = tmp_path / "other.npy"
    np.save(other, np.load(vectors_file) + 1)
    with pytest.raises(TrainingError, match="holds a run of other settings: data vectors, not other"):
        ardtool.train(**(settings | {"data": str(other)}))
    stopped = unfinished(vectors_file, tmp_path / "stopped")
    with pytest.raises(TrainingError, match="holds a run of other settings: epochs 6, not 7"):
        ardtool.train(**(stopped | {"epochs": 7}), resume=True)


def test_the_path_to_the_data_is_not_part_of_a_run(vectors_file, tmp_path, monkeypatch):
    monkeypatch.chdir(vectors_file.parent)
    for data in (vectors_file.name, f"./{vectors_file.name}"):
        result = ardtool.train(data=data, latent=3, epochs=2, out=tmp_path / "run")
    assert result.repeated


@pytest.mark.parametrize("damage", ["empty skeleton", "list skeleton", "no record", "missing tensor", "misshapen tensor", "cut"])
def test_a_damaged_state_is_refused_in_one_line(vectors_file, tmp_path, damage):
    settings = unfinished(vectors_file, tmp_path / "run")
    path = tmp_path / "run" / "resume" / "state.safetensors"
    with safe_open(path, framework="pt") as file:
        record = json.loads(file.metadata()["run"])
    tensors = load_file(path)
    name = next(name for name in tensors if name.startswith("model."))
    if damage.endswith("skeleton"):
        record["state"] = {} if damage.startswith("empty") else []
    elif damage == "no record":
        record = {}
    elif damage == "missing tensor":
        del tensors[name]
    elif damage == "misshapen tensor":
        tensors[name] = torch.zeros(7, 7, 7)
    save_file(tensors, path, metadata={"run": json.dumps(record)})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelFileError, match=r"state\.safetensors is damaged") as caught:
        ardtool.train(**settings, resume=True)
    assert caught.value.hint == "Start again with --force."
    assert "\n" not in str(caught.value)
    assert not ardtool.train(**settings, force=True).repeated


def test_target_mse_is_met(vectors_file, tmp_path):
    """β ends where the validation error is the one asked for, on a schedule that has room to find it."""
    for target in (0.08, 0.3):
        result = ardtool.train(data=str(vectors_file), latent=4, epochs=120, target_mse=target, out=tmp_path / str(target))
        assert result.validation_mse == pytest.approx(target, rel=0.1)
        assert not result.warnings


def test_a_target_that_cannot_be_met_is_said(vectors_file, tmp_path):
    result = ardtool.train(data=str(vectors_file), latent=4, epochs=20, target_mse=1e-6, out=tmp_path / "run")
    assert any("not the 1e-06 asked for by --target-mse" in warning for warning in result.warnings)


def test_auto_beta_is_twice_the_error(vectors_file, tmp_path):
    result = ardtool.train(data=str(vectors_file), latent=4, epochs=600, beta="auto", out=tmp_path / "run")
    beta = load_model(Path(result.model)).metadata["likelihood"]["beta"]
    assert beta == pytest.approx(2 * result.validation_mse, rel=0.3)


def test_a_student_t_model_is_scored_and_evaluated_by_its_own_prior(vectors_file, tmp_path):
    result = ardtool.train(data=str(vectors_file), latent=4, epochs=100, prior="student-t", out=tmp_path / "run")
    assert result.active == 2
    metrics = ardtool.evaluate(result.model, data=str(vectors_file), metrics=["elbo"]).metrics
    assert metrics["elbo"].value < metrics["reconstruction"].value


def test_one_epoch_is_too_short_to_judge(vectors_file, tmp_path):
    result = ardtool.train(data=str(vectors_file), latent=3, epochs=1, out=tmp_path / "run")
    assert not result.converged
    assert result.warnings[0].startswith("1 epoch is too short to judge whether training has converged")


def test_a_loss_that_still_falls_is_said_though_the_count_stands_still(vectors_file, tmp_path):
    result = ardtool.train(data=str(vectors_file), latent=3, epochs=5, threshold=0.5, out=tmp_path / "run")
    assert result.converged
    (warning,) = result.warnings
    assert re.fullmatch(
        r"the validation loss was still falling \(the last tenth of the epochs brought \d+ % of its descent\), "
        r"so the count may not be final; train longer, e\.g\. --epochs 10 \(a run of its own\)",
        warning,
    )


def test_a_run_keeps_its_moments_from_all_training_data(vectors_file, tmp_path):
    result = ardtool.train(data=str(vectors_file), latent=3, epochs=2, alpha_samples=5, out=tmp_path / "run")
    codes = load_model(Path(result.model)).codes
    assert codes.prior.a == 2.5
    assert codes.statistics.count == len(codes.reference) == 540


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
        ({"estimator": "foo"}, "--estimator is 'foo'; expected auto or exact or sketch or sobol."),
        ({"basis": "foo"}, "--basis is 'foo'; expected axes or principal."),
        ({"convention": "foo"}, "--convention is 'foo'; expected paper or authors-code."),
        ({"device": "cuda:99"}, "--device cuda:99: torch finds no such device here."),
        ({"device": "gpu"}, "--device is 'gpu'; expected auto, cpu, cuda, cuda:N or mps."),
    ],
)
def test_errors_of_relevance(vectors_run, settings, sentence):
    with pytest.raises(ardtool.ArdtoolError) as caught:
        ardtool.relevance(vectors_run.model, **settings)
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
