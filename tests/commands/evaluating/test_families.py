"""Every family of metrics through `evaluate`, on models and data whose verdict is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import ardtool
from ardtool.autoencoder import Posterior
from ardtool.data.dataset import DataSet
from ardtool.data.factors import FactorGrid
from ardtool.errors import ConfigError, DataError
from ardtool.metrics.kernel_distance import kernel_distance
from ardtool.storage.model_file import SavedModel

GRID = FactorGrid(("constant", "shape", "size", "place"), (1, 3, 5, 6))


class Identity(nn.Module):
    """Codes are the numbers of a sample, with a little noise where `log_variance` is given."""

    def __init__(self, outputs: int, log_variance: float | None = None) -> None:
        super().__init__()
        self.input_shape = self.latent_shape = (outputs,)
        self.log_variance = log_variance

    def encode(self, x):
        return Posterior(x, None if self.log_variance is None else torch.full_like(x, self.log_variance))

    def decode(self, z, context=None):
        return z


def grid_data(columns=(1, 2, 3)) -> DataSet:
    """Samples that are their own factors."""
    factors = GRID.factors_of(torch.arange(len(GRID)))
    return DataSet("grid", factors[:, list(columns)].float(), factor_names=GRID.names, grid=GRID)


def measured(model, data, *metrics, **request):
    return ardtool.evaluate(model, data=data, metrics=list(metrics), **request)


# --- disentanglement ---


def test_a_code_that_is_the_factors_is_perfect():
    found = measured(Identity(3), grid_data(), "mig", "factor-vae", "beta-vae", "modularity").metrics
    for name in ("mig", "factor_vae", "beta_vae_standardised", "modularity", "explicitness"):
        assert found[name].value == pytest.approx(1, abs=0.02), name
    assert found["mig"].provenance["factors"] == ["shape", "size", "place"]  # the constant one is no factor


def test_a_factor_that_is_written_twice_has_no_gap():
    found = measured(Identity(6), grid_data((1, 2, 3, 1, 2, 3)), "mig").metrics["mig"]
    assert found.value == pytest.approx(0, abs=1e-6)


def test_draws_are_averaged_and_their_spread_is_the_error():
    one, three = (measured(Identity(3), grid_data(), "mig", eval_seeds=n).metrics["mig"] for n in (1, 3))
    assert math.isnan(one.stderr)
    assert 0 < three.stderr < 0.01
    assert three.provenance["eval_seeds"] == 3


def test_factors_come_from_a_file(tmp_path):
    data = grid_data()
    np.savez(tmp_path / "factors.npz", factors=GRID.factors_of(torch.arange(len(GRID))).numpy()[:, 1:], names=["a", "b", "c"])
    plain = DataSet("plain", data.values)
    found = measured(Identity(3), plain, "mig", factors=str(tmp_path / "factors.npz")).metrics["mig"]
    assert found.value > 0.95
    assert found.provenance["factors"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (None, "factors.npz does not exist."),
        ({"other": np.zeros((90, 2))}, "has no array 'factors'; found other."),
        ({"factors": np.zeros((7, 2))}, "has 7 rows; 'grid' holds 90 samples."),
        ({"factors": np.zeros(90)}, "expected numbers (N, K)."),
        ({"factors": np.zeros((90, 2)), "names": ["a"]}, "has 1 names for 2 factors."),
        ({"factors": np.array([{}] * 90)}, "cannot be read as an .npz file"),
    ],
)
def test_files_of_factors_that_do_not_fit(tmp_path, arrays, said):
    if arrays is not None:
        np.savez(tmp_path / "factors.npz", **arrays)
    with pytest.raises(DataError) as caught:
        measured(Identity(3), grid_data(), "mig", factors=str(tmp_path / "factors.npz"))
    assert said in caught.value.message
    assert caught.value.hint


def test_data_without_factors_are_refused_by_name_and_left_out_in_a_group():
    data = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    with pytest.raises(ConfigError, match="mig needs data with known factors"):
        measured(Identity(3), data, "mig")
    assert measured(Identity(3), data, "disentanglement").left_out["mig"] == "needs data with known factors"


def test_codes_of_a_grid_are_encoded_once(images_run, tmp_path, monkeypatch):
    """The second call finds them in the cache: an encoder that breaks is not asked."""
    monkeypatch.setenv("ARDTOOL_CACHE", str(tmp_path / "cache"))
    values = torch.randint(0, 256, (len(GRID), 1, 16, 16), dtype=torch.uint8)
    data = DataSet("grid", values, (0.0, 1.0), factor_names=GRID.names, grid=GRID)
    first = measured(images_run.model, data, "mig", out=tmp_path / "a.json").metrics["mig"]
    from ardtool.commands.evaluating import known_factors

    def never(*args, **options):
        raise AssertionError("encoded again")

    monkeypatch.setattr(known_factors, "encode_all", never)
    assert measured(images_run.model, data, "mig", out=tmp_path / "b.json").metrics["mig"] == first
    with pytest.raises(AssertionError, match="encoded again"):
        measured(images_run.model, data, "mig", cache=False, out=tmp_path / "c.json")


# --- generation ---


def two_modes(n: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = np.where(random.uniform(size=(n, 1)) < 0.5, -20.0, 20.0)
    return (centres + random.normal(size=(n, 3))).astype(np.float32)


@pytest.mark.parametrize("metrics", [("prd", "prd_precision", "prd_recall"), ("prdc", "precision", "recall")])
def test_a_generator_of_one_mode_is_precise_and_recalls_half(tmp_path, metrics):
    """And its opposite: one that makes both modes and much else besides."""
    group, precision, recall = metrics
    data, random = two_modes(400, 0), np.random.default_rng(1)
    np.save(tmp_path / "one.npy", 20 + random.normal(size=(400, 3)))
    np.save(tmp_path / "all.npy", np.concatenate([two_modes(200, 2), random.normal(size=(200, 3)) * [5, 300, 5] + 900]))
    one, wide = (measured(Identity(3), data, group, generated=str(tmp_path / f"{name}.npy")).metrics for name in ("one", "all"))
    assert one[f"{precision}[pixels]"].value > 0.85
    assert one[f"{recall}[pixels]"].value < 0.65
    assert wide[f"{precision}[pixels]"].value < 0.65
    assert wide[f"{recall}[pixels]"].value > 0.85


def test_samples_reconstructions_and_floor_are_as_many_as_the_data():
    found = measured(Identity(3, -30.0), two_modes(400, 0), "fid", "kid", samples=150).metrics
    assert {each.n for each in found.values()} == {150}
    assert found["fd_reconstructions[pixels]"].value == pytest.approx(0, abs=1e-3)
    assert found["fd_floor[pixels]"].provenance["samples"] == "the rest of the data"
    assert found["fd_floor[pixels]"].value < 5 * found["fd_floor[pixels]"].details["bias"]
    assert found["fd[pixels]"].family == "fd[pixels]"
    halves = measured(Identity(3), two_modes(400, 0), "fid").metrics["fd_floor[pixels]"]
    assert halves.n == 200
    assert halves.provenance["samples"] == "one half of the data, beside the other"


def test_the_floor_of_a_named_set_is_its_training_part(monkeypatch):
    monkeypatch.setitem(kernel_distance.__kwdefaults__, "subsets", 10)  # of 1,000 samples each
    mean_colour = ardtool.ModulePair(
        lambda x: x.mean(dim=(2, 3)), lambda z: z[..., None, None].expand(*z.shape, 32, 32), input_shape=(3, 32, 32), latent_dim=3
    )
    found = measured(mean_colour, "sprites-2", "kid", features="pixels", samples=1500).metrics
    assert found["kd_floor[pixels]"].provenance["samples"] == "the training part"
    assert abs(found["kd_floor[pixels]"].value) < 5 * found["kd_floor[pixels]"].stderr


def test_too_few_samples_for_a_frechet_distance_are_warned_about():
    random = np.random.default_rng(0)
    note = measured(Identity(30), random.normal(size=(60, 30)).astype(np.float32), "fid").note
    assert note is not None and note.startswith("With 60 samples about ")


def test_more_generated_samples_than_data_are_drawn_from(tmp_path):
    np.save(tmp_path / "many.npy", two_modes(900, 1))
    assert measured(Identity(3), two_modes(300, 0), "prd", generated=str(tmp_path / "many.npy")).metrics["prd_recall[pixels]"].n == 300
    np.save(tmp_path / "few.npy", two_modes(90, 1))
    assert measured(Identity(3), two_modes(300, 0), "prd", generated=str(tmp_path / "few.npy")).metrics["prd_recall[pixels]"].n == 90


def test_features_from_a_file(tmp_path):
    np.savez(tmp_path / "f.npz", reference=two_modes(200, 0), generated=two_modes(200, 1))
    found = measured(Identity(3), two_modes(300, 0), "kid", features=str(tmp_path / "f.npz")).metrics
    (name,) = found
    assert name.startswith("kd[f:")
    with pytest.raises(ConfigError, match="--generated has no effect on features from a file"):
        measured(Identity(3), two_modes(300, 0), "kid", features=str(tmp_path / "f.npz"), generated="x.npy")


# --- likelihood, reconstruction, latent health ---


def test_the_bound_grows_with_draws(vectors_run, vectors_file, tmp_path):
    values = [
        measured(vectors_run.model, str(vectors_file), "iwae", iwae_draws=k, out=tmp_path / f"{k}.json").metrics["iwae"]
        for k in (1, 10, 100)
    ]
    elbo = measured(vectors_run.model, str(vectors_file), "elbo", out=tmp_path / "e.json").metrics["elbo"]
    assert values[0].value == pytest.approx(elbo.value, abs=6 * elbo.stderr)
    assert values[0].value < values[1].value < values[2].value


def test_bits_per_dimension_are_of_byte_images_alone(images_run, vectors_run, vectors_file, tmp_path):
    data = np.random.default_rng(0).integers(0, 256, (20, 1, 16, 16), dtype=np.uint8)
    found = measured(images_run.model, data, "iwae", iwae_draws=5, out=tmp_path / "a.json").metrics
    assert found["bits_per_dim"].value > 8  # noise cannot be compressed, and this model does not expect it
    assert found["bits_per_dim_optimal_variance"].details["variance"] == pytest.approx(images_run.validation_mse)
    assert "bits_per_dim" not in measured(vectors_run.model, str(vectors_file), "iwae", iwae_draws=2, out=tmp_path / "b.json").metrics


def test_the_curve_ends_where_the_error_with_all_axes_is(vectors_run, vectors_file, tmp_path):
    result = measured(vectors_run.model, str(vectors_file), "mse", "curve", out=tmp_path / "m.json")
    curve = {row["k"]: row["mse"] for row in result.curves["mse"]}
    assert sorted(curve) == [1, 2, 3, 4, 5, 6]
    assert curve[6] == pytest.approx(result.metrics["mse"].value, rel=1e-5)
    assert curve[result.active] == pytest.approx(result.metrics["mse_active"].value, rel=1e-5)
    assert json.loads((tmp_path / "m.json").read_text())["curves"]["mse"] == result.curves["mse"]


def test_peak_signal_to_noise_is_for_images(images_run, vectors_run, vectors_file, tmp_path):
    data = np.random.default_rng(0).integers(0, 256, (20, 1, 16, 16), dtype=np.uint8)
    found = measured(images_run.model, data, "mse", "psnr", out=tmp_path / "a.json").metrics
    assert found["psnr"].value >= -10 * math.log10(found["mse"].value)  # of each image, then averaged: Jensen
    with pytest.raises(ConfigError, match="psnr needs images"):
        measured(vectors_run.model, str(vectors_file), "psnr", out=tmp_path / "b.json")


def test_a_space_with_two_of_three_axes_written():
    """Two independent axes and a constant one: two units, no correlation, two dimensions."""
    x = np.random.default_rng(0).normal(size=(1500, 3)).astype(np.float32) * [1, 1, 0]
    result = measured(Identity(3, 0.0), x, "activity", "correlation", "dimension")
    found = result.metrics
    assert found["active_units"].value == found["active_units_relative"].value == 2
    assert found["total_correlation"].value < 0.01
    assert found["dimension_means"].value == pytest.approx(2, abs=0.25)
    assert found["dimension_codes"].value == pytest.approx(3, abs=0.4)  # the passive axis holds noise
    assert [round(row["relative_activity"], 1) for row in result.curves["axes"]] == [0.5, 0.5, 0]


def test_a_model_without_a_prior_has_no_gap_to_it():
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    with pytest.raises(ConfigError, match="prior-gap needs a prior"):
        measured(Identity(3), x, "prior-gap")
    with pytest.raises(ConfigError, match="dimension needs at least 150 samples"):
        measured(Identity(3), x[:100], "dimension")


def test_one_axis_is_enough_for_every_metric():
    """L = 1: no pair of axes, no second best."""
    factors = GRID.factors_of(torch.arange(len(GRID)))
    data = DataSet("grid", factors[:, 2:3].float() + 0.0, factor_names=GRID.names, grid=GRID)
    found = measured(Identity(1), data, "correlation", "mig", "sap", "modularity", "factor-vae").metrics
    assert found["total_correlation"].value == pytest.approx(0, abs=1e-12)
    assert found["correlation_largest"].value == 0
    assert found["mig"].value == pytest.approx(1 / 3, abs=0.02)
    assert all(math.isfinite(each.value) for each in found.values())


def test_a_model_without_active_axes_is_measured_all_the_same():
    """Every axis at its mean: the mean sample, which knows no factor."""
    data = grid_data()
    x = data.tensor.float()
    model = SavedModel(Identity(3, -30.0), None, {"method": "foreign", "relevance": {"active_axes": [], "explained": [0.0, 0.0, 0.0]}})
    found = measured(model, data, "mse", "fid", "prdc", "mig", "factor-vae", "sap", "modularity", "correlation").metrics
    assert found["mse_active"].value == pytest.approx(float((x - x.mean(dim=0)).square().mean()), rel=1e-4)
    for name in ("mig_active", "factor_vae_active", "sap_active", "modularity_active", "total_correlation_active"):
        assert found[name].value == 0, name
    assert found["fd[pixels]"].value == pytest.approx(float(x.var(dim=0).sum()), rel=0.05)  # all generated samples are the mean
    assert found["recall[pixels]"].value == 0


def test_a_cache_that_cannot_be_written_costs_a_note(images_run, tmp_path, monkeypatch):
    from ardtool.data import cache_file

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("ARDTOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_file, "write", full)
    data = DataSet("grid", torch.randint(0, 256, (len(GRID), 1, 16, 16), dtype=torch.uint8), (0.0, 1.0), factor_names=GRID.names, grid=GRID)
    result = measured(images_run.model, data, "mig", out=tmp_path / "m.json")
    assert "mig" in result.metrics
    assert result.note == f"The codes could not be kept in {tmp_path / 'cache'}: No space left on device."
