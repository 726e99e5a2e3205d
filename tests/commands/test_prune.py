"""Pruning by measured errors, along directions, into several kinds of files."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import ardtool
from ardtool.autoencoder import ModulePair, Posterior
from ardtool.commands.estimation import Request
from ardtool.commands.inputs import data_for
from ardtool.commands.opening import codes_for, encode_all, open_model
from ardtool.commands.pruning.choice import read_choice
from ardtool.commands.pruning.measure import Meter
from ardtool.commands.pruning.select import select_space
from ardtool.errors import ArdtoolError, ConfigError, ModelFileError
from ardtool.latent.codes import LatentCodes
from ardtool.latent.jacobian import inference_mode
from ardtool.latent.precision import GammaPosterior
from ardtool.latent.statistics import CodeStatistics
from ardtool.networks.build import architecture_record, build_network
from ardtool.storage.model_file import SavedModel, load_model
from ardtool.storage.record import read_record

CPU = torch.device("cpu")
COLUMNS, SAMPLES = 12, 400
GAINS = torch.tensor([1.0, 4.0, 0.5, 2.0, 0.1, 3.0])  # norms of the decoder's columns
SPREADS = torch.tensor([1.0, 1.5, 2.0, 0.5, 1.0, 0.2])  # standard deviations of the codes
NOISE = 0.3


class Planted:
    """x = Σ_l z_l g_l q_l + b + noise outside the span of the orthonormal q_l; encoder and decoder are linear and exact."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        basis = torch.linalg.qr(torch.randn(COLUMNS, COLUMNS, generator=generator)).Q
        columns, rest = basis[:, :6] * GAINS, basis[:, 6:]
        self.z = SPREADS * torch.randn(SAMPLES, 6, generator=generator) + 0.7
        noise = NOISE * torch.randn(SAMPLES, 6, generator=generator) @ rest.T
        encoder, decoder = nn.Linear(COLUMNS, 6), nn.Linear(6, COLUMNS)
        with torch.no_grad():
            decoder.weight.copy_(columns)
            decoder.bias.fill_(0.25)
            encoder.weight.copy_((columns / GAINS**2).T)
            encoder.bias.copy_(-encoder.weight.sum(dim=1) * 0.25)
        self.x = self.z @ columns.T + 0.25 + noise
        self.model = ModulePair(encoder, decoder, (COLUMNS,), 6)
        self.scores = GAINS.square() * self.z.var(dim=0, correction=0)
        self.order = self.scores.argsort(descending=True).tolist()
        self.full_mse = float(noise.square().mean())

    def change(self, k: int) -> float:
        """Σ of the scores of all axes but the k most relevant, per output: what holding them at their mean changes."""
        return float(self.scores[self.order[k:]].sum()) / COLUMNS

    def select(self, *, basis="axes", **options):
        opened = open_model(self.model)
        data = data_for(opened, self.x, None)
        codes = codes_for(opened, data=data)
        meter = Meter(opened.autoencoder, codes.reference, (data, encode_all(opened.autoencoder, data, CPU)), CPU)
        given = {"keep": None, "axes": None, "max_output_change": None, "max_mse_increase": None} | options
        return select_space(opened, codes, read_choice(0.99, **given), basis, meter, Request(), wants_curve=True)


@pytest.fixture(scope="module")
def planted():
    return Planted()


def test_the_curve_of_a_linear_decoder_is_the_sum_of_the_dropped_scores(planted):
    curve = planted.select(max_mse_increase="5%").curve
    assert [point.k for point in curve] == [1, 2, 3, 4, 5, 6]
    for point in curve:
        assert point.output_change == pytest.approx(planted.change(point.k), rel=1e-4, abs=1e-9)
        assert point.mse == pytest.approx(planted.full_mse + planted.change(point.k), rel=1e-4)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6])
def test_limits_keep_the_smallest_number_that_the_closed_form_allows(planted, k):
    """The limit lies just above what k axes cost, and below what k − 1 cost."""
    limit = planted.change(k) * 1.01 + 1e-9
    chosen = [
        planted.select(max_output_change=limit),
        planted.select(max_output_change=f"{100 * limit / planted.change(0)}%"),
        planted.select(max_mse_increase=limit / planted.full_mse),
    ]
    for selection in chosen:
        assert selection.space.kept == sorted(planted.order[:k])
    assert chosen[0].limits == {"output_change": pytest.approx(limit)}
    assert chosen[1].limits == {"output_change": pytest.approx(limit, rel=1e-4)}
    assert chosen[2].limits == {"mse": pytest.approx(planted.full_mse + limit, rel=1e-4)}


def test_directions_of_orthogonal_columns_and_correlated_codes_cost_their_eigenvalues(planted):
    """With orthonormal coordinates of unit variance, dropping directions changes the output by their eigenvalues."""
    z = planted.z.double()
    covariance = torch.cov(z.T, correction=0)
    root = torch.diag(GAINS.double())
    eigenvalues = torch.linalg.eigvalsh(root @ covariance @ root).flip(0)
    selection = planted.select(basis="principal", keep=2)
    for point in selection.curve:
        assert point.output_change == pytest.approx(float(eigenvalues[point.k :].sum()) / COLUMNS, rel=1e-3, abs=1e-6)
    assert selection.space.kept == [0, 1]


def test_nothing_within_a_limit_is_said(planted, monkeypatch):
    monkeypatch.setattr(Meter, "full_mse", lambda _: 0.5 * planted.full_mse)
    with pytest.raises(ArdtoolError) as caught:
        planted.select(max_mse_increase="1%")
    assert caught.value.message.startswith("No number of axes keeps within --max-mse-increase 1 %: with all 6 the MSE is ")


