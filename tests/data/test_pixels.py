"""Maps between the user's pixel values and [0, 1]: inverse to each other, the same for every file, and only for data in the right units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ardtool.data.arrays import data_of, open_arrays
from ardtool.data.dataset import DataSet
from ardtool.data.pixels import from_unit, guess_map, to_unit
from ardtool.errors import DataError


def images(low: float, high: float, dtype: str = "float32") -> np.ndarray:
    return np.linspace(low, high, 96).reshape(6, 4, 4).astype(dtype)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (images(0, 255, "uint8"), None),
        (images(0, 1.99, "uint8"), (0, 1)),
        (images(0, 1) > 0.5, (0, 1)),
        (images(0, 255, "int64"), (0, 255)),
        (images(0.1, 0.9), (0, 1)),
        (images(-0.8, 0.6), (-1, 1)),
        (images(0, 200), (0, 255)),
        (images(3, 16), (3, 16)),
        (images(-1000, 3000, "int16"), (-1000, 3000)),
        (images(70, 70), (70, 71)),
    ],
)
def test_the_map_of_training_data_is_kept_and_undone(tmp_path: Path, array: np.ndarray, expected: tuple[float, float] | None):
    np.save(tmp_path / "x.npy", array)
    data = open_arrays(tmp_path / "x.npy")
    assert data.pixel_map == expected
    assert guess_map(array)[0] == expected
    scale = 255 if expected is None else 1
    back = from_unit(data.batch(slice(None)), data.pixel_map)[:, 0] * scale
    np.testing.assert_allclose(back, array.astype(float), atol=1e-5 * max(1, float(np.abs(array.astype(float)).max())))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float64", "float32"])
@pytest.mark.parametrize("pixel_map", [(0.0, 255.0), (10.0, 60.0), (-3.0, 120.0)])
def test_a_given_map_treats_one_image_as_it_does_many(tmp_path: Path, dtype: str, pixel_map: tuple[float, float]):
    array = images(20, 90, dtype)
    np.save(tmp_path / "all.npy", array)
    np.save(tmp_path / "one.npy", array[2:3])
    every, one = (open_arrays(tmp_path / name, pixel_map=pixel_map) for name in ("all.npy", "one.npy"))
    assert torch.equal(one.batch(slice(None)), every.batch(slice(2, 3)))
    low, high = pixel_map
    expected = (torch.from_numpy(array.astype(float))[:, None] - low) / (high - low)
    torch.testing.assert_close(every.batch(slice(None)).double(), expected, atol=1e-6, rtol=1e-6)
    assert one.notes == ()


def test_without_a_map_the_type_says_the_range():
    assert to_unit("x", images(0, 9, "uint8"), None).dtype == np.uint8
    assert to_unit("x", images(0, 9, "int32"), None).dtype == np.uint8
    assert to_unit("x", images(0, 1) > 0.5, None).max() == 255
    np.testing.assert_array_equal(to_unit("x", images(0.2, 0.3), None), images(0.2, 0.3))


@pytest.mark.parametrize(
    ("array", "pixel_map", "found"),
    [
        (images(0, 255), None, "lie in [0, 255]; the model takes values from 0 to 1."),
        (images(0, 255, "uint8"), (0.0, 1.0), "lie in [0, 255]; the model takes values from 0 to 1."),
        (images(-700, 20, "int16"), None, "lie in [-700, 20]; the model takes values from 0 to 255."),
        (images(-700, 20), (-20.0, 20.0), "lie in [-700, 20]; the model takes values from -20 to 20."),
    ],
)
def test_other_units_are_refused(array: np.ndarray, pixel_map: tuple[float, float] | None, found: str, sentence):
    text = sentence(to_unit, "x.npy", array, pixel_map, kind=DataError)
    assert f"x.npy: the pixel values {found}" in text
    assert "in the units of the training data" in text


def test_a_data_set_goes_over_to_another_map():
    users = images(5, 25)
    data = DataSet("i", torch.from_numpy(to_unit("x", users, (5.0, 25.0)))[:, None], (0.0, 1.0), pixel_map=(5.0, 25.0))
    moved = data.with_pixel_map((0.0, 100.0))
    torch.testing.assert_close(moved.values[:, 0], torch.from_numpy(users) / 100)
    assert moved.pixel_map == (0.0, 100.0)
    assert data.with_pixel_map(None) is data
    assert data.with_pixel_map((5.0, 25.0)) is data


def test_black_and_white_arrays_of_the_user_are_not_written_to():
    array = (images(0, 1) > 0.5).astype(np.uint8)[:, None]
    before = array.copy()
    assert data_of(array, as_pixels=True, pixel_map=(0.0, 1.0)).values.max() == 255
    np.testing.assert_array_equal(array, before)
    tensor = torch.from_numpy(before.copy())
    data_of(tensor, as_pixels=True, pixel_map=(0.0, 1.0))
    np.testing.assert_array_equal(tensor, before)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([{}], "The array holds values of type object; expected whole or real numbers."),
        (np.zeros((0, 8)), "The array is empty: its shape is (0, 8)"),
        (torch.zeros(0, 8), "The array is empty: its shape is (0, 8)"),
        ([[1.0, 2.0], [3.0]], "The data, a list, are no array:"),
        (torch.tensor([[1.0, torch.nan]]), "The array: 1 value is NaN, infinite or beyond float32, the first in row 0, column 1"),
        (np.full((2, 1, 4, 4), np.inf), "The array: 32 values are NaN, infinite or beyond float32, the first in sample 0"),
        (np.ones((3, 2), dtype=complex), "The array holds values of type complex128"),
        (3.0, "The array has the shape ();"),
        (torch.eye(3).to_sparse(), "The data, a Tensor, are no array:"),
    ],
)
def test_arrays_that_are_no_data(samples: object, said: str, sentence):
    assert said in sentence(data_of, samples, kind=DataError)


def test_arrays_of_every_kind_are_data():
    rows = [[1, 2], [3, 4]]
    for samples in (rows, np.array(rows), torch.tensor(rows), torch.tensor(rows, dtype=torch.bfloat16), torch.tensor(rows).float()):
        assert torch.equal(data_of(samples).batch(slice(None)), torch.tensor(rows).float())
    assert data_of(torch.ones(2, 2, requires_grad=True)).values.requires_grad is False
