"""The Inception network gives torch-fidelity's features, resizes as TensorFlow 1 did, and executes nothing that its file says.

The published weights are not needed: any weights show whether two networks are the same.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from ardtool.commands.evaluating import inception
from ardtool.commands.evaluating.feature_choice import metric_name, open_features
from ardtool.commands.evaluating.inception import InceptionFeatures
from ardtool.errors import ArdtoolError, ConfigError, DataError, ModelFileError

library = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason="torch-fidelity is not installed")
IMAGES = torch.randint(0, 256, (2, 3, 32, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
NAME = "weights-inception-2015-12-05-6726825d.pth"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights under which signals keep their size through the layers."""
    network = library.FeatureExtractorInceptionV3
    with mock.patch.object(library, "load_state_dict_from_url"), mock.patch.object(network, "load_state_dict"):
        state = network("x", ["2048"]).state_dict()
    generator = torch.Generator().manual_seed(0)
    for value in state.values():
        if value.ndim == 4:
            value.normal_(std=(2 / value[0].numel()) ** 0.5, generator=generator)
    path = tmp_path_factory.mktemp("inception") / "mine.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def extractor(weights: Path) -> InceptionFeatures:
    return InceptionFeatures(weights, IMAGES)


def refused(kind: type[ArdtoolError], weights: Path | None, example: torch.Tensor = IMAGES) -> ArdtoolError:
    with pytest.raises(kind) as caught:
        InceptionFeatures(weights, example)
    assert "\n" not in str(caught.value)
    return caught.value


def test_features_are_those_of_torch_fidelity(weights: Path, extractor: InceptionFeatures):
    original = library.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(weights))
    (expected,) = original(IMAGES)
    found = extractor(IMAGES)
    assert found.shape == (2, extractor.width) == (2, 2048)
    assert found.std() > 0.1  # large enough for the tolerance to mean something
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(extractor(IMAGES[1:2]), found[1:2], rtol=1e-5, atol=1e-5)
    assert not found.requires_grad


def test_grey_images_are_repeated_to_rgb(extractor: InceptionFeatures):
    grey = IMAGES[:1, :1]
    assert extractor(grey).equal(extractor(grey.repeat(1, 3, 1, 1)))


def test_images_are_resized_by_the_rule_of_tensorflow_1(extractor: InceptionFeatures):
    """A checkerboard of 2×2 squares, 32 → 299: pixel i is read at s = 32 i / 299, between pixels ⌊s⌋ and ⌊s⌋ + 1, the last one repeated.

    i = 10: s = 320/299, so 21/299 of the way from pixel 1 (black) to pixel 2 (white): 255 · 21/299. With half pixels it would be black.
    i = 298: s = 31.89, between the last pixel and itself.
    """
    board = np.kron(np.indices((16, 16)).sum(axis=0) % 2, np.ones((2, 2)))
    seen: list[torch.Tensor] = []
    first = extractor.network.Conv2d_1a_3x3
    hook = first.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    extractor(torch.tensor(255 * board, dtype=torch.uint8)[None, None])
    hook.remove()
    (resized,) = seen
    assert resized.shape == (1, 3, 299, 299)
    row = 128 * resized[0, 0, 0] + 128
    expected = {0: 0.0, 9: 0.0, 10: 255 * 21 / 299, 18: 255 * 277 / 299, 19: 255.0, 28: 255.0, 298: 255.0}
    assert {place: pytest.approx(float(row[place]), abs=2e-3) for place in expected} == expected

    place = np.arange(299) * 32 / 299
    low, share = np.floor(place).astype(int), place % 1
    high = np.minimum(low + 1, 31)
    across = board[:, low] * (1 - share) + board[:, high] * share
    whole = across[low] * (1 - share[:, None]) + across[high] * share[:, None]
    np.testing.assert_allclose(resized[0], np.broadcast_to((255 * whole - 128) / 128, (3, 299, 299)), atol=2e-5)


def test_only_the_published_weights_are_called_fid(weights: Path, extractor: InceptionFeatures, monkeypatch):
    sha256 = extractor.sha256
    assert sha256 is not None
    assert metric_name("fid", extractor) == f"fd[inception:{sha256[:8]}]"
    assert metric_name("precision", extractor) == f"precision[inception:{sha256[:8]}]"
    assert inception.PUBLISHED in NAME
    monkeypatch.setattr(inception, "PUBLISHED", sha256[:8])
    published = open_features(None, IMAGES, inception_weights=weights)
    assert [metric_name(name, published) for name in ("fid", "kid", "precision")] == ["fid", "kid", "precision"]
    record = published.provenance()
    assert record["weights_sha256"] == sha256
    assert record["input"] == "bytes floor(255 x + 1/2) of x clipped to [0, 1]; grey repeated to RGB"


@pytest.mark.parametrize("name", [NAME, "pt_inception-2015-12-05-6726825d.pth"])
def test_weights_are_looked_for_in_torchs_cache(weights: Path, tmp_path: Path, monkeypatch, name: str):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    missing = refused(ConfigError, None)
    place = tmp_path / "hub" / "checkpoints" / NAME
    assert missing.message == f"The weights of the Inception network are not there: {place} does not exist."
    assert f"Download {library.URL_INCEPTION_V3}" in missing.hint
    assert library.URL_INCEPTION_V3.endswith(NAME)
    assert not (tmp_path / "hub").exists()
    place.parent.mkdir(parents=True)
    os.link(weights, place.with_name(name))
    assert InceptionFeatures(None, IMAGES).label.startswith("inception:")


def test_weights_that_are_not_there(tmp_path: Path):
    assert refused(ConfigError, tmp_path / "x.pth").message == f"--inception-weights {tmp_path / 'x.pth'} is no file."


def test_other_tensors_are_refused(weights: Path, tmp_path: Path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "x.pth")
    start = f"{tmp_path / 'x.pth'} does not hold the weights of FID's Inception network: "
    assert refused(ModelFileError, tmp_path / "x.pth").message.startswith(start + "Missing key(s) in state_dict:")
    state = torch.load(weights, weights_only=True)
    torch.save(state | {"fc.weight": torch.zeros(1000, 2048)}, tmp_path / "x.pth")
    assert refused(ModelFileError, tmp_path / "x.pth").message.startswith(start + "size mismatch for fc.weight")


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_nothing_in_the_file_is_executed(tmp_path: Path):
    torch.save({"Conv2d_1a_3x3.conv.weight": torch.zeros(2), "more": Touch(tmp_path / "made")}, tmp_path / "x.pth")
    said = refused(ModelFileError, tmp_path / "x.pth").message
    assert said == f"{tmp_path / 'x.pth'} would run code when it is loaded: its pickle names {os.mkdir.__module__}.mkdir."
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("shape", "found"), [((2, 4, 8, 8), "images with 4 channels"), ((2, 9), "vectors")])
def test_only_grey_and_rgb_images_have_inception_features(weights: Path, shape, found: str):
    error = refused(DataError, weights, torch.zeros(shape, dtype=torch.uint8))
    assert error.message == f"The Inception network takes grey or RGB images; the data are {found}."


def test_without_the_library_the_extra_is_named(weights: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    error = refused(ConfigError, weights)
    assert error.message == "Features of the Inception network need torch-fidelity, which is not installed."
    assert error.hint == "`pip install torch-fidelity`. `--features pixels` needs no network."
