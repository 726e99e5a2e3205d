"""Models of scvi-tools keep the contract and compute what scvi-tools computes."""

import math

import pytest
import torch
from ardtool_scvi import build, load, matches, open_data, plugin

from ardtool.errors import ArdtoolError
from ardtool.registry import find_plugin
from ardtool.testing import check_autoencoder

GENES, LATENT = 30, 4
VARIANTS = {
    "zinb": ("SCVI", {}),
    "nb, two layers, covariates everywhere": ("SCVI", {"gene_likelihood": "nb", "n_layers": 2, "encode_covariates": True}),
    "poisson, covariates in the first layer": (
        "SCVI",
        {"gene_likelihood": "poisson", "dispersion": "gene-batch", "n_layers": 2, "deeply_inject_covariates": False},
    ),
    "normal": ("SCVI", {"gene_likelihood": "normal", "log_variational": False}),
    "encoded library": ("SCVI", {"use_observed_lib_size": False, "dispersion": "gene-label"}),
    "embedded batches": ("SCVI", {"batch_representation": "embedding", "encode_covariates": True, "dispersion": "gene-cell"}),
    "layer normalisation": ("SCVI", {"use_batch_norm": "none", "use_layer_norm": "both"}),
    "logistic normal": ("SCVI", {"latent_distribution": "ln"}),
    "linear": ("LinearSCVI", {}),
    "linear zinb": ("LinearSCVI", {"gene_likelihood": "zinb", "n_layers": 2, "use_observed_lib_size": True}),
}


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def pair(request, make_model, tmp_path_factory, h5ad):
    """A model of scvi-tools, the same as an autoencoder, and samples."""
    kind, settings = VARIANTS[request.param]
    original = make_model(kind, **settings)
    folder = tmp_path_factory.mktemp("models") / "saved"
    original.save(folder)
    return original, load(folder, "cpu"), open_data(h5ad).batch(slice(None))


def test_the_contract_is_kept(pair):
    _, model, x = pair
    assert model.input_shape == (GENES + 1,)
    assert model.latent_shape == (LATENT,)
    check_autoencoder(model, x[:4], spec=plugin)


@torch.no_grad()
def test_it_computes_what_scvi_computes(pair):
    original, model, x = pair
    module = original.module.eval()
    counts, batch = x[:, :-1], x[:, -1:].long()
    found = model.encode(x)
    expected = module.inference(counts, batch)
    library = expected["library"] if expected["ql"] is None else expected["ql"].loc
    torch.testing.assert_close(found.mean, expected["qz"].loc, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.log_variance, expected["qz"].scale.square().log(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.context, torch.cat([library, batch.float()], dim=1), rtol=1e-5, atol=1e-5)
    z = module.z_encoder.z_transformation(expected["qz"].loc)
    labels = torch.zeros(len(x), 1, dtype=torch.long)
    likelihood = module.generative(z, library, batch, y=labels)["px"]
    decoded = model.decode(found.mean, found.context)
    torch.testing.assert_close(decoded[:, :-1], likelihood.mean, rtol=1e-5, atol=1e-5)
    assert torch.equal(decoded[:, -1:], batch.float())


def test_codes_are_the_latent_representation(trained, h5ad):
    import anndata
    import scvi

    data = anndata.read_h5ad(h5ad)
    original = scvi.model.SCVI.load(trained, data)
    x = open_data(h5ad).batch(slice(None))
    model = load(trained, "cpu")
    found = model.encode(x)
    expected = torch.from_numpy(original.get_latent_representation(give_mean=True))
    torch.testing.assert_close(found.mean, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_without_a_context_cells_are_of_batch_0_and_of_the_stated_size(pair):
    original, model, _ = pair
    z = torch.randn(3, LATENT, generator=torch.Generator().manual_seed(0))
    stored = getattr(original.module, "library_log_means", None)
    library = math.log(1e4) if stored is None else float(stored[0, 0])
    context = torch.tensor([[library, 0.0]]).expand(3, 2)
    assert torch.equal(model.decode(z), model.decode(z, context))


def test_loading_and_building_leave_the_random_numbers_alone_or_make_the_same_tensors(trained):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    model = load(trained, "cpu")
    assert torch.equal(torch.rand(1), expected)
    assert not model.training
    built = build(model.build_record)
    assert list(built.state_dict()) == list(model.state_dict())


def test_it_is_found_by_names(trained, tmp_path):
    assert matches(trained)
    assert matches(trained / "model.pt")
    assert not matches(tmp_path)
    torch.save({"model_state_dict": {"weight": torch.zeros(2)}}, tmp_path / "model.pt")
    assert not matches(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"model_state_dict attr_dict scvi_version")
    assert not matches(tmp_path)


def test_it_is_found_once_installed(trained):
    assert find_plugin(trained).name == "scvi"


def refusal(folder) -> str:
    with pytest.raises(ArdtoolError) as caught:
        load(folder, "cpu")
    return caught.value.message


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"categorical_covariate_keys": ["type"]}, "trained with 1 categorical covariate(s); ardtool-scvi supports the batch only."),
        ({"continuous_covariate_keys": ["depth"]}, "trained with 1 continuous covariate(s); ardtool-scvi supports the batch only."),
        ({"size_factor_key": "depth"}, "trained with size factors; ardtool-scvi supports the observed or encoded library size only."),
    ],
    ids=str,
)
def test_models_that_need_more_than_the_batch_are_refused(make_model, setting, sentence, tmp_path):
    make_model("SCVI", **setting).save(tmp_path / "saved")
    assert refusal(tmp_path / "saved").endswith(sentence)


