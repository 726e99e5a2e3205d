"""`--features`: models, functions of the user's own, and what is none of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import ardtool
from ardtool.commands.evaluating.feature_choice import metric_name, open_features
from ardtool.commands.evaluating.features import Extractor, features_of, samples_of
from ardtool.commands.evaluating.own_features import FunctionFeatures, ModelFeatures, PixelFeatures
from ardtool.commands.inputs import data_for
from ardtool.commands.opening import encode_all, open_model
from ardtool.data.catalogue import open_data
from ardtool.errors import ArdtoolError, ConfigError, DataError

IMAGES = torch.randint(0, 256, (6, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def refused(kind: type[ArdtoolError], spec: str | None, example: torch.Tensor = IMAGES, **options) -> ArdtoolError:
    with pytest.raises(kind) as caught:
        open_features(spec, example, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a module of features into the working directory; gives its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text: str) -> str:
        name = f"features_{len(list(tmp_path.iterdir()))}_{abs(hash(text))}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield write
    for name in [name for name in sys.modules if name.startswith("features_")]:
        del sys.modules[name]


def extractor_of(spec: str | None, example: torch.Tensor = IMAGES, **options) -> Extractor:
    found = open_features(spec, example, **options)
    assert isinstance(found, Extractor)
    return found


def test_vectors_are_compared_by_their_values_unless_something_else_is_named():
    vectors = torch.randn(5, 3)
    features = extractor_of(None, vectors)
    assert isinstance(features, PixelFeatures)
    assert metric_name("fid", features) == "fd[pixels]"
    assert metric_name("kid", features) == "kd[pixels]"
    assert metric_name("precision", features) == "precision[pixels]"
    assert features(vectors).equal(vectors)


@pytest.mark.parametrize("spec", ["run", "file"])
def test_codes_of_a_models_encoder(images_run, spec: str):
    path = Path(images_run.run) if spec == "run" else Path(images_run.model)
    opened = open_model(path)
    data = data_for(opened, IMAGES.numpy(), None)
    features = extractor_of(str(path), IMAGES)
    assert features.label == f"waves:{opened.metadata['content_sha256'][:8]}"
    assert metric_name("fid", features) == f"fd[{features.label}]"
    assert features.provenance()["weights_sha256"] == opened.metadata["content_sha256"]
    found = features_of(features, [samples_of(data, torch.arange(6))], 6)
    assert found.shape == (6, features.width) == (6, 5)
    assert found.equal(encode_all(opened.autoencoder, data, "cpu").mean)


def test_a_model_of_vectors_gets_them_standardised_its_own_way(vectors_run, vectors_file):
    raw = open_data(str(vectors_file))
    opened = open_model(vectors_run.model)
    features = extractor_of(str(vectors_run.model), samples_of(raw, slice(0, 2)))
    expected = encode_all(opened.autoencoder, data_for(opened, str(vectors_file), None), "cpu").mean
    assert expected.std() > 0.1
    torch.testing.assert_close(features_of(features, [samples_of(raw, slice(None))], len(raw)), expected)


def test_a_foreign_model_is_known_by_the_bytes_of_its_files(tmp_path: Path):
    (tmp_path / "net.pt").write_bytes(b"one")
    (tmp_path / "reads.py").write_text(
        "import ardtool, torch\n"
        "from torch import nn\n"
        "def load(path, device):\n"
        "    return ardtool.ModulePair(nn.Flatten(), nn.Unflatten(1, (1, 16, 16)), (1, 16, 16), 256)\n"
        "plugin = ardtool.PluginSpec('reads', 'test', lambda path: path.suffix == '.pt', load)\n"
    )

    def label() -> str:
        features = extractor_of(str(tmp_path / "net.pt"), plugin=str(tmp_path / "reads.py"))
        torch.testing.assert_close(features(IMAGES), IMAGES.flatten(1) / 255)
        return features.label

    first = label()
    assert first.startswith("net:")
    assert len(first) == len("net:") + 8
    assert label() == first
    (tmp_path / "net.pt").write_bytes(b"two")
    assert label() != first


def test_a_model_of_other_shapes_is_named(images_run):
    error = refused(DataError, str(images_run.model), torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    assert error.message == f"--features {images_run.model}: this model takes samples of 1×16×16; the data are 3×8×8."


def test_a_function_of_the_users_own(module):
    name = module(
        "import numpy\ndef f(x):\n    return numpy.stack([x.numpy().min(axis=(1, 2, 3)), x.float().mean(dim=(1, 2, 3)).numpy()], 1)\n"
    )
    features = extractor_of(f"{name}:f")
    assert isinstance(features, FunctionFeatures)
    assert (features.width, features.label, features.sha256) == (2, f"{name}:f", None)
    assert metric_name("fid", features) == f"fd[{name}:f]"
    found = features_of(features, [IMAGES], 6)
    assert found[:, 0].equal(IMAGES.flatten(1).min(dim=1).values.float())
    torch.testing.assert_close(found[:, 1], IMAGES.float().flatten(1).mean(dim=1))


def test_a_function_may_write_into_what_it_gets_and_needs_no_gradients(module):
    name = module("import torch\nlinear = torch.nn.Linear(4, 2)\ndef f(x):\n    x += 1\n    return linear(x)\n")
    vectors = torch.zeros(5, 4, dtype=torch.float64)
    features = extractor_of(f"{name}:f", vectors)
    assert not features(vectors).requires_grad
    assert not vectors.any()
    name = module("def f(x):\n    x.zero_()\n    return x[:, 0, 0]\n")
    before = IMAGES.clone()
    assert extractor_of(f"{name}:f")(IMAGES).shape == (6, 16)
    assert IMAGES.equal(before)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return x.float().mean()", "returned numbers with shape no dimensions for 6 samples; expected real ones with shape 6×F"),
        ("return x[1:, 0, 0]", "returned numbers with shape 5×16 for 6 samples; expected real ones with shape 6×F"),
        ("return x[:, 0]", "returned numbers with shape 6×16×16 for 6 samples; expected real ones with shape 6×F"),
        ("return x[:, 0, 0, :0]", "returned numbers with shape 6×0 for 6 samples; expected real ones with shape 6×F"),
        ("return x[:, 0, 0] * 1j", "returned complex numbers with shape 6×16 for 6 samples; expected real ones with shape 6×F"),
        ("pass", "returned a NoneType, which is no array of numbers"),
        ("return {'features': x}", "returned a dict, which is no array of numbers"),
        ("return x @ 'a'", "fails on 6 samples: TypeError: unsupported operand type(s) for @: 'Tensor' and 'str'"),
    ],
)
def test_what_is_wrong_with_a_function_is_one_sentence(module, body: str, said: str):
    name = module(f"def f(x):\n    {body}\n")
    assert refused(ConfigError, f"{name}:f").message == f"--features {name}:f {said}."


def test_what_is_wrong_with_a_module_is_one_sentence(module, tmp_path: Path):
    name = module("f = 3\n")
    assert refused(ConfigError, f"{name}:g").message == f"--features {name}:g: {tmp_path / name}.py defines no function 'g'."
    assert refused(ConfigError, f"{name}:f").message == f"--features {name}:f: {tmp_path / name}.py defines no function 'f'."
    for absent in ("absent_module", f"{name}.py"):
        said = f"--features {absent}:f: there is no module '{absent}', neither in {tmp_path} nor installed."
        assert refused(ConfigError, f"{absent}:f").message == said
    name = module("import absent_module\n")
    assert refused(ConfigError, f"{name}:f").message == f"--features {name}:f: importing {name} needs absent_module, which is not there."
    name = module("1 / 0\n")
    assert refused(ConfigError, f"{name}:f").message == f"--features {name}:f: importing {name} fails: ZeroDivisionError: division by zero."


def test_changed_widths_are_seen(module):
    name = module("def f(x):\n    return x[:, 0, 0, :len(x)].float()\n")
    features = extractor_of(f"{name}:f", IMAGES[:2])
    with pytest.raises(DataError) as caught:
        features_of(features, [IMAGES], 6)
    assert caught.value.message == f"The features '{name}:f' have the shape 6×6 for 6 samples; expected 6×2."


@pytest.mark.parametrize("spec", ["inceptoin", "", "runs/none", "a:b:c", "model.safetensors"])
def test_what_is_nothing_lists_what_there_is(spec: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refused(ConfigError, spec).message
    assert said.startswith(f"--features is '{spec}', which does not exist; expected inception, pixels, an .npz file of features, ")
    assert said.endswith(", a model's file or run folder, or module:function.")


def test_weights_without_their_network_are_no_silent_wish():
    error = refused(ConfigError, "pixels", inception_weights=Path("x.pth"))
    assert error.message == "--inception-weights has no effect on --features pixels."


def test_a_run_folder_is_named_after_itself(vectors_run):
    features = extractor_of(str(vectors_run.run), torch.zeros(2, 12))
    assert isinstance(features, ModelFeatures)
    assert features.label.partition(":")[0] == Path(vectors_run.run).name
    assert ardtool.relevance(vectors_run.model).latent_dim == features.width
