"""Methods that are sampled by a density fitted afterwards carry it in their file, and pruning reduces it exactly."""

import pytest
import torch

import ardtool
from ardtool.storage.model_file import load_model


@pytest.fixture(scope="module")
def run(vectors_file, tmp_path_factory):
    return ardtool.train(data=str(vectors_file), latent=4, method="rae", epochs=3, out=tmp_path_factory.mktemp("rae") / "run")


def test_the_mixture_of_the_training_codes_is_in_the_file(run, vectors_file):
    model = load_model(run.model)
    codes = model.codes
    assert codes.mixture is not None and codes.mixture.means.shape == (10, 4)
    rows = model.metadata["data"]["training_samples"]
    assert codes.statistics.count == rows  # so both were measured on the same codes
    torch.testing.assert_close(codes.mixture.weights @ codes.mixture.means, codes.statistics.mean, rtol=1e-5, atol=1e-6)


def test_methods_with_a_prior_carry_none(vectors_run):
    assert load_model(vectors_run.model).codes.mixture is None


def test_pruning_keeps_the_marginal(run, tmp_path):
    kept = ardtool.prune(run.model, out=tmp_path / "small.safetensors", axes=[0, 2]).kept
    assert kept == [0, 2]
    full, small = load_model(run.model).codes.mixture, load_model(tmp_path / "small.safetensors").codes.mixture
    torch.testing.assert_close(small.means, full.means[:, [0, 2]])
    torch.testing.assert_close(small.covariances, full.covariances[:, [0, 2]][:, :, [0, 2]])


def test_pruning_directions_maps_it(run, tmp_path):
    """Codes drawn from the full model's mixture and decoded, and codes of the pruned one, have the same mean and spread of outputs."""
    ardtool.prune(run.model, out=tmp_path / "small.safetensors", basis="principal", keep=2)
    full, small = load_model(run.model), load_model(tmp_path / "small.safetensors")
    outputs = [
        each.autoencoder.decode(each.codes.mixture.sample(20_000, torch.Generator().manual_seed(0)).float()) for each in (full, small)
    ]
    first, second = (each.detach().double() for each in outputs)
    error = ((first.var(dim=0) + second.var(dim=0)) / 20_000).sqrt()
    assert ((first.mean(dim=0) - second.mean(dim=0)).abs() < 5 * error).all()
    torch.testing.assert_close(first.var(dim=0), second.var(dim=0), rtol=0.08, atol=0)