def test_data_are_needed_to_limit_the_mse(tmp_path):
    with pytest.raises(ConfigError) as caught:
        ardtool.prune(small_model(), out=tmp_path / "x.safetensors", max_mse_increase="1%")
    assert caught.value.message == "--max-mse-increase is measured on data, and none are given."
    assert "--data" in caught.value.hint


def test_objects_made_in_python_export_their_decoder_but_no_model(planted, tmp_path):
    with pytest.raises(ModelFileError) as caught:
        ardtool.prune(planted.model, out=tmp_path / "x.safetensors", data=planted.x)
    assert caught.value.message == "A ModulePair that was made in Python cannot be rebuilt from a .safetensors file: no plugin knows how."
    assert "--out small.pt2 or small.onnx" in caught.value.hint
    assert "ardtool.PrunedAutoencoder" in caught.value.hint
    assert not list(tmp_path.iterdir())


def small_model(seed: int = 0) -> SavedModel:
    """An untrained network of ardtool's own, L = 4 on vectors of 8, whose axis 3 the decoder hardly reads."""
    network = build_network(architecture_record("dense", (8,), 4, value_range=None), seed)
    with torch.no_grad():
        network.decoder[0].weight[:, 3] *= 1e-3
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(300, 4, generator=generator) @ torch.diag(torch.tensor([1.0, 2.0, 0.5, 1.0])) + 0.4
    reference = Posterior(mean, torch.full((300, 4), -3.0))
    z = reference.sample(generator)
    codes = LatentCodes(CodeStatistics.of(z), reference, GammaPosterior.uninformed(4).updated(z))
    return SavedModel(network.eval(), codes, {"method": "ard-vae"})


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """One run with all that can be asked for, shared by the tests of its parts."""
    folder = tmp_path_factory.mktemp("small")
    model = small_model()
    x = torch.randn(100, 8, generator=torch.Generator().manual_seed(1))
    result = ardtool.prune(model, out=folder / "small.safetensors", export=["pt2", "onnx"], data=x, max_output_change="20%", device="cpu")
    return model, result, folder


@pytest.mark.slow
def test_every_kind_of_file_is_checked_in_a_fresh_process(everything):
    _, result, folder = everything
    assert [export["kind"] for export in result.exports] == ["safetensors", "pt2", "onnx"]
    names = ["small.safetensors", "small.pt2", "small.onnx", "small.curve.png", "small.json"]
    assert result.files == [str(folder / name) for name in names]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    for export in result.exports:
        assert export["relative"] <= 1e-5
        assert export["bytes"] == (folder / export["file"]).stat().st_size
        assert {1, 4, 33} <= set(export["batches"])


@pytest.mark.slow
def test_the_json_beside_the_model_is_the_result(everything):
    _, result, folder = everything
    stored = read_record(folder / "small.json")
    assert stored == result.to_dict()
    assert stored["schema"] == "ardtool.prune/1"
    assert stored["latent_shape"] == {"before": [4], "after": [len(result.kept)]}
    assert (stored["decoder"], stored["encoder"], stored["basis"], stored["granularity"]) == ("folded", "rows removed", "axes", None)


@pytest.mark.slow
def test_the_chosen_number_is_the_smallest_within_the_limit_on_the_saved_curve(everything):
    model, result, _ = everything
    changes = {point["k"]: point["output_change"] for point in result.curve}
    with inference_mode(model.autoencoder):
        outputs = model.autoencoder.decode(model.codes.reference.mean)
    limit = 0.2 * float(outputs.var(dim=0, correction=0).mean())
    assert len(result.kept) == min(k for k in changes if changes[k] <= limit)
    assert result.output_change == pytest.approx(changes[len(result.kept)], rel=1e-3)
    assert changes[4] == pytest.approx(0, abs=1e-12)
    assert all(point["mse"] is not None for point in result.curve)
    full = next(point["mse"] for point in result.curve if point["k"] == 4)
    assert result.mse["before"] == pytest.approx(full)


@pytest.mark.slow
def test_sizes_are_those_of_the_weights(everything):
    model, result, folder = everything
    k = len(result.kept)
    decoder = 4 * sum(value.numel() for value in model.autoencoder.decoder.parameters())
    assert result.bytes == {"before": decoder, "after": decoder - 4 * 256 * (4 - k)}
    assert result.parameters["after"] == sum(value.numel() for value in load_model(folder / "small.safetensors").autoencoder.parameters())
    assert all(seconds > 0 for seconds in result.decode_seconds.values())


def test_directions_become_the_axes_of_a_model_of_their_own(tmp_path):
    model = small_model()
    result = ardtool.prune(model, out=tmp_path / "d.safetensors", basis="principal", keep=3)
    assert (result.kept, result.dropped, result.basis, result.noun) == ([0, 1, 2], [], "principal", "principal directions")
    small = load_model(tmp_path / "d.safetensors")
    assert small.autoencoder.latent_shape == (3,)
    assert small.metadata["basis"] == "principal"
    moments = small.codes.statistics
    torch.testing.assert_close(moments.covariance + torch.outer(moments.mean, moments.mean), torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(small.codes.prior.variance, torch.ones(3, dtype=torch.float64))
    found = ardtool.relevance(small)
    whole = ardtool.relevance(model, basis="principal")
    assert [axis.axis for axis in found.axes] == [0, 1, 2]
    assert [axis.score for axis in found.axes] == pytest.approx([axis.score for axis in whole.axes[:3]], rel=0.01)
