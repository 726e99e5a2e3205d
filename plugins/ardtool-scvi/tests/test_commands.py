"""Every command on models of scvi-tools, and an axis that the decoder does not read: it is found, and it alone is pruned."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from ardtool_scvi import load, open_data

import ardtool

GENES, LATENT, KILLED = 30, 4, 2
MODELS = {
    "one layer": ("SCVI", {}),
    "two layers, covariates everywhere": ("SCVI", {"n_layers": 2, "encode_covariates": True, "gene_likelihood": "nb"}),
    "two layers, covariates in the first": ("SCVI", {"n_layers": 2, "deeply_inject_covariates": False}),
    "embedded batches, encoded library": ("SCVI", {"batch_representation": "embedding", "use_observed_lib_size": False}),
    "linear": ("LinearSCVI", {"gene_likelihood": "zinb", "use_observed_lib_size": True}),
}
RELEVANCE = "import json, sys, ardtool; print(json.dumps(ardtool.relevance(sys.argv[1]).to_dict()))"


@pytest.fixture(scope="module")
def killed_of(make_model, tmp_path_factory):
    """Makes the folder of a model whose decoder does not read axis KILLED, while its encoder writes all axes."""
    return lambda name: killed(make_model(MODELS[name][0], **MODELS[name][1]), tmp_path_factory.mktemp("killed") / "model")


def killed(model, folder):
    decoder = model.module.decoder
    first = [decoder.px_decoder] if hasattr(decoder, "px_decoder") else [decoder.factor_regressor, decoder.px_dropout_decoder]
    with torch.no_grad():
        model.module.z_encoder.mean_encoder.weight.mul_(4)
        for layers in first:
            layers.fc_layers[0][0].weight[:, KILLED] = 0  # codes come before the batch
    model.save(folder)
    return folder


def states(result):
    return {axis.axis: axis.state for axis in result.axes}


def test_axes_are_scored_from_cells(trained, h5ad):
    result = ardtool.relevance(trained, data=str(h5ad))
    assert result.method == "foreign"
    assert result.codes_from == "data"
    assert sorted(states(result)) == list(range(LATENT))
    assert sum(axis.explained for axis in result.axes) == pytest.approx(1)
    found = json.loads(json.dumps(result.to_dict()))
    assert found["schema"] == "ardtool.relevance/1"
    assert found["latent_dim"] == LATENT


def test_an_array_of_counts_and_batches_will_do(trained, h5ad, tmp_path):
    np.save(tmp_path / "cells.npy", open_data(h5ad).values.numpy())
    from_array = ardtool.relevance(trained, data=str(tmp_path / "cells.npy"), plugin="scvi")
    assert [axis.score for axis in from_array.axes] == [axis.score for axis in ardtool.relevance(trained, data=str(h5ad)).axes]


def test_codes_in_a_file_and_the_prior_will_do(trained, h5ad, tmp_path):
    ardtool.encode(trained, data=str(h5ad), out=tmp_path / "codes.npz")
    codes = tmp_path / "codes.npz"
    from_codes = ardtool.relevance(trained, latents=codes)
    assert from_codes.codes_from == "latents"
    assert ardtool.sample(trained, out=tmp_path / "s.npz", n=3, latents=codes).shape == [3, 31]  # 30 genes and the batch
    assert len(ardtool.prune(trained, out=tmp_path / "small.safetensors", keep=2, latents=codes).kept) == 2
    assert from_codes.latent_dim == LATENT
    from_prior = ardtool.relevance(trained, assume_prior=True)
    assert from_prior.codes_from == "prior"
    assert from_prior.latent_dim == LATENT


def test_codes_in_a_file_bring_their_cells_with_them(trained, h5ad, tmp_path):
    """Codes written by `encode` decode to what the model makes of the cells themselves, batches and sizes included."""
    ardtool.encode(trained, data=str(h5ad), out=tmp_path / "codes.npz")
    ardtool.decode(trained, codes=tmp_path / "codes.npz", out=tmp_path / "decoded.npz")
    model = load(trained, "cpu")
    with torch.no_grad():
        posterior = model.encode(open_data(h5ad).batch(slice(None)))
        expected = model.decode(posterior.mean, posterior.context).numpy()
    with np.load(tmp_path / "decoded.npz") as file:
        found = file[file.files[0]]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_without_codes_one_line_names_the_three_sources(trained):
    with pytest.raises(ardtool.ArdtoolError, match=r"carries no codes.*--data .* --latents codes.npz, or --assume-prior"):
        ardtool.relevance(trained)


def test_cells_with_other_genes_give_a_line(trained, cells, tmp_path):
    cells[:, :20].copy().write_h5ad(tmp_path / "fewer.h5ad")
    with pytest.raises(ardtool.ArdtoolError, match="'fewer' holds samples of 21; the model takes 31"):
        ardtool.relevance(trained, data=str(tmp_path / "fewer.h5ad"))


def test_cells_are_sampled_and_traversed(trained, h5ad, tmp_path):
    sample = ardtool.sample(trained, out=tmp_path / "s.npz", n=7, data=str(h5ad))
    assert sample.shape == [7, GENES + 1]
    with np.load(tmp_path / "s.npz") as file:
        samples = file["samples"]
    assert (samples[:, :-1] >= 0).all()
    assert set(samples[:, -1]) <= {0, 1}
    ardtool.traverse(trained, out=tmp_path / "grid.png", data=str(h5ad))
    assert (tmp_path / "grid.png").stat().st_size > 0


def test_cells_are_evaluated(trained, h5ad, tmp_path):
    """The MSE is that of scvi's own expected counts; the batch, which is passed through, adds a column without error."""
    found = ardtool.evaluate(trained, data=str(h5ad), metrics=["mse"], out=tmp_path / "metrics.json").metrics["mse"].value
    model, x = load(trained, "cpu"), open_data(h5ad).batch(slice(None))
    with torch.no_grad():
        posterior = model.encode(x)
        error = (model.decode(posterior.mean, posterior.context) - x).square()
    assert not error[:, -1].any()
    assert found == pytest.approx(float(error.mean()), rel=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_an_axis_that_is_not_read_is_ignored(killed_of, name, h5ad):
    result = ardtool.relevance(killed_of(name), data=str(h5ad))
    assert [axis for axis, state in states(result).items() if state == "ignored"] == [KILLED]
    assert result.axes[-1].axis == KILLED
    assert result.axes[-1].score == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two layers, covariates everywhere", "linear"])
def test_pruning_drops_it_and_a_fresh_process_reads_the_rest(killed_of, name, h5ad, tmp_path):
    folder, out = killed_of(name), tmp_path / "small.safetensors"
    pruned = ardtool.prune(folder, out=out, threshold=1.0, data=str(h5ad))
    assert pruned.dropped == [KILLED]
    assert pruned.kept == [axis for axis in range(LATENT) if axis != KILLED]
    assert pruned.max_abs_difference <= 1e-5 * pruned.output_scale
    assert pruned.output_change <= 1e-10 * pruned.output_scale**2
    assert pruned.mse is not None
    assert pruned.mse["after"] == pytest.approx(pruned.mse["before"], rel=1e-5)
    finished = subprocess.run([sys.executable, "-c", RELEVANCE, str(out)], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout)
    assert found["latent_dim"] == LATENT - 1
    assert found["codes_from"] == "model"
    assert "ignored" not in {axis["state"] for axis in found["axes"]}
    small, full = ardtool.load_model(out).autoencoder, load(folder, "cpu")
    x = open_data(h5ad).batch(slice(None))
    with torch.no_grad():
        of_full, of_small = full.encode(x), small.encode(x)
        expected = full.decode(of_full.mean, of_full.context)
        found = small.decode(of_small.mean, of_small.context)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
