"""Samples have one form whatever they come from, and the loop over them gives every sample its own features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ardtool.commands.evaluating.features import Extractor, as_samples, features_of, samples_of
from ardtool.commands.evaluating.own_features import PixelFeatures
from ardtool.data.dataset import DataSet, Scaling
from ardtool.data.dsprites_render import open_dsprites_render
from ardtool.errors import DataError, ModelFileError

IMAGES = torch.randint(0, 256, (23, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Numbered(Extractor):
    """The first value of each sample, F times."""

    label, width, rows = "numbered", 3, 4

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, samples: Tensor) -> Tensor:
        self.seen.append(len(samples))
        return samples.flatten(1)[:, :1].double().expand(-1, 3)

    def provenance(self) -> dict:
        return {}


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_bytes_that_went_through_floats_are_the_same_bytes(value_range):
    low, high = value_range
    decoded = low + (high - low) * IMAGES.double() / 255
    assert as_samples(decoded, value_range).equal(IMAGES)
    for values in (decoded.float(), IMAGES):
        assert samples_of(DataSet("x", values, value_range), torch.arange(23)).equal(IMAGES)


def test_pixels_are_clipped_and_rounded_to_the_nearest_byte():
    decoded = torch.tensor([-0.2, 0.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 254.6 / 255, 1.7]).reshape(1, 1, 1, 7)
    assert as_samples(decoded, (0.0, 1.0)).flatten().tolist() == [0, 0, 0, 1, 254, 255, 255]


def test_vectors_come_in_the_users_units():
    users = torch.randn(50, 3, dtype=torch.float64) * torch.tensor([1e3, 1, 1e-3]).double() + 7
    scaling = Scaling.fit(users)
    raw = DataSet("x", users)
    standardised = raw.standardised(scaling)
    assert samples_of(raw, slice(None)).equal(users)
    torch.testing.assert_close(samples_of(standardised, torch.arange(50)), users, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(as_samples(standardised.tensor, (0.0, 1.0), scaling), users, rtol=1e-5, atol=1e-5)
    # what pixels are compared by does not depend on units
    torch.testing.assert_close(PixelFeatures(users, scaling)(users), standardised.tensor)
    assert PixelFeatures(users)(users).equal(users.float())


def test_drawn_images_are_samples_too():
    data = open_dsprites_render(None, "train")  # pyright: ignore[reportArgumentType] -- nothing is read
    index = torch.tensor([0, 700_000])
    torch.testing.assert_close(samples_of(data, index).float() / 255, data.batch(index))


def test_images_that_are_no_numbers_do_not_become_black():
    decoded = torch.zeros(5, 1, 2, 2)
    decoded[3, 0, 1, 1] = torch.nan
    decoded[4, 0, 0, 0] = torch.inf
    with pytest.raises(ModelFileError) as caught:
        as_samples(decoded, (0.0, 1.0))
    assert caught.value.message == "The decoder gives values that are not finite for 2 of 5 samples."


@pytest.mark.parametrize("batch", [1, 3, 4, 10, 23])
def test_features_do_not_depend_on_batches(batch):
    told: list[tuple[int, int]] = []
    extractor = Numbered()
    found = features_of(extractor, IMAGES.split(batch), 23, lambda done, total: told.append((done, total)))
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found, IMAGES[:, 0, 0, :1].float().expand(-1, 3))
    assert max(extractor.seen) <= 4
    assert told == [(done, 23) for done in np.cumsum(extractor.seen)]
    assert told[-1] == (23, 23)


def test_pixels_are_flattened_in_the_order_of_their_dimensions():
    extractor = PixelFeatures(IMAGES[:1])
    found = features_of(extractor, [IMAGES], 23)
    assert found.shape == (23, extractor.width) == (23, 60)
    assert found[7, (1 * 4 + 2) * 5 + 3] == IMAGES[7, 1, 2, 3].float() / 255


def test_features_that_are_not_finite_name_the_first_sample():
    samples = torch.arange(10, dtype=torch.float32)[:, None].clone()
    samples[6] = torch.nan
    with pytest.raises(DataError) as caught:
        features_of(Numbered(), samples.split(5), 10)
    assert caught.value.message == "The features 'numbered' are not finite for sample 6 (counted from 0)."


def test_another_width_than_promised_is_an_error():
    extractor = Numbered()
    extractor.width = 4
    with pytest.raises(DataError) as caught:
        features_of(extractor, IMAGES.split(5), 23)
    assert caught.value.message == "The features 'numbered' have the shape 4×3 for 4 samples; expected 4×4."