def changed(trained, folder, change):
    """A copy of a model's file after a change of its content."""
    content = torch.load(trained / "model.pt", weights_only=False)
    change(content)
    folder.mkdir(exist_ok=True)
    torch.save(content, folder / "model.pt")
    return folder


def test_other_classes_are_named(trained, tmp_path):
    folder = changed(trained, tmp_path / "other", lambda content: content["attr_dict"]["registry_"].update(model_name="TOTALVI"))
    assert refusal(folder).endswith("is a TOTALVI model; ardtool-scvi reads SCVI and LinearSCVI.")


def test_tensors_that_contradict_the_settings_are_named(trained, tmp_path):
    def wider(content):
        content["attr_dict"]["init_params_"]["non_kwargs"]["n_latent"] = 5

    sentence = "'z_encoder.mean_encoder.weight' is 4×16 in the file; its settings say 5×16."
    assert refusal(changed(trained, tmp_path / "wider", wider)).endswith(sentence)
    folder = changed(trained, tmp_path / "less", lambda content: content["model_state_dict"].pop("px_r"))
    assert refusal(folder).endswith("'px_r' is missing in the file; its settings say 30.")


def test_settings_that_would_need_terabytes_are_refused_before_anything_is_made(trained, tmp_path):
    def huge(content):
        content["attr_dict"]["init_params_"]["non_kwargs"]["n_hidden"] = 10**7

    assert "its settings say" in refusal(changed(trained, tmp_path / "huge", huge))


def test_unknown_settings_are_named(trained, tmp_path):
    def strange(content):
        content["attr_dict"]["init_params_"]["non_kwargs"]["n_moons"] = 2

    assert "n_moons" in refusal(changed(trained, tmp_path / "strange", strange))


def test_wrong_batches_and_empty_cells_are_named(trained, h5ad):
    model = load(trained, "cpu")
    x = open_data(h5ad).batch(slice(0, 5)).clone()
    x[2, -1] = 2
    with pytest.raises(ArdtoolError, match="holds the batch index 2; the model knows whole numbers from 0 to 1"):
        model.encode(x)
    x[2] = 0
    with pytest.raises(ArdtoolError, match="1 of 5 cells have no counts"):
        model.encode(x)
