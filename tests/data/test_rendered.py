"""The drawn benchmarks as data sets: sizes, settings, what varies, batches as drawn, and what cannot be done with them."""

import hashlib

import pytest
import torch

from ardtool.data.catalogue import open_data
from ardtool.data.dataset import split_indices
from ardtool.errors import DataError
from ardtool.training.config import config_from
from ardtool.training.resolve import resolved

SETS = {"dsprites-render": (737_280, (1, 64, 64), 5), "shapes3d-render": (480_000, (3, 64, 64), 6)}


@pytest.mark.parametrize("name", SETS)
def test_they_have_the_size_of_the_originals_and_need_no_file(name, tmp_path):
    data = open_data(name, data_root=tmp_path / "nowhere")
    count, shape, varying = SETS[name]
    assert (len(data), data.shape, len(data.varying_factors)) == (count, shape, varying)
    train, validation = split_indices(data, 0.1, seed=0)
    assert len(train) + len(validation) == count
    index = torch.tensor([0, 1, 12_345, count - 1])
    batch = data.batch(index)
    assert torch.equal(batch, data.values.draw(data.grid.factors_of(index)).float() / 255)
    assert open_data(name, split="test", data_root=tmp_path).notes[-1].endswith("has no test split: these are all its images.")


@pytest.mark.parametrize(("name", "beta"), [("dsprites-render", 5.0), ("shapes3d-render", 5.0)])
def test_the_paper_is_followed_without_an_option(name, beta):
    settings = resolved(config_from({"data": name, "latent": 10}, "test"), open_data(name))
    original = name.removesuffix("-render")
    assert (settings.arch, settings.beta, settings.lr, settings.batch_size) == (f"paper-{original}", beta, 5e-4, 100)
    assert settings.epochs == {"dsprites": 35, "shapes3d": 60}[original]
    assert settings.likelihood == {"dsprites": "bernoulli", "shapes3d": "gaussian"}[original]
    assert resolved(config_from({"data": name, "arch": "paper"}, "test"), open_data(name)).arch == settings.arch


def test_their_hash_is_that_of_what_is_drawn():
    first, again = open_data("dsprites-render").sha256(), open_data("dsprites-render").sha256()
    assert first == again != open_data("shapes3d-render").sha256()
    assert len(first) == len(hashlib.sha256().hexdigest())


def test_they_are_drawn_in_one_size_and_not_all_at_once():
    with pytest.raises(DataError) as caught:
        open_data("dsprites-render", image_size="32")
    assert caught.value.message == "'dsprites-render' is drawn with 64x64 pixels; found --image-size 32x32."
    with pytest.raises(DataError) as caught:
        _ = open_data("shapes3d-render").tensor
    assert caught.value.message == "The 480,000 images of 'shapes3d-render' are drawn one by one."
